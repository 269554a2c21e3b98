"""The published archives of stimuli: downloaded and unpacked into the cache once.

No hashes are published. The SHA-256 of each archive is written down when it is first downloaded.
"""

import tarfile
import tempfile
from pathlib import Path

from sparseshape_jax import output
from sparseshape_jax.cache import cache_folder
from sparseshape_jax.downloads import download, sha256
from sparseshape_jax.errors import InputError

RELEASE_URL = "https://github.com/bethgelab/model-vs-human/releases/download/v0.1"
"""One archive for each of the 17 sets, `<set>.tar.gz`."""


def official_set(name: str, *, option: str) -> Path:
    """The folder of a published set, downloaded and unpacked into the cache on first use.

    Args:
        name: of the set.
        option: the flag that takes a local folder instead, for messages.

    Raises:
        InputError: it cannot be downloaded, or is damaged; the message names the URL and `option`.
    """
    folder = cache_folder() / name
    if folder.is_dir():
        return folder
    url = f"{RELEASE_URL}/{name}.tar.gz"
    known = cache_folder() / f"{name}.tar.gz.sha256"
    archive = download(url, known.read_text("ascii").strip() if known.is_file() else None, option=option)
    with tempfile.TemporaryDirectory(dir=archive.parent) as temporary:
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(temporary, filter="data")
        except tarfile.TarError as error:
            archive.unlink()
            raise InputError(f"{url} is damaged ({error}); run again, or give {option}") from None
        if not known.is_file():
            output.write_text(known, f"{sha256(archive)}\n")
        unpacked = Path(temporary) / name
        (unpacked if unpacked.is_dir() else Path(temporary)).rename(folder)
    return folder
