"""Reading a file of weights into a flat dict of NumPy arrays, without torch and without running what is in it.

The format is recognized by content: torch (zip or legacy), safetensors, `.npy`, or a plain pickle of nested dicts and
lists of NumPy arrays or torch tensors. Weights are unwrapped: from checkpoints that also keep the optimizer, and from
`DataParallel`'s `module.`.
"""

import itertools
import os
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file

from sparseshape_jax.errors import InputError
from sparseshape_jax.weights import restricted_pickle, torch_format
from sparseshape_jax.weights.restricted_pickle import Tensor, damage_reported

WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
"""Where checkpoints of training scripts keep the weights."""

NPY = b"\x93NUMPY"
"""The beginning of a `.npy` file."""

DEPTH, COUNT = 16, 100_000
"""No file of weights nests deeper or holds more arrays. A pickle that refers to itself would nest without end."""


def read_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read the arrays in a file of weights.

    Args:
        path: a `.pth`, `.pt` or `.pth.tar` of torch (any version since 0.4), a `.safetensors`, or a pickle (`.pkl`,
            `.ckpt`) of nested dicts and lists of arrays or tensors; or a `.npy`, also of objects. The extension does
            not matter.

    Returns:
        Name to array, in the file's order, layout and dtype. Nested names are joined with `/`. The arrays may be
        read-only views. `module.` is stripped from names and BatchNorm's `num_batches_tracked` is left out.

    Raises:
        InputError: no such file, damaged or cut short, not a file of weights, big-endian, or a pickle that asks for
            anything beyond arrays (the message names it; nothing is run).
    """
    path = Path(path)
    with _opened(path) as file:
        if _is_safetensors(file):
            return _cleaned(_read_safetensors(path), path)
        tree, contents = _read_pickled(file, path)
    for wrapper in WRAPPERS:
        if isinstance(tree, Mapping) and isinstance(tree.get(wrapper), Mapping):
            tree = tree[wrapper]
            break
    arrays = {}
    with damage_reported(path):
        for name, leaf in _leaves(tree):
            leaf = _array(leaf, contents)
            if not isinstance(leaf, np.ndarray):
                raise InputError(
                    f"{path} holds {type(leaf).__name__} {name!r} among its arrays; give a state dict, or a checkpoint"
                    f" with one under {', '.join(WRAPPERS)}"
                )
            arrays[name] = leaf
            if len(arrays) > COUNT:
                raise ValueError(f"more than {COUNT} arrays")
    return _cleaned(arrays, path)


def read_tree(path: str | os.PathLike[str]) -> Any:
    """Read everything in a torch file or a pickle: a checkpoint of training, for example.

    Returns:
        Nested dicts, lists and tuples of arrays, numbers, text and None, with the names that they have there. The
        arrays may be read-only views.

    Raises:
        InputError: as `read_arrays`; and a safetensors file, which holds named arrays only.
    """
    path = Path(path)
    with _opened(path) as file:
        if _is_safetensors(file):
            raise InputError(f"{path} is a safetensors file, which holds arrays only; give a torch file")
        tree, contents = _read_pickled(file, path)
    left = itertools.count(COUNT, -1)

    def resolved(tree: Any, depth: int = 0) -> Any:
        if depth > DEPTH or next(left) < 0:
            raise ValueError(f"nested more than {DEPTH} deep, or more than {COUNT} parts")
        if isinstance(tree, restricted_pickle.PickledArray) and tree.objects is not None:
            tree = tree.objects
        if isinstance(tree, Mapping):
            return {key: resolved(value, depth + 1) for key, value in tree.items()}
        if isinstance(tree, list | tuple):
            return type(tree)(resolved(value, depth + 1) for value in tree)
        leaf = _array(tree, contents)
        if leaf is not None and not isinstance(leaf, np.ndarray | bool | int | float | str):
            raise TypeError(f"{type(leaf).__name__} among arrays and numbers")
        return leaf

    with damage_reported(path):
        return resolved(tree)


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The metadata of a safetensors file; empty for every other format.

    Raises:
        InputError: no such file, or damaged.
    """
    path = Path(path)
    with _opened(path) as file:
        if not _is_safetensors(file):
            return {}
    with damage_reported(path), safe_open(path, framework="numpy") as opened:
        return opened.metadata() or {}


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"cannot read the weights {path} ({error.strerror}); give a file that exists") from None


def _is_safetensors(file: BinaryIO) -> bool:
    """A safetensors file opens with the length of its JSON header (eight bytes), then the header."""
    start = file.read(9)
    file.seek(0)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") <= os.fstat(file.fileno()).st_size - 8


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    with damage_reported(path):
        return load_file(path)


def _read_pickled(file: BinaryIO, path: Path) -> tuple[Any, Mapping[str, bytes]]:
    """The object in a torch file or a pickle, and the contents of the storages that lie outside the pickle."""
    start = file.read(32)
    file.seek(0)
    if start.startswith(b"PK"):
        return torch_format.read_zip(file, path)
    if start.startswith(NPY):
        return _read_npy(file, path), {}
    if not start.startswith(pickle.PROTO):
        raise InputError(
            f"{path} is not a file of weights (it begins with {start[:16]!r}); torch files, safetensors and pickles of"
            " arrays can be read"
        )
    tree, _ = restricted_pickle.load(file, path, torch_format.storage_from_bytes)
    if isinstance(tree, int) and tree == torch_format.LEGACY_MAGIC:
        return torch_format.read_legacy(file, path)
    return tree, {}


def _read_npy(file: BinaryIO, path: Path) -> Any:
    """The array of a `.npy` file; of an array of objects, which is a pickle, these objects."""
    with damage_reported(path):
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        _, _, dtype = read(file)
        if dtype.hasobject:
            return restricted_pickle.load(file, path, torch_format.storage_from_bytes)[0]
        file.seek(0)
        return {"array": np.load(file, allow_pickle=False)}


def _array(leaf: Any, contents: Mapping[str, bytes]) -> Any:
    """The array that a tensor or a pickled array stands for; anything else as it is."""
    if isinstance(leaf, Tensor):
        own = leaf.storage.contents
        return leaf.array(contents[leaf.storage.key] if own is None else own)
    return leaf.array if isinstance(leaf, restricted_pickle.PickledArray) else leaf


def _leaves(tree: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    if depth > DEPTH:
        raise ValueError(f"nested more than {DEPTH} deep")
    if isinstance(tree, restricted_pickle.PickledArray) and tree.objects is not None:
        tree = tree.objects
    if isinstance(tree, list | tuple):
        tree = dict(enumerate(tree))
    if not isinstance(tree, Mapping):
        yield name, tree
        return
    for key, value in tree.items():
        yield from _leaves(value, f"{name}/{key}" if name else str(key), depth + 1)


def _cleaned(arrays: Mapping[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    cleaned: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        # DataParallel may wrap only a part: Geirhos' AlexNet and VGG have `features.module.0.weight`.
        short = ".".join(part for part in name.split(".") if part != "module")
        if short in cleaned:
            raise InputError(f"{path} holds {short} twice, once under module; give a file that holds one network")
        if not short.endswith("num_batches_tracked"):
            cleaned[short] = array
    if not cleaned:
        raise InputError(f"{path} holds no arrays; give a file of weights")
    return cleaned
