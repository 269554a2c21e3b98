"""The cache of downloaded files. Downloads resume, are checked by hash, and appear in the cache only when complete."""

import contextlib
import hashlib
import http.client
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from sparseshape_jax.cache import cache_folder
from sparseshape_jax.errors import InputError

try:
    import fcntl
except ModuleNotFoundError:  # on Windows
    fcntl = None  # type: ignore[assignment]

TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as broken."""
ATTEMPTS = 4
"""Connections tried in a row; each resumes where the previous one broke off."""
CHUNK = 1 << 18

BROKEN = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)
"""The errors of a connection that fails or breaks. A full disk raises other ones."""


def sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, in hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def matches(digest: str, expected: str | None) -> bool:
    """Whether a SHA-256 is the expected one. `expected` may be its first digits only; None matches any."""
    return expected is None or digest.startswith(expected.lower())


def download(url: str, expected: str | None = None, *, option: str) -> Path:
    """The file at `url`, from the cache or downloaded into it with a progress bar.

    An interrupted download leaves a `.partial` file in the cache, from which the next call resumes. The file is named
    after the last part of the URL.

    Args:
        url: http or https, or anything else that urllib opens.
        expected: SHA-256 in hex, or its first digits; None if none is published.
        option: for the message, the flag that takes a local file instead.

    Raises:
        InputError: no connection, an answer other than the file, a wrong hash (the file is then removed), or a cache
            that cannot be written to. The message names the URL, the hash and `option`.
    """
    folder = cache_folder()
    target = folder / url.rpartition("/")[2]
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
    """Download `url` to `partial`, from where that file ends. A broken connection is tried again."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _continue(url, partial)
            return
        except urllib.error.URLError:
            raise  # there was no connection at all, or the server would answer the same again
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
        # The file is complete, or it is not the beginning of this one. Without a hash one cannot tell, so start over.
        partial.unlink()
        _continue(url, partial)
        return
    with response:
        # A server that does not support ranges sends the whole file.
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
    """Let one process at a time download into `folder`. The others wait, and then find the file."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Some network file systems cannot lock a folder. Then two processes may both download, and the hash decides.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
