"""Unpickling files of weights without running what they ask for.

A pickle is a program: its author can name any function and have it called. Files of weights need a dozen names. All of
them are listed here, each with a replacement that builds plain arrays. Any other name is refused before anything is
called. Neither torch nor NumPy's own unpickling code is involved.
"""

import contextlib
import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from sparseshape_jax.errors import InputError

STORAGES: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
"""torch's names of its one-dimensional buffers, and their types."""


@dataclass(frozen=True)
class Storage:
    """A buffer outside a torch pickle that the pickle refers to."""

    key: str
    dtype: np.dtype[Any]
    length: int
    contents: bytes | None = None
    """Its bytes, if the pickle has them itself."""


@dataclass(frozen=True)
class Tensor:
    """A torch tensor: a strided window on a storage. `offset` and `strides` count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, contents: bytes) -> np.ndarray:
        """The tensor as a read-only view of its storage's `contents`."""
        numbers = (self.offset, self.storage.length, *self.shape, *self.strides)
        if len(self.shape) != len(self.strides) or not all(isinstance(n, int) and n >= 0 for n in numbers):
            raise ValueError(f"a tensor of shape {self.shape} and strides {self.strides}")
        last = self.offset + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))
        # A tensor with more elements than its storage (expanded, stride 0) could claim terabytes from a tiny file.
        if prod(self.shape) and (last >= self.storage.length or prod(self.shape) > self.storage.length):
            raise ValueError(f"a tensor of shape {self.shape} reaches beyond its {self.storage.length} elements")
        flat = np.frombuffer(contents, self.storage.dtype, self.storage.length)
        steps = [stride * flat.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, steps, writeable=False)


class _Dict(dict[Any, Any]):
    """`OrderedDict`; its attribute `_metadata`, which torch adds, is dropped."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        pass


class _Dtype:
    """`numpy.dtype`, for plain little-endian numbers, and for objects, which are restricted as all others are."""

    __slots__ = ("dtype",)

    def __init__(self, code: str, *_: object) -> None:
        self.dtype = np.dtype(ml_dtypes.bfloat16 if code == "bfloat16" else code)
        if not isinstance(code, str) or (code != "bfloat16" and self.dtype.kind not in "biufO"):
            raise ValueError(f"arrays of dtype {code}")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] == ">":
            raise ValueError("big-endian arrays")


class PickledArray:
    """`numpy.ndarray`, empty at first; the pickle then sets its contents as the state."""

    __slots__ = ("array", "objects")

    def __init__(self, *_: object) -> None:
        self.array: np.ndarray | None = None
        self.objects: list[Any] | None = None
        """In place of an array of numbers: what an array of objects holds, in order."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, contents = state
        if dtype.dtype.hasobject:
            if type(contents) is not list or len(contents) != prod(shape):
                raise ValueError(f"an array of objects of shape {shape} without its objects")
            self.objects = contents
            return
        # Python 2 pickled bytes as text in Latin-1.
        contents = contents.encode("latin1") if isinstance(contents, str) else contents
        self.array = np.frombuffer(contents, dtype.dtype).reshape(shape, order="F" if fortran else "C")


def _from_buffer(contents: bytes, dtype: _Dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
    return np.frombuffer(contents, dtype.dtype).reshape(shape, order="F" if order == "F" else "C")


def _scalar(dtype: _Dtype, contents: bytes) -> np.ndarray:
    return np.frombuffer(contents, dtype.dtype).reshape(())


def _encode(text: str, encoding: str) -> bytes:
    """How pickle protocol 2 spells bytes."""
    if encoding != "latin1":
        raise ValueError(f"text in {encoding}")
    return text.encode("latin1")


def _tensor(storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object) -> Tensor:
    if not isinstance(storage, Storage):
        raise TypeError("a tensor without a storage")
    return Tensor(storage, offset, tuple(shape), tuple(strides))


_NUMPY: dict[str, Callable[..., Any]] = {
    "multiarray._reconstruct": PickledArray,
    "multiarray.scalar": _scalar,
    "numeric._frombuffer": _from_buffer,
}
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "collections.OrderedDict": _Dict,
    "_codecs.encode": _encode,
    "numpy.dtype": _Dtype,
    **{f"numpy.core.{name}": function for name, function in _NUMPY.items()},
    **{f"numpy._core.{name}": function for name, function in _NUMPY.items()},
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
}
# Names that are only passed on as arguments are replaced by text.
_MARKERS: Mapping[str, str] = {
    "numpy.ndarray": "ndarray",
    "ml_dtypes.bfloat16": "bfloat16",
    **{f"torch.{name}": name for name in STORAGES},
}


FROM_BYTES = "torch.storage._load_from_bytes"
"""How a tensor is pickled without `torch.save`: its storage is a file of its own, as bytes in the pickle."""


class _Unpickler(pickle.Unpickler):
    def __init__(
        self, file: BinaryIO, path: Path, storages: dict[str, Storage], from_bytes: Callable[..., Storage] | None
    ) -> None:
        # Latin-1 has a character for every byte, which the pickles of Python 2 need.
        super().__init__(file, encoding="latin1")
        self.path = path
        self.storages = storages
        self.from_bytes = from_bytes

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full in _FUNCTIONS:
            function = _FUNCTIONS[full]
            # A new function each time: a pickle can set attributes of what it receives, and must not change ours.
            return lambda *arguments: function(*arguments)
        if full in _MARKERS:
            return _MARKERS[full]
        if full == FROM_BYTES and self.from_bytes is not None:
            read = self.from_bytes
            return lambda contents: read(contents, self.path)
        raise InputError(
            f"{self.path} asks for {full}, which is not needed to store weights and could run code: refused."
            " Only arrays, tensors, dicts, lists, numbers and text are read; ask its author for a plain state dict"
        )

    def persistent_load(self, reference: Any) -> Storage:
        kind, storage, key, _, length, *view = reference
        if kind != "storage" or any(view):
            raise ValueError(f"a reference of kind {kind}")
        found = Storage(str(key), STORAGES[storage], length)
        if self.storages.setdefault(found.key, found) != found:
            raise ValueError(f"storage {key} is described in two ways")
        return found


def load(
    file: BinaryIO, path: Path, from_bytes: Callable[[bytes, Path], Storage] | None = None
) -> tuple[Any, dict[str, Storage]]:
    """Read one pickle from `file`, and stop right after it. `path` is for the message.

    `from_bytes` reads the storage of a tensor that was pickled without `torch.save`; without it these are refused.

    Returns:
        Nested dicts, lists and tuples of arrays, `Tensor`s, numbers and text; and the storages of the tensors.

    Raises:
        InputError: the pickle asks for anything but the names above, or is damaged.
    """
    storages: dict[str, Storage] = {}
    with damage_reported(path):
        return _Unpickler(file, path, storages, from_bytes).load(), storages


@contextlib.contextmanager
def damage_reported(path: Path) -> Iterator[None]:
    """Turn any error that a damaged file causes in the body into one `InputError` that names the file."""
    try:
        yield
    except InputError:
        raise
    # A damaged pickle can raise nearly any error, as the documentation of `pickle` warns, and so can what it describes.
    except Exception as error:
        reason = " ".join(f"{type(error).__name__} {error}".split())
        raise InputError(f"{path} is damaged, cut short or not a file of weights ({reason}); fetch it again") from None
