"""Cue-conflict stimuli: the shape of one category with the texture of another (Geirhos et al. 2019)."""

import tarfile
import tempfile
from pathlib import Path

from sparseshape_jax.data.folders import Folder
from sparseshape_jax.data.images import Experiment
from sparseshape_jax.downloads import cache_folder, download
from sparseshape_jax.errors import InputError
from sparseshape_jax.observers.categories import CATEGORIES, shape_and_texture

CUE_CONFLICT_URL = "https://github.com/bethgelab/model-vs-human/releases/download/v0.1/cue-conflict.tar.gz"
"""The 1,280 cue-conflict stimuli of Geirhos et al. (2019), CC BY 4.0. No hash is published."""

MAKE_YOUR_OWN = (
    "or make a small set from photographs and textures of your own, in folders by category: python synthesize.py"
    " cue-conflict --config configs/cue_conflict/fast.yaml --content DIR --style DIR --out my-stimuli"
    " (then --stimuli my-stimuli)"
)
"""The way out where the official stimuli cannot be had."""


class CueConflict(Folder, Experiment):
    """All stimuli below a folder laid out as `<shape>/<shape>N-<texture>M.png`, sorted by name.

    If the folder has a folder `cue-conflict` in it, that one is read.

    Raises:
        InputError: the folder is missing, empty, or laid out differently, or no stimulus has a texture other than its
            shape.
    """

    def __init__(self, folder: Path) -> None:
        inner = folder / "cue-conflict"
        root = inner if inner.is_dir() else folder
        super().__init__(root)
        cues = []
        for path in self.paths:
            found = shape_and_texture(path.name)
            if found is None or path.parent != root / found[0]:
                raise InputError(
                    f"{root} is not in cue-conflict layout: {path.relative_to(root)} is not named like"
                    f" car/car1-clock2.png with categories among {', '.join(CATEGORIES)}"
                )
            cues.append(found)
        if all(shape == texture for shape, texture in cues):
            raise InputError(f"no stimulus in {root} has a texture other than its shape; there is no cue conflict")
        self.categories = tuple(shape for shape, _ in cues)
        self.textures: tuple[str | None, ...] = tuple(texture for _, texture in cues)
        self.conditions = ("0",) * len(cues)


def official_stimuli() -> Path:
    """The folder of the official cue-conflict stimuli, downloaded and unpacked into the cache on first use.

    Raises:
        InputError: they cannot be downloaded; the message names the URL and `--stimuli`.
    """
    folder = cache_folder() / "cue-conflict"
    if folder.is_dir():
        return folder
    archive = download(CUE_CONFLICT_URL, option=f"--stimuli DIR (unpacked); {MAKE_YOUR_OWN}")
    with tempfile.TemporaryDirectory(dir=archive.parent) as temporary:
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(temporary, filter="data")
        except tarfile.TarError as error:
            archive.unlink()
            raise InputError(f"{CUE_CONFLICT_URL} is damaged ({error}); run again, or give --stimuli DIR") from None
        unpacked = Path(temporary) / "cue-conflict"
        (unpacked if unpacked.is_dir() else Path(temporary)).rename(folder)
    return folder
