"""Where the pictures come from: what a user names, several sources as one, and pictures that are free to use."""

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from jaxtyping import Int
from PIL import Image

from sparseshape_jax.data.decoding import read_image
from sparseshape_jax.data.images import Images, LabeledImages
from sparseshape_jax.data.open import open_images
from sparseshape_jax.errors import InputError
from sparseshape_jax.results import fingerprint
from sparseshape_jax.stylize.procedural import numbered
from sparseshape_jax.stylize.style_images import ProceduralStyles

PHOTOGRAPHS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "retina.jpg",
    "rocket.jpg",
)
"""The pictures in scikit-image's package that its documentation calls free: public domain, CC0, or "no known copyright
restrictions". Others, whose documentation says nothing, are left out."""

TEXTURES, SIDE = 96, 192
"""How many procedural textures there are unless a number is given, and their side in pixels."""


def open_source(source: str) -> Images:
    """The pictures that one source names: `scikit-image`, `procedural`, `procedural:N`, or as `open_images`.

    Raises:
        InputError: as `open_images`, or a number of textures that is none.
    """
    if source == "scikit-image":
        return Photographs()
    if found := re.fullmatch(r"procedural(?::(.*))?", source):
        number = found[1] or str(TEXTURES)
        if not number.isdecimal() or not 1 <= int(number) <= 100_000:
            raise InputError(f"{source} asks for {number!r} textures; give a number from 1 to 100000")
        return ProceduralStyles(numbered(int(number)), SIDE)
    return open_images(source)


class Photographs(Images):
    """The photographs that come with scikit-image; decoded once."""

    def __init__(self) -> None:
        self.name = "scikit-image"
        self._image = cache(self._read)

    def __len__(self) -> int:
        return len(PHOTOGRAPHS)

    def image(self, index: int) -> Image.Image:
        return self._image(index)

    def describe(self, index: int) -> str:
        return f"scikit-image's {PHOTOGRAPHS[index]}"

    def key(self, index: int) -> str:
        return PHOTOGRAPHS[index]

    def signature(self) -> str:
        return fingerprint(PHOTOGRAPHS, versions_of=())

    def _read(self, index: int) -> Image.Image:
        return read_image(Path(str(files("skimage").joinpath("data", PHOTOGRAPHS[index]))))


class Joined(LabeledImages):
    """Several sources as one set, each with an equal share: those with fewer images come round again.

    Args:
        sources: the sets.
        least: the least number of images; they come round again until there are as many.
    """

    def __init__(self, sources: Sequence[Images], least: int = 1) -> None:
        self.sources = sources
        self.name, self.classes = ", ".join(source.name for source in sources), ("",)
        share = max(-(-least // len(sources)), *(len(source) for source in sources))
        self._places = [(source, index % len(source)) for index in range(share) for source in sources]

    def __len__(self) -> int:
        return len(self._places)

    @property
    def labels(self) -> Int[np.ndarray, " n"]:
        return np.zeros(len(self), np.int32)

    def image(self, index: int) -> Image.Image:
        source, place = self._places[index]
        return source.image(place)

    def example(self, index: int) -> tuple[Image.Image, int]:
        return self.image(index), 0

    def describe(self, index: int) -> str:
        source, place = self._places[index]
        return source.describe(place)

    def key(self, index: int) -> str:
        source, place = self._places[index]
        return f"{source.name}/{source.key(place)}"

    def signature(self) -> str:
        return hashlib.sha256(" ".join(source.signature() for source in self.sources).encode()).hexdigest()
