"""SqueezeNet 1.1 (Iandola et al. 2016), as torchvision has it: unpadded first convolution, pools in ceil mode."""

from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sparseshape_jax.models.layers import Conv, GlobalAverage, max_pool
from sparseshape_jax.models.network import Network, Steps
from sparseshape_jax.models.registry import Architecture, register

FIRES = {  # name: (squeezed, expanded by each of the two branches)
    "fire2": (16, 64),
    "fire3": (16, 64),
    "fire4": (32, 128),
    "fire5": (32, 128),
    "fire6": (48, 192),
    "fire7": (48, 192),
    "fire8": (64, 256),
    "fire9": (64, 256),
}
POOL_AFTER = {"fire3": "pool3", "fire5": "pool5"}


HE_UNIFORM = nnx.initializers.he_uniform()
"""The initializer of all convolutions but the last in torchvision."""


class Fire(nnx.Module):
    """1×1 squeeze, then 1×1 and 3×3 expansions side by side: (N, H, W, inputs) to (N, H, W, 2·expanded)."""

    def __init__(self, inputs: int, squeezed: int, expanded: int, *, dtype: Any = None, rngs: nnx.Rngs) -> None:
        conv = partial(Conv, padding=0, kernel_init=HE_UNIFORM, dtype=dtype, rngs=rngs)
        self.squeeze = conv(inputs, squeezed, (1, 1))
        self.expand1x1 = conv(squeezed, expanded, (1, 1))
        self.expand3x3 = conv(squeezed, expanded, (3, 3), padding=1)

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w C"]:
        squeezed = nnx.relu(self.squeeze(x))
        return jnp.concatenate([nnx.relu(self.expand1x1(squeezed)), nnx.relu(self.expand3x3(squeezed))], axis=-1)


class SqueezeNet(Network):
    """`torchvision.models.squeezenet1_1`. Images (N, H, W, 3), H and W at least 17, to logits (N, num_classes).

    Activations: `conv1`, `relu1`, `pool1`, `fire2`, `fire3`, `pool3`, `fire4`, `fire5`, `pool5`, `fire6` … `fire9`,
    `conv10`, `relu10`, `logits`.
    """

    def __init__(
        self,
        *,
        num_classes: int = 1000,
        trunk_only: bool = False,
        dropout: float = 0.5,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ) -> None:
        self.architecture = "squeezenet1_1"
        self.trunk_only = trunk_only
        self.conv1 = nnx.Conv(3, 64, (3, 3), strides=2, padding=0, kernel_init=HE_UNIFORM, dtype=dtype, rngs=rngs)
        inputs = 64
        for name, (squeezed, expanded) in FIRES.items():
            setattr(self, name, Fire(inputs, squeezed, expanded, dtype=dtype, rngs=rngs))
            inputs = 2 * expanded
        if not trunk_only:
            self.average = GlobalAverage()
            self.dropout = nnx.Dropout(dropout, rngs=rngs)
            small = nnx.initializers.normal(0.01)
            self.conv10 = Conv(inputs, num_classes, (1, 1), padding=0, kernel_init=small, dtype=dtype, rngs=rngs)

    def steps(self) -> Steps:
        pool = partial(max_pool, window=3, stride=2, ceil_mode=True)
        yield "conv1", self.conv1
        yield "relu1", nnx.relu
        yield "pool1", pool
        for name in FIRES:
            yield name, getattr(self, name)
            if name in POOL_AFTER:
                yield POOL_AFTER[name], pool
        if self.trunk_only:
            return
        yield "conv10", lambda x: self.conv10(self.dropout(x))
        yield "relu10", nnx.relu
        yield "logits", self.average


def _torch_layers() -> dict[str, str]:
    layers = {"features.0": "conv1"}
    # The features in between are the ReLU and the pools.
    for index, fire in zip((3, 4, 6, 7, 9, 10, 11, 12), FIRES, strict=True):
        layers |= {f"features.{index}.{part}": f"{fire}.{part}" for part in ("squeeze", "expand1x1", "expand3x3")}
    return layers | {"classifier.1": "conv10"}


register(
    "squeezenet1_1",
    Architecture(
        SqueezeNet,
        options=frozenset({"num_classes", "dropout"}),
        head=("conv10",),
        top_k_after=("pool1", "pool3", "pool5"),  # not in the paper: our choice, by analogy with AlexNet
        match=("relu1", "pool1", "pool3", "pool5"),
        torch_layers=_torch_layers(),
    ),
)
