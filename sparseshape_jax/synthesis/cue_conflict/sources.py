"""The photographs and textures that stimuli are made from."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from tqdm import tqdm

from sparseshape_jax.data.decoding import read_image
from sparseshape_jax.data.folders import ClassFolder
from sparseshape_jax.downloads import sha256
from sparseshape_jax.errors import InputError
from sparseshape_jax.synthesis.targets import read_pixels


class Pictures(ClassFolder):
    """The pictures of one side, `<folder>/<category>/…`, upright.

    Raises:
        InputError: as `ClassFolder`.
    """

    def image(self, index: int) -> Image.Image:
        return read_image(self.paths[index], upright=True)


@dataclass(frozen=True, eq=False)
class Source:
    """One picture, which gives its shape or its texture."""

    category: str
    number: int
    """Its position among the pictures of its category, from 1."""
    key: str
    """Its path below the folder."""
    sha256: str
    """Of the file."""
    pixels: UInt8[np.ndarray, "side side 3"]

    @property
    def name(self) -> str:
        """What files of stimuli call it, such as cat7."""
        return f"{self.category}{self.number}"


def read_sources(pictures: Pictures, side: int) -> list[Source]:
    """All pictures, with `side` pixels on the short side and the center cut out of the long one.

    Raises:
        InputError: a picture that cannot be decoded, is too small, or has one color only.
    """
    sources: list[Source] = []
    numbers: dict[str, int] = {}
    for index, path in enumerate(tqdm(pictures.paths, unit="image", desc=f"reading {pictures.name}", leave=False)):
        category = pictures.classes[int(pictures.labels[index])]
        numbers[category] = number = numbers.get(category, 0) + 1
        pixels = _square(path, side)
        if (pixels == pixels[0, 0]).all():
            raise InputError(f"{path} has one color only, so it has neither shape nor texture; replace or remove it")
        sources.append(Source(category, number, pictures.key(index), sha256(path), pixels))
    return sources


def _square(path: Path, side: int) -> UInt8[np.ndarray, "side side 3"]:
    pixels = np.round(read_pixels(path, side) * 255).astype(np.uint8)
    top, left = ((extent - side) // 2 for extent in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])


def digest(sources: Sequence[Source]) -> bytes:
    """The SHA-256 of the pictures' names and numbers."""
    return hashlib.sha256("\n".join(f"{each.name}\0{each.key}" for each in sources).encode()).digest()
