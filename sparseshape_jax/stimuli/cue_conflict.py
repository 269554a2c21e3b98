"""Cue-conflict stimuli: the shape of one category with the texture of another (Geirhos et al. 2019)."""

from pathlib import Path

from sparseshape_jax.data.folders import Folder
from sparseshape_jax.data.images import Experiment
from sparseshape_jax.errors import InputError
from sparseshape_jax.observers.categories import CATEGORIES, shape_and_texture

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
