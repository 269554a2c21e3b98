"""Where the file of a catalog entry is: in an installed package, or in the cache of downloads."""

import importlib.metadata
import importlib.resources
from pathlib import Path

from sparseshape_jax.cache import cache_folder
from sparseshape_jax.downloads import download, matches, sha256
from sparseshape_jax.errors import InputError
from sparseshape_jax.weights.catalog import OWN_PACKAGE, Entry


def locate(entry: Entry, *, option: str = "--weights FILE") -> Path:
    """The checked file of a catalog entry: from its package, or from the cache, downloaded first if it is not there.

    Raises:
        InputError: the package is not installed, the download failed, or the file is not the published one. The
            message names `option`, the flag that takes a local file instead, if there is one.
    """
    if entry.url is not None:
        return download(entry.url, entry.sha256, option=option)
    path = _packaged(entry)
    if path is None:
        raise InputError(
            f"{entry.name} comes with the package {entry.package}, which is not installed;"
            f' pip install "sparseshape-jax[{entry.extra}]"{f" or give a file with {option}" if option else ""}'
        )
    if not matches(sha256(path), entry.sha256):
        raise InputError(
            f"{path} is not the file that {entry.name} was tested with (SHA-256 {entry.sha256});"
            f' pip install --force-reinstall "sparseshape-jax[{entry.extra}]"'
        )
    return path


def cached(entry: Entry) -> bool:
    """Whether `locate` would find the file without a download. Its hash is not checked."""
    return _packaged(entry) is not None if entry.url is None else (cache_folder() / entry.file_name).is_file()


def _packaged(entry: Entry) -> Path | None:
    """The entry's file in its installed distribution, found without importing it."""
    if entry.package == OWN_PACKAGE and entry.path is not None:  # an editable installation does not list it
        own = Path(str(importlib.resources.files("sparseshape_jax").joinpath(entry.path.partition("/")[2])))
        return own if own.is_file() else None
    try:
        files = importlib.metadata.files(entry.package or "") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    paths = [Path(str(file.locate())) for file in files if file.as_posix() == entry.path]
    return next((path for path in paths if path.is_file()), None)
