"""The cache of downloaded files: resumable downloads, checked by hash, never visible half done."""

import contextlib
import hashlib
import http.client
import importlib.metadata
import os
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from sparseshape_jax.errors import InputError
from sparseshape_jax.weights.catalogue import Entry

TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as broken."""
ATTEMPTS = 4
"""Connections tried in a row; each takes up where the one before broke off."""
CHUNK = 1 << 18

BROKEN = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)
"""What a connection that fails or breaks raises; a full disk raises none of these."""


def cache_folder() -> Path:
    """`$SPARSESHAPE_CACHE`, else `$XDG_CACHE_HOME/sparseshape_jax`, else `~/.cache/sparseshape_jax`."""
    if chosen := os.environ.get("SPARSESHAPE_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sparseshape_jax"


def locate(entry: Entry, *, option: str = "--weights FILE") -> Path:
    """The checked file of a catalogue entry: from its package, or from the cache, downloaded into it if need be.

    Raises:
        InputError: the package is not installed, the download failed, or the file is not the published one. The
            message names `option`, the flag that takes a local file instead.
    """
    if entry.url is not None:
        return download(entry.url, entry.sha256, option=option)
    path = _packaged(entry)
    if path is None:
        raise InputError(
            f"{entry.name} is carried by the package {entry.package}, which is not installed;"
            f' pip install "sparseshape-jax[demo]" or give a file with {option}'
        )
    if not matches(sha256(path), entry.sha256):
        raise InputError(
            f"{path} is not the file that {entry.name} was tested with (SHA-256 {entry.sha256});"
            ' pip install --force-reinstall "sparseshape-jax[demo]"'
        )
    return path


def cached(entry: Entry) -> bool:
    """Whether `locate` would find the file without a download (its hash is not looked at)."""
    return _packaged(entry) is not None if entry.url is None else (cache_folder() / entry.file_name).is_file()


def _packaged(entry: Entry) -> Path | None:
    """The entry's file in its installed distribution, found without importing it."""
    try:
        files = importlib.metadata.files(entry.package or "") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    paths = [Path(str(file.locate())) for file in files if file.as_posix() == entry.path]
    return next((path for path in paths if path.is_file()), None)


def sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, in hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def matches(digest: str, expected: str | None) -> bool:
    """Whether a SHA-256 is the expected one, of which only the first digits may be known, or nothing (None)."""
    return expected is None or digest.startswith(expected.lower())


def download(url: str, expected: str | None = None, *, name: str | None = None, option: str = "--weights FILE") -> Path:
    """The file behind `url`, from the cache or downloaded into it with a progress bar.

    An interrupted download leaves a `.partial` file in the cache, and the next call goes on from there.

    Args:
        url: http or https (anything that urllib opens).
        expected: SHA-256 in hex, or its first digits; None where none is published.
        name: the file's name in the cache; by default the last part of the URL.
        option: the flag that takes a local file instead, for the message.

    Raises:
        InputError: no connection, an answer other than the file, a wrong hash (the file is then removed), or an
            unwritable cache. The message names the URL, the hash and `option`.
    """
    folder = cache_folder()
    target = folder / (name or url.rpartition("/")[2])
    check = f" (SHA-256 {expected}{'' if len(expected) == 64 else '…'})" if expected else ""
    instead = f"get it from there by other means{check} and give it with {option}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            if target.is_file() and matches(sha256(target), expected):
                return target
            partial = target.with_name(f"{target.name}.partial")
            try:
                _fetch(url, partial)
            except BROKEN as error:
                reason = getattr(error, "reason", None) or error
                raise InputError(f"cannot download {url} ({reason}); run again to resume, or {instead}") from None
            if not matches(found := sha256(partial), expected):
                partial.unlink()
                raise InputError(f"{url} gave another file than expected (SHA-256 {found}), now removed; {instead}")
            return partial.replace(target)
    except OSError as error:
        raise InputError(
            f"cannot write to the cache {folder} ({error.strerror or error}); set SPARSESHAPE_CACHE to a folder you may"
            f" write to, or download {url} yourself and give it with {option}"
        ) from None


def _fetch(url: str, partial: Path) -> None:
    """Download `url` to `partial`, from where it ends already; broken connections are taken up again."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _continue(url, partial)
            return
        except urllib.error.URLError:
            raise  # no connection to begin with, or an answer that would be the same again
        except BROKEN:
            if attempt == ATTEMPTS:
                raise


def _continue(url: str, partial: Path) -> None:
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "sparseshape-jax"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        # Nothing is missing, or what is there is not the beginning of this file; without a hash one cannot tell.
        partial.unlink()
        _continue(url, partial)
        return
    with response:
        # A server that does not know ranges sends the whole file.
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        have = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        with (
            partial.open("ab" if resumed else "wb") as file,
            tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=partial.stem, disable=None) as bar,
        ):
            while chunk := response.read(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
            if total is not None and file.tell() < total:
                raise ConnectionError(f"the connection broke after {file.tell():,} of {total:,} bytes")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time download into `folder`: the others wait, then find the file."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Some network file systems cannot lock a folder; then two processes may both download, and the hash decides.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
