"""ResNet 18 to 152 as torchvision has them (He et al. 2016, the stride in the 3×3 convolution), and the paper's own.

The code of Li et al. (2023) trains a CIFAR-style ResNet-18 on ImageNet-sized images: its first convolution is 3×3 with
stride 1, it has no max-pool, and its classifier sees all cells of a 4×4 average pool (25,088 inputs at 224 px).
`ResNet(stem="cifar")` is that network, `resnet18_cifar`. The paper's text describes the standard ResNet-18.

The code of Wang et al. (ICCV 2023) trains ResNets with the same start, but a global average pool, at any image size:
`resnet18_cifar_global`, also 34, 50 and 101. At 32 px `resnet18_cifar` and `resnet18_cifar_global` are the same.

ResNeXt (Xie et al. 2017) has groups in its 3×3 convolutions. SE-ResNet and SE-ResNeXt (Hu et al. 2018) have a gate at
the end of each branch, and the structure of the Caffe originals: the first pool has no padding, and SE-ResNet-50 has
its strides in the first 1×1 convolution of a block.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from flax import nnx
from jaxtyping import Array, Float

from sparseshape_jax.errors import InputError
from sparseshape_jax.models.layers import (
    HE_NORMAL,
    Add,
    AveragePool,
    BatchNorm,
    Conv,
    GlobalAverage,
    Linear,
    SqueezeExcitation,
    max_pool,
)
from sparseshape_jax.models.network import Network, Steps, flatten
from sparseshape_jax.models.registry import Architecture, register

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
BOTTLENECK_FROM = 50
"""Depths from here on use bottleneck blocks, which are four times as wide at their ends."""


class Block(nnx.Module):
    """A residual block: (N, H, W, inputs) to (N, H/stride, W/stride, outputs).

    Basic: 3×3, 3×3. Bottleneck: 1×1, 3×3, 1×1. Where shapes change, a 1×1 convolution carries the shortcut.

    Args:
        inner: features of a bottleneck's 3×3 convolution; by default `width`, as without groups.
        groups: of that convolution.
        gated: whether squeeze-and-excitation follows the branch.
        stride_first: whether a bottleneck's stride is in its first convolution.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        *,
        stride: int,
        bottleneck: bool,
        inner: int | None = None,
        groups: int = 1,
        gated: bool = False,
        stride_first: bool = False,
        axis_name: str | None,
        dtype: Any,
        rngs: nnx.Rngs,
    ) -> None:
        inner = width if inner is None else inner
        conv = partial(Conv, use_bias=False, kernel_init=HE_NORMAL, dtype=dtype, rngs=rngs)
        norm = partial(BatchNorm, axis_name=axis_name, dtype=dtype, rngs=rngs)
        outputs = 4 * width if bottleneck else width
        if bottleneck:
            strides = (stride, 1) if stride_first else (1, stride)
            self.conv1 = conv(inputs, inner, (1, 1), strides=strides[0], padding=0)
            self.conv2 = conv(inner, inner, (3, 3), strides=strides[1], padding=1, feature_group_count=groups)
            self.conv3 = conv(inner, outputs, (1, 1), padding=0)
            self.bn3 = norm(outputs)
        else:
            self.conv1 = conv(inputs, width, (3, 3), strides=stride, padding=1)
            self.conv2 = conv(width, width, (3, 3), padding=1)
        self.bn1, self.bn2 = norm(inner), norm(inner)
        if gated:
            self.gate = SqueezeExcitation(outputs, dtype=dtype, rngs=rngs)
        self.add = Add()
        self.bottleneck, self.gated = bottleneck, gated
        self.projects = stride != 1 or inputs != outputs
        if self.projects:
            self.downsample_conv = conv(inputs, outputs, (1, 1), strides=stride, padding=0)
            self.downsample_bn = norm(outputs)

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n H W C"]:
        y = nnx.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.bottleneck:
            y = self.bn3(self.conv3(nnx.relu(y)))
        if self.gated:
            y = self.gate(y)
        shortcut = self.downsample_bn(self.downsample_conv(x)) if self.projects else x
        return nnx.relu(self.add(y, shortcut))


class ResNet(Network):
    """`torchvision.models.resnet*` and relatives. Images (N, H, W, 3) to logits (N, num_classes).

    Activations: `conv1`, `bn1`, `relu1`, (`pool1`,) then per stage s its blocks `layer{s}_0`, `layer{s}_1`, … and
    `layer{s}` (the stage's output, the same array as its last block's), `avgpool`, `logits`.

    Args:
        width: multiplies every layer's features (torchvision's is 1).
        stem: "imagenet" (7×7 stride 2, max-pool, global average pool) or "cifar" (3×3 stride 1, no max-pool, average
            pool over 4×4 cells, classifier on all cells); "cifar_global" is "cifar" with a global average pool.
        image_size: side of the images in pixels; the "cifar" stem's classifier depends on it.
        groups: of the 3×3 convolutions in bottleneck blocks, for ResNeXt.
        group_width: features of each group in the first stage.
        gated: squeeze-and-excitation in every block, and a first pool without padding that takes in the incomplete
            windows at the edges.
        stride_first: see `Block`.
    """

    def __init__(
        self,
        depth: int,
        *,
        width: float = 1.0,
        stem: Literal["imagenet", "cifar", "cifar_global"] = "imagenet",
        image_size: int = 224,
        groups: int = 1,
        group_width: int = 64,
        gated: bool = False,
        stride_first: bool = False,
        num_classes: int = 1000,
        trunk_only: bool = False,
        axis_name: str | None = None,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ) -> None:
        if stem not in ("imagenet", "cifar", "cifar_global"):
            raise InputError(f"stem is {stem!r}; it can be imagenet, cifar or cifar_global")
        if not width > 0:
            raise InputError(f"width is {width}; it must be above 0")
        family = ("se_" if gated else "") + ("resnext" if groups > 1 else "resnet")
        self.architecture = f"{family}{depth}" + ("" if stem == "imagenet" else f"_{stem}")
        self.depth, self.stem, self.image_size, self.trunk_only = depth, stem, image_size, trunk_only
        self.gated = gated
        bottleneck = depth >= BOTTLENECK_FROM
        features = [max(1, round(base * width)) for base in (64, 128, 256, 512)]

        size, stride, padding = (7, 2, 3) if stem == "imagenet" else (3, 1, 1)
        self.conv1 = Conv(
            3,
            features[0],
            (size, size),
            strides=stride,
            padding=padding,
            use_bias=False,
            kernel_init=HE_NORMAL,
            dtype=dtype,
            rngs=rngs,
        )
        self.bn1 = BatchNorm(features[0], axis_name=axis_name, dtype=dtype, rngs=rngs)
        inputs = features[0]
        for stage, (count, stage_width) in enumerate(zip(BLOCKS[depth], features, strict=True), start=1):
            for index in range(count):
                block = Block(
                    inputs,
                    stage_width,
                    stride=2 if stage > 1 and index == 0 else 1,
                    bottleneck=bottleneck,
                    inner=groups * max(1, stage_width * group_width // 64),
                    groups=groups,
                    gated=gated,
                    stride_first=stride_first,
                    axis_name=axis_name,
                    dtype=dtype,
                    rngs=rngs,
                )
                setattr(self, f"layer{stage}_{index}", block)
                inputs = 4 * stage_width if bottleneck else stage_width
        if not trunk_only:
            cells = (-(-image_size // 8) // 4) ** 2 if stem == "cifar" else 1
            if cells == 0:
                raise InputError(f"image_size is {image_size} pixels; {self.architecture} needs at least 25")
            self.avgpool: Callable[[Array], Array] = (
                AveragePool(4, 4) if stem == "cifar" else GlobalAverage(keepdims=True)
            )
            self.fc = Linear(cells * inputs, num_classes, dtype=dtype, rngs=rngs)

    def steps(self) -> Steps:
        yield "conv1", self.conv1
        yield "bn1", self.bn1
        yield "relu1", nnx.relu
        if self.stem == "imagenet":
            yield "pool1", partial(max_pool, window=3, stride=2, padding=0 if self.gated else 1, ceil_mode=self.gated)
        for stage, count in enumerate(BLOCKS[self.depth], start=1):
            for index in range(count):
                yield f"layer{stage}_{index}", getattr(self, f"layer{stage}_{index}")
            yield f"layer{stage}", lambda x: x
        if self.trunk_only:
            return
        yield "avgpool", self.avgpool
        yield "logits", self._classify

    def _classify(self, x: Float[Array, "n h w c"]) -> Float[Array, "n classes"]:
        x = flatten(x)
        if x.shape[1] != self.fc.in_features:
            raise InputError(
                f"this {self.architecture} was built for images of {self.image_size}×{self.image_size} pixels and can"
                " classify no others; give that size, or build it with another image_size"
            )
        return self.fc(x)


def _torch_layers(
    depth: int, shortcut: str = "downsample", classifier: str = "fc", stem: str = "", gate: str = ""
) -> dict[str, str]:
    """`layer2.0.conv1` is our `layer2_0.conv1`; its projection and norm `layer2.0.downsample.0` and `.1`."""
    bottleneck = depth >= BOTTLENECK_FROM
    layers = {f"{stem}conv1": "conv1", f"{stem}bn1": "bn1"}
    for stage, blocks in enumerate(BLOCKS[depth], start=1):
        for block in range(blocks):
            theirs, ours = f"layer{stage}.{block}", f"layer{stage}_{block}"
            for number in range(1, 4 if bottleneck else 3):
                layers[f"{theirs}.conv{number}"] = f"{ours}.conv{number}"
                layers[f"{theirs}.bn{number}"] = f"{ours}.bn{number}"
            for number in (1, 2) if gate else ():
                layers[f"{theirs}.{gate}.fc{number}"] = f"{ours}.gate.fc{number}"
            if block == 0 and (stage > 1 or bottleneck):
                layers[f"{theirs}.{shortcut}.0"] = f"{ours}.downsample_conv"
                layers[f"{theirs}.{shortcut}.1"] = f"{ours}.downsample_bn"
    return layers | {classifier: "fc"}


_STAGES = ("layer1", "layer2", "layer3", "layer4")
_OPTIONS = frozenset({"num_classes", "width", "axis_name"})


def _register(name: str, build: Callable[..., Network], torch_layers: dict[str, str], groups: int = 1) -> None:
    register(
        name,
        Architecture(
            build,
            options=_OPTIONS,
            head=("fc",),
            top_k_after=_STAGES,  # the paper's
            place_name="layer{}",
            match=("relu1", "layer1", "layer2", "layer3"),
            torch_layers=torch_layers,
            groups=groups,
        ),
    )


for _depth in BLOCKS:
    _register(f"resnet{_depth}", partial(ResNet, _depth), _torch_layers(_depth))
_register("resnext50", partial(ResNet, 50, groups=32, group_width=4), _torch_layers(50), groups=32)
# The names of Cadene's pretrained-models, which publishes the weights.
_CADENE = _torch_layers(50, classifier="last_linear", stem="layer0.", gate="se_module")
_register("se_resnet50", partial(ResNet, 50, gated=True, stride_first=True), _CADENE)
_register("se_resnext50", partial(ResNet, 50, gated=True, groups=32, group_width=4), _CADENE, groups=32)
register(
    "resnet18_cifar",
    Architecture(
        partial(ResNet, 18, stem="cifar"),
        options=_OPTIONS | {"image_size"},
        head=("fc",),
        top_k_after=("layer2",),  # the paper's, for training
        place_name="layer{}",
        match=("relu1", "layer1", "layer2", "layer3"),
        torch_layers=_torch_layers(18, "shortcut", "linear"),  # the names in the code of Li et al. (2023)
        flattened={"fc": "layer4_1.conv2"},
    ),
)
for _depth in (18, 34, 50, 101):
    register(
        f"resnet{_depth}_cifar_global",
        Architecture(
            partial(ResNet, _depth, stem="cifar_global"),
            options=_OPTIONS,
            head=("fc",),
            top_k_after=("layer2",),
            place_name="layer{}",
            match=("relu1", "layer1", "layer2", "layer3"),
            torch_layers=_torch_layers(_depth, "shortcut", "linear"),
        ),
    )
