"""Inception-v3 as the FID uses it: TensorFlow's network of 2015-12-05, with the names of its port to PyTorch.

Sources: Szegedy et al. (2016); the state dict `weights-inception-2015-12-05-6726825d.pth` of torch-fidelity, which
pytorch-fid publishes too. It differs from torchvision's `inception_v3`: batch normalization adds 1e-3, there are 1008
classes and no auxiliary classifier, the pools within blocks do not count the padding, and that of `Mixed_7c` takes the
maximum.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sparseshape_jax.models.layers import BatchNorm, GlobalAverage, Linear, max_pool
from sparseshape_jax.models.network import Network, Steps
from sparseshape_jax.models.registry import Architecture, register

LayerSpec = tuple[str, tuple[int, int], int, int]
"""A convolution: its name, its kernel, its stride and its features. Stride 1 keeps the size; stride 2 does not pad."""
BranchSpec = Sequence["LayerSpec | tuple[LayerSpec, ...]"]
"""Convolutions in a row; a tuple of several stands for one after another input: they are joined by channels."""


class ConvNorm(nnx.Module):
    """A convolution without a bias, batch normalization, ReLU: (N, H, W, C) to (N, h, w, features)."""

    def __init__(
        self,
        inputs: int,
        features: int,
        kernel: tuple[int, int],
        *,
        stride: int = 1,
        padding: str,
        axis_name: str | None,
        dtype: Any,
        rngs: nnx.Rngs,
    ) -> None:
        self.conv = nnx.Conv(
            inputs, features, kernel, strides=stride, padding=padding, use_bias=False, dtype=dtype, rngs=rngs
        )
        self.bn = BatchNorm(features, epsilon=1e-3, axis_name=axis_name, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n H W C"]:
        return nnx.relu(self.bn(self.conv(x)))


def _average(x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """The mean of 3×3 positions, of those inside the map."""
    return nnx.avg_pool(x, (3, 3), padding="SAME", count_include_pad=False)


_keep_size = partial(max_pool, window=3, stride=1, padding=1)
_halve = partial(max_pool, window=3, stride=2)

ONE, THREE, FIVE, ROW, COLUMN = (1, 1), (3, 3), (5, 5), (1, 7), (7, 1)


def _a(pooled: int) -> list[BranchSpec]:
    return [
        [("branch1x1", ONE, 1, 64)],
        [("branch5x5_1", ONE, 1, 48), ("branch5x5_2", FIVE, 1, 64)],
        [("branch3x3dbl_1", ONE, 1, 64), ("branch3x3dbl_2", THREE, 1, 96), ("branch3x3dbl_3", THREE, 1, 96)],
        [("branch_pool", ONE, 1, pooled)],
    ]


def _b() -> list[BranchSpec]:
    return [
        [("branch3x3", THREE, 2, 384)],
        [("branch3x3dbl_1", ONE, 1, 64), ("branch3x3dbl_2", THREE, 1, 96), ("branch3x3dbl_3", THREE, 2, 96)],
        [],
    ]


def _c(inner: int) -> list[BranchSpec]:
    return [
        [("branch1x1", ONE, 1, 192)],
        [("branch7x7_1", ONE, 1, inner), ("branch7x7_2", ROW, 1, inner), ("branch7x7_3", COLUMN, 1, 192)],
        [
            ("branch7x7dbl_1", ONE, 1, inner),
            ("branch7x7dbl_2", COLUMN, 1, inner),
            ("branch7x7dbl_3", ROW, 1, inner),
            ("branch7x7dbl_4", COLUMN, 1, inner),
            ("branch7x7dbl_5", ROW, 1, 192),
        ],
        [("branch_pool", ONE, 1, 192)],
    ]


def _d() -> list[BranchSpec]:
    return [
        [("branch3x3_1", ONE, 1, 192), ("branch3x3_2", THREE, 2, 320)],
        [
            ("branch7x7x3_1", ONE, 1, 192),
            ("branch7x7x3_2", ROW, 1, 192),
            ("branch7x7x3_3", COLUMN, 1, 192),
            ("branch7x7x3_4", THREE, 2, 192),
        ],
        [],
    ]


def _e() -> list[BranchSpec]:
    return [
        [("branch1x1", ONE, 1, 320)],
        [("branch3x3_1", ONE, 1, 384), (("branch3x3_2a", (1, 3), 1, 384), ("branch3x3_2b", (3, 1), 1, 384))],
        [
            ("branch3x3dbl_1", ONE, 1, 448),
            ("branch3x3dbl_2", THREE, 1, 384),
            (("branch3x3dbl_3a", (1, 3), 1, 384), ("branch3x3dbl_3b", (3, 1), 1, 384)),
        ],
        [("branch_pool", ONE, 1, 192)],
    ]


Pool = Callable[[Array], Array]

BLOCKS: dict[str, tuple[list[BranchSpec], Pool]] = {
    "Mixed_5b": (_a(32), _average),
    "Mixed_5c": (_a(64), _average),
    "Mixed_5d": (_a(64), _average),
    "Mixed_6a": (_b(), _halve),
    "Mixed_6b": (_c(128), _average),
    "Mixed_6c": (_c(160), _average),
    "Mixed_6d": (_c(160), _average),
    "Mixed_6e": (_c(192), _average),
    "Mixed_7a": (_d(), _halve),
    "Mixed_7b": (_e(), _average),
    "Mixed_7c": (_e(), _keep_size),
}
"""Branches of each block, joined by channels; the last branch begins with the pool."""
STEM: dict[str, tuple[LayerSpec, str]] = {
    "Conv2d_1a_3x3": (("", THREE, 2, 32), "VALID"),
    "Conv2d_2a_3x3": (("", THREE, 1, 32), "VALID"),
    "Conv2d_2b_3x3": (("", THREE, 1, 64), "SAME"),
    "Conv2d_3b_1x1": (("", ONE, 1, 80), "VALID"),
    "Conv2d_4a_3x3": (("", THREE, 1, 192), "VALID"),
}
"""Each convolution, and its padding."""
POOLS_AFTER = {"Conv2d_2b_3x3": "pool1", "Conv2d_4a_3x3": "pool2"}


def _layers(branch: BranchSpec) -> Iterator[tuple[LayerSpec, ...]]:
    """The stages of a branch; each has one convolution, or two that read the same."""
    for stage in branch:
        yield stage if isinstance(stage[0], tuple) else (stage,)


class Block(nnx.Module):
    """One `Mixed` block: (N, H, W, C) to (N, h, w, the sum of its branches' features)."""

    def __init__(self, inputs: int, branches: list[BranchSpec], pool: Pool, **options: Any) -> None:
        self.pool = pool
        self.branches = tuple(
            tuple(tuple(layer[0] for layer in stage) for stage in _layers(branch)) for branch in branches
        )
        self.features = 0
        for branch in branches:
            width = inputs
            for stage in _layers(branch):
                for name, kernel, stride, features in stage:
                    padding = "SAME" if stride == 1 else "VALID"
                    setattr(self, name, ConvNorm(width, features, kernel, stride=stride, padding=padding, **options))
                width = sum(layer[-1] for layer in stage)
            self.features += width

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n H W C"]:
        outputs = []
        for index, branch in enumerate(self.branches):
            y = self.pool(x) if index == len(self.branches) - 1 else x
            for stage in branch:
                found = [getattr(self, name)(y) for name in stage]
                y = found[0] if len(found) == 1 else jnp.concatenate(found, axis=-1)
            outputs.append(y)
        return jnp.concatenate(outputs, axis=-1)


class Inception(Network):
    """FID's Inception-v3. Images (N, H, W, 3), 299×299 in use and at least 75×75, to logits (N, num_classes).

    Pixels are (x - 128) / 128, of 0 to 255. Activations: `Conv2d_1a_3x3`, …, `pool1`, …, `pool2`, `Mixed_5b`, …,
    `Mixed_7c`, `avgpool` (N, 2048), which are the features that the FID compares, `logits`.
    """

    def __init__(
        self,
        *,
        num_classes: int = 1008,
        trunk_only: bool = False,
        axis_name: str | None = None,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ) -> None:
        self.architecture, self.trunk_only = "inception_fid", trunk_only
        options = {"axis_name": axis_name, "dtype": dtype, "rngs": rngs}
        width = 3
        for name, ((_, kernel, stride, features), padding) in STEM.items():
            setattr(self, name, ConvNorm(width, features, kernel, stride=stride, padding=padding, **options))
            width = features
        for name, (branches, pool) in BLOCKS.items():
            block = Block(width, branches, pool, **options)
            setattr(self, name, block)
            width = block.features
        if not trunk_only:
            self.avgpool = GlobalAverage()
            self.fc = Linear(width, num_classes, dtype=dtype, rngs=rngs)

    def steps(self) -> Steps:
        for name in STEM:
            yield name, getattr(self, name)
            if name in POOLS_AFTER:
                yield POOLS_AFTER[name], _halve
        for name in BLOCKS:
            yield name, getattr(self, name)
        if self.trunk_only:
            return
        yield "avgpool", self.avgpool
        yield "logits", self.fc


def _torch_layers() -> dict[str, str]:
    """The state dict's names, which are ours."""
    blocks = [
        f"{block}.{layer[0]}"
        for block, (branches, _) in BLOCKS.items()
        for branch in branches
        for stage in _layers(branch)
        for layer in stage
    ]
    layers = [f"{name}.{part}" for name in (*STEM, *blocks) for part in ("conv", "bn")]
    return dict(zip(layers, layers, strict=True)) | {"fc": "fc"}


register(
    "inception_fid",
    Architecture(
        Inception,
        options=frozenset({"num_classes", "axis_name"}),
        head=("fc",),
        torch_layers=_torch_layers(),
    ),
)
