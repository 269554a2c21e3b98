"""VGG 11, 13, 16 and 19, with and without batch normalization, as torchvision has them (Simonyan & Zisserman 2015)."""

from functools import partial
from typing import Any, Literal

from flax import nnx

from sparseshape_jax.errors import InputError
from sparseshape_jax.models.layers import HE_NORMAL, AdaptiveAveragePool, AveragePool, BatchNorm, Conv, Linear, max_pool
from sparseshape_jax.models.network import Network, Operator, Steps, flatten
from sparseshape_jax.models.registry import Architecture, register

CONVOLUTIONS = {  # depth: convolutions in each of the five blocks
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
FEATURES = (64, 128, 256, 512, 512)


class VGG(Network):
    """`torchvision.models.vgg*`. Images (N, H, W, 3), H and W at least 32, to logits (N, num_classes).

    Activations: `conv1_1`, (`bn1_1`,) `relu1_1`, …, `pool1`, …, `pool5`, `avgpool`, `fc6`, `relu6`, `fc7`, `relu7`,
    `logits`. `pooling="average"` replaces the five max pools, as Gatys et al. (2015) do for texture synthesis.
    """

    def __init__(
        self,
        depth: int,
        *,
        batch_norm: bool = False,
        num_classes: int = 1000,
        trunk_only: bool = False,
        pooling: Literal["max", "average"] = "max",
        dropout: float = 0.5,
        axis_name: str | None = None,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ) -> None:
        if pooling not in ("max", "average"):
            raise InputError(f"pooling is {pooling!r}; it can be max or average")
        self.architecture = f"vgg{depth}_bn" if batch_norm else f"vgg{depth}"
        self.depth, self.batch_norm, self.trunk_only, self.pooling = depth, batch_norm, trunk_only, pooling
        if pooling == "average":
            self.average = AveragePool(2, 2)
        inputs = 3
        for block, (count, features) in enumerate(zip(CONVOLUTIONS[depth], FEATURES, strict=True), start=1):
            for index in range(1, count + 1):
                convolution = Conv(inputs, features, (3, 3), padding=1, kernel_init=HE_NORMAL, dtype=dtype, rngs=rngs)
                setattr(self, f"conv{block}_{index}", convolution)
                if batch_norm:
                    setattr(
                        self, f"bn{block}_{index}", BatchNorm(features, axis_name=axis_name, dtype=dtype, rngs=rngs)
                    )
                inputs = features
        if not trunk_only:
            self.avgpool = AdaptiveAveragePool(7)
            self.dropout = nnx.Dropout(dropout, rngs=rngs)
            linear = partial(Linear, kernel_init=nnx.initializers.normal(0.01), dtype=dtype, rngs=rngs)
            self.fc6 = linear(7 * 7 * 512, 4096)
            self.fc7 = linear(4096, 4096)
            self.fc8 = linear(4096, num_classes)

    def steps(self) -> Steps:
        for block, count in enumerate(CONVOLUTIONS[self.depth], start=1):
            for index in range(1, count + 1):
                yield f"conv{block}_{index}", getattr(self, f"conv{block}_{index}")
                if self.batch_norm:
                    yield f"bn{block}_{index}", getattr(self, f"bn{block}_{index}")
                yield f"relu{block}_{index}", nnx.relu
            yield f"pool{block}", self.average if self.pooling == "average" else _max_pool
        if self.trunk_only:
            return
        yield "avgpool", self.avgpool
        yield "fc6", lambda x: self.fc6(flatten(x))
        yield "relu6", nnx.relu
        yield "fc7", lambda x: self.fc7(self.dropout(x))
        yield "relu7", nnx.relu
        yield "logits", lambda x: self.fc8(self.dropout(x))


_max_pool: Operator = partial(max_pool, window=2, stride=2)


def _torch_layers(depth: int, batch_norm: bool) -> dict[str, str]:
    """`features` counts every module: convolution, (batch normalization,) ReLU; after each block a pool."""
    layers = {}
    index = 0
    for block, count in enumerate(CONVOLUTIONS[depth], start=1):
        for position in range(1, count + 1):
            layers[f"features.{index}"] = f"conv{block}_{position}"
            if batch_norm:
                layers[f"features.{index + 1}"] = f"bn{block}_{position}"
            index += 3 if batch_norm else 2
        index += 1
    return layers | {"classifier.0": "fc6", "classifier.3": "fc7", "classifier.6": "fc8"}


for _depth in CONVOLUTIONS:
    for _batch_norm in (False, True):
        register(
            f"vgg{_depth}_bn" if _batch_norm else f"vgg{_depth}",
            Architecture(
                partial(VGG, _depth, batch_norm=_batch_norm),
                options=frozenset({"num_classes", "pooling", "dropout", "axis_name"}),
                head=("fc6", "fc7", "fc8"),
                top_k_after=("pool1", "pool2", "pool3", "pool4", "pool5"),  # the paper's
                match=("relu1_1", "pool1", "pool2", "pool3", "pool4"),  # the reference's
                pooling="average",
                torch_layers=_torch_layers(_depth, _batch_norm),
                flattened={"fc6": f"conv5_{CONVOLUTIONS[_depth][-1]}"},
            ),
        )
