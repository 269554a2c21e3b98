"""Class folders of noise that even a tiny network can tell apart: each class has more of one color."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("blue", "green", "red")


def write_noise(folder: Path, counts: Mapping[str, Sequence[int]], *, tint: int) -> Path:
    """Write `<folder>/<split>/<class>/<number>.png`, 16×16, as many of each split and class as `counts` says.

    `tint` is how much brighter a class's own channel is. Returns the folder.
    """
    rng = np.random.default_rng(0)
    for split, each in counts.items():
        for number, (color, count) in enumerate(zip(CLASSES, each, strict=True)):
            for index in range(count):
                noise = rng.integers(0, 120, (16, 16, 3))
                noise[..., number] += tint
                path = folder / split / color / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(noise.astype(np.uint8)).save(path)
    return folder
