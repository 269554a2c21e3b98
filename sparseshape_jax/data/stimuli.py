"""Cue-conflict stimuli: the shape of one category with the texture of another (Geirhos et al. 2019)."""

import re
from dataclasses import dataclass
from pathlib import Path

from sparseshape_jax.data.folders import image_files
from sparseshape_jax.errors import InputError
from sparseshape_jax.shape_bias.categories import CATEGORIES

_NAME = re.compile(r"([a-z]+)\d+-([a-z]+)\d+")


@dataclass(frozen=True)
class Stimulus:
    """One image and the two categories that it is made of."""

    path: Path
    shape: str
    texture: str


def find_stimuli(folder: Path) -> list[Stimulus]:
    """All stimuli below `folder`, which is laid out as `<shape>/<shape>N-<texture>M.png`, sorted by name.

    The folder above will do too: where there is a folder `cue-conflict` in it, that one is taken.

    Raises:
        InputError: the folder is missing, empty, or laid out otherwise.
    """
    inner = folder / "cue-conflict"
    root = inner if inner.is_dir() else folder
    stimuli = []
    for path in image_files(root):
        match = _NAME.fullmatch(path.stem)
        if not match or {match[1], match[2]} - set(CATEGORIES) or path.parent != root / match[1]:
            raise InputError(
                f"{root} is not in cue-conflict layout: {path.relative_to(root)} is not named like car/car1-clock2.png"
                f" with categories among {', '.join(CATEGORIES)}"
            )
        stimuli.append(Stimulus(path, shape=match[1], texture=match[2]))
    return stimuli
