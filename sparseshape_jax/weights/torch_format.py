"""Reading torch's two file formats, and writing the newer one, without torch.

A pickle describes the tensors; the numbers are stored separately. Since torch 1.6 a file is an uncompressed zip archive
with `data.pkl` and one entry per storage. Before that it was five pickles in a row, then the storages. Only
little-endian files are read.
"""

import io
import os
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from struct import pack, unpack
from typing import Any, BinaryIO

import numpy as np

from sparseshape_jax.errors import InputError
from sparseshape_jax.output import replacing
from sparseshape_jax.weights import restricted_pickle
from sparseshape_jax.weights.restricted_pickle import STORAGES, Storage, damage_reported

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
"""The first pickle of a legacy file."""


def read_zip(file: BinaryIO, path: Path) -> tuple[Any, dict[str, bytes]]:
    """The object in a zip-format file, with `Tensor`s in it, and the contents of their storages by key.

    Raises:
        InputError: not an archive of torch's, damaged, big-endian, or asking for anything that weights do not need.
    """
    with damage_reported(path), zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        descriptions = [name for name in names if name.endswith("/data.pkl")]
        if len(descriptions) != 1:
            raise InputError(f"{path} is a zip archive, but not one that torch.save wrote; give a file of weights")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise InputError(f"{path} was compressed after torch.save wrote it; give the original file")
        root = descriptions[0].removesuffix("data.pkl")
        if f"{root}byteorder" in names:
            _check_byte_order(archive.read(f"{root}byteorder") == b"little", path)
        tree, storages = restricted_pickle.load(io.BytesIO(archive.read(descriptions[0])), path)
        return tree, {key: archive.read(f"{root}data/{key}") for key in storages}


def read_legacy(file: BinaryIO, path: Path) -> tuple[Any, dict[str, bytes]]:
    """The same for a file of torch before 1.6, read from after its magic number on.

    Raises:
        InputError: as for `read_zip`.
    """
    restricted_pickle.load(file, path)  # the version of this format; there has been only one
    system, _ = restricted_pickle.load(file, path)
    tree, storages = restricted_pickle.load(file, path)
    order, _ = restricted_pickle.load(file, path)
    contents = {}
    with damage_reported(path):
        _check_byte_order(system["little_endian"], path)
        for key in order:
            (length,) = unpack("<q", file.read(8))
            contents[key] = file.read(length * storages[key].dtype.itemsize)
    return tree, contents


def storage_from_bytes(contents: bytes, path: Path) -> Storage:
    """The storage in a legacy file that is a part of another pickle, as tensors pickled without `torch.save` have it.

    Raises:
        InputError: as for `read_zip`.
    """
    with damage_reported(path):
        file = io.BytesIO(contents)
        magic, _ = restricted_pickle.load(file, path)
        if not isinstance(magic, int) or magic != LEGACY_MAGIC:
            raise ValueError("a storage in another format")
        storage, parts = read_legacy(file, path)
        if not isinstance(storage, Storage):
            raise TypeError("bytes without a storage")
        return replace(storage, contents=parts[storage.key])


def _check_byte_order(little: bool, path: Path) -> None:
    if not little:
        raise InputError(f"{path} is big-endian; save it again on a little-endian machine")


def write_zip(tree: Any, path: str | os.PathLike[str]) -> None:
    """Write a state dict, or a checkpoint, that `torch.load(path, weights_only=True)` reads, all or nothing.

    Args:
        tree: nested mappings, lists and tuples of arrays, numbers, text, and None.
        path: the file.

    Raises:
        InputError: an array of a dtype that torch files have no name for, or a path that cannot be written.
    """
    storages: list[bytes] = []
    # Protocol 2, opcode by opcode: the names of torch's functions are text here, which `pickle.dumps` cannot write.
    description = pickle.PROTO + b"\x02" + _described(tree, storages) + pickle.STOP
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        # torch finds the entries in whichever folder the archive has.
        archive.writestr("archive/data.pkl", description)
        archive.writestr("archive/byteorder", "little")
        for key, contents in enumerate(storages):
            archive.writestr(f"archive/data/{key}", contents)
        archive.writestr("archive/version", "3\n")


ORDERED_DICT = pickle.GLOBAL + b"collections\nOrderedDict\n" + pickle.EMPTY_TUPLE + pickle.REDUCE
NAMES = {dtype: name for name, dtype in STORAGES.items()}


def _described(value: Any, storages: list[bytes], name: str = "") -> bytes:
    """The opcodes that build `value`; the contents of its arrays are appended to `storages`."""
    if isinstance(value, np.ndarray):
        if value.dtype not in NAMES:
            raise InputError(f"{name} has dtype {value.dtype}; a torch file can hold {', '.join(map(str, NAMES))}")
        storages.append(value.tobytes())
        return _tensor(value, len(storages) - 1)
    if isinstance(value, Mapping):
        items = [_described(key, storages) + _described(item, storages, str(key)) for key, item in value.items()]
        return ORDERED_DICT + b"".join(pair + pickle.SETITEM for pair in items)
    if isinstance(value, list):
        items = [_described(item, storages, name) for item in value]
        return pickle.EMPTY_LIST + b"".join(item + pickle.APPEND for item in items)
    if isinstance(value, tuple):
        return _tuple(*(_described(item, storages, name) for item in value))
    if value is None or isinstance(value, bool):
        return {None: pickle.NONE, True: pickle.NEWTRUE, False: pickle.NEWFALSE}[value]
    if isinstance(value, int):
        return _number(value)
    if isinstance(value, float):
        return pickle.BINFLOAT + pack(">d", value)
    if isinstance(value, str):
        return _text(value)
    raise InputError(f"{name} is a {type(value).__name__}; a torch file can hold arrays, numbers and text")


def _tensor(array: np.ndarray, key: int) -> bytes:
    strides = [int(np.prod(array.shape[axis + 1 :], dtype=np.int64)) for axis in range(array.ndim)]
    storage = pickle.GLOBAL + f"torch\n{NAMES[array.dtype]}\n".encode()
    reference = _tuple(_text("storage"), storage, _text(str(key)), _text("cpu"), _number(array.size))
    arguments = _tuple(
        reference + pickle.BINPERSID,
        _number(0),
        _tuple(*map(_number, array.shape)),
        _tuple(*map(_number, strides)),
        pickle.NEWFALSE,  # requires no gradient
        ORDERED_DICT,  # and has no hooks
    )
    return pickle.GLOBAL + b"torch._utils\n_rebuild_tensor_v2\n" + arguments + pickle.REDUCE


def _tuple(*items: bytes) -> bytes:
    return pickle.MARK + b"".join(items) + pickle.TUPLE


def _text(text: str) -> bytes:
    encoded = text.encode()
    return pickle.BINUNICODE + pack("<I", len(encoded)) + encoded


def _number(number: int) -> bytes:
    return pickle.LONG1 + b"\x08" + pack("<q", number)
