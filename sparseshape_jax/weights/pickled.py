"""Arrays and tensors that were pickled without torch.save: dicts of them, and NumPy files that hold Python objects.

`pickle.dump` of a torch tensor puts the tensor's storage into the pickle, as a whole file of torch's legacy format. As
in `restricted_pickle`, nothing that a file asks for is called.
"""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sparseshape_jax.errors import InputError
from sparseshape_jax.weights import restricted_pickle, torch_format
from sparseshape_jax.weights.restricted_pickle import PickledArray, Storage, Tensor, damage_reported


def read_pickle(path: Path) -> Any:
    """The object in a pickle, with its arrays and tensors as NumPy arrays.

    Raises:
        InputError: a file that is missing, damaged, or asks for anything but arrays, tensors, dicts, lists, numbers and
            text.
    """
    with _opened(path) as file:
        return _unpickled(file, path)


def read_npy(path: Path) -> np.ndarray | list[Any]:
    """The array in a NumPy file; of one with Python objects, a list of them, with arrays and tensors as NumPy arrays.

    Raises:
        InputError: as for `read_pickle`.
    """
    with _opened(path) as file, damage_reported(path):
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        if read(file)[2].hasobject:
            return list(_unpickled(file, path))
        file.seek(0)
        return np.lib.format.read_array(file, allow_pickle=False)


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror})") from None


class _AnyDtype:
    """`numpy.dtype`, of numbers or of Python objects."""

    def __init__(self, code: str, *rest: object) -> None:
        self.numbers = None if code in ("O", "O8") else restricted_pickle.Dtype(code, *rest)

    @property
    def dtype(self) -> np.dtype[Any]:
        if self.numbers is None:
            raise ValueError("Python objects where numbers belong")
        return self.numbers.dtype

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if self.numbers is not None:
            self.numbers.__setstate__(state)


class _AnyArray(PickledArray):
    """`numpy.ndarray`; an array of Python objects becomes a list."""

    __slots__ = ("objects",)

    def __init__(self, *_: object) -> None:
        super().__init__()
        self.objects: list[Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        dtype = state[2]
        if isinstance(dtype, _AnyDtype) and dtype.numbers is None:
            self.objects = list(state[4])
        else:
            super().__setstate__(state)


def _unpickled(file: BinaryIO, path: Path) -> Any:
    contents: dict[str, bytes] = {}

    def storage(legacy: bytes) -> Storage:
        """A tensor's storage from the file of torch's that it was pickled as."""
        inner = io.BytesIO(legacy)
        magic, _ = restricted_pickle.load(inner, path)
        if magic != torch_format.LEGACY_MAGIC:
            raise ValueError("a storage in an unknown format")
        found, there = torch_format.read_legacy(inner, path)
        if not isinstance(found, Storage):
            raise TypeError("a tensor without a storage")
        own = Storage(str(len(contents)), found.dtype, found.length)
        contents[own.key] = there[found.key]
        return own

    arrays: dict[str, Callable[..., Any]] = {
        f"numpy.{core}.multiarray._reconstruct": _AnyArray for core in ("core", "_core")
    }
    more: dict[str, Callable[..., Any]] = {
        **arrays,
        "numpy.dtype": _AnyDtype,
        "torch.storage._load_from_bytes": storage,
    }
    tree, _ = restricted_pickle.load(file, path, more)
    with damage_reported(path):
        return _plain(tree, contents)


def _plain(tree: Any, contents: Mapping[str, bytes]) -> Any:
    """The same with arrays in place of what stands for them."""
    if isinstance(tree, Tensor):
        return tree.array(contents[tree.storage.key])
    if isinstance(tree, _AnyArray):
        return tree.array if tree.objects is None else [_plain(item, contents) for item in tree.objects]
    if isinstance(tree, Mapping):
        return {key: _plain(value, contents) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_plain(item, contents) for item in tree]
    return tree
