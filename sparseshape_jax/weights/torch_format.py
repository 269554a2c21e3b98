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


def write_zip(arrays: Mapping[str, np.ndarray], path: str | os.PathLike[str]) -> None:
    """Write a state dict that `torch.load(path, weights_only=True)` reads, all or nothing.

    Raises:
        InputError: an array of a dtype that torch files have no name for, or a path that cannot be written.
    """
    names = {dtype: name for name, dtype in STORAGES.items()}
    entries = {}
    # Protocol 2, opcode by opcode: the names of torch's functions are text here, which `pickle.dumps` cannot write.
    ordered_dict = pickle.GLOBAL + b"collections\nOrderedDict\n" + pickle.EMPTY_TUPLE + pickle.REDUCE
    description = [pickle.PROTO + b"\x02", ordered_dict]
    for key, (name, array) in enumerate(arrays.items()):
        if array.dtype not in names:
            raise InputError(f"{name} has dtype {array.dtype}; a torch file can hold {', '.join(map(str, names))}")
        entries[f"data/{key}"] = array.tobytes()
        strides = [int(np.prod(array.shape[axis + 1 :], dtype=np.int64)) for axis in range(array.ndim)]
        storage = pickle.GLOBAL + f"torch\n{names[array.dtype]}\n".encode()
        reference = _tuple(_text("storage"), storage, _text(str(key)), _text("cpu"), _number(array.size))
        description += [
            _text(name),
            pickle.GLOBAL + b"torch._utils\n_rebuild_tensor_v2\n",
            _tuple(
                reference + pickle.BINPERSID,
                _number(0),
                _tuple(*map(_number, array.shape)),
                _tuple(*map(_number, strides)),
                pickle.NEWFALSE,  # requires no gradient
                ordered_dict,  # and has no hooks
            ),
            pickle.REDUCE + pickle.SETITEM,
        ]
    description.append(pickle.STOP)
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        # torch finds the entries in whichever folder the archive has.
        archive.writestr("archive/data.pkl", b"".join(description))
        archive.writestr("archive/byteorder", "little")
        for entry, contents in entries.items():
            archive.writestr(f"archive/{entry}", contents)
        archive.writestr("archive/version", "3\n")


def _tuple(*items: bytes) -> bytes:
    return pickle.MARK + b"".join(items) + pickle.TUPLE


def _text(text: str) -> bytes:
    encoded = text.encode()
    return pickle.BINUNICODE + pack("<I", len(encoded)) + encoded


def _number(number: int) -> bytes:
    return pickle.LONG1 + b"\x08" + pack("<q", number)
