"""What is compared: anything that yields images. Folders and data sets are here; a generator is one, too."""

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from sparseshape_jax.data.images import Images
from sparseshape_jax.data.open import open_images
from sparseshape_jax.data.sample import Part
from sparseshape_jax.errors import InputError
from sparseshape_jax.fid.config import FidConfig
from sparseshape_jax.fid.extract import PixelBatches


class Source(Protocol):
    """One side of a comparison."""

    name: str
    """What messages and results call it."""
    size: int | None
    """The side of a generator's images; None of stored images, which may have any."""
    skipped: list[str]
    """Images that were left out, and why."""

    def facts(self) -> dict[str, object]:
        """What decides the images, in plain values: a signature; of a generator, weights, seed and count."""

    def images(self, repeat: int, protocol: str) -> Images | PixelBatches:
        """The images; of a generator, those of repeat 0, 1, 2, … for a protocol that samples it several times.

        A generator yields batches (n, size, size, 3) of (g + 1) / 2, of its outputs g in [-1, 1] without clipping.
        """


OpenSource = Callable[[str, FidConfig], Source]
"""From what a user gives to a source."""


class StoredSource(Source):
    """Images of a folder or a data set.

    Args:
        images: the set.
        skip_bad: leave out images that cannot be decoded.

    Raises:
        InputError: (with `skip_bad`) no image can be decoded.
    """

    def __init__(self, images: Images, *, skip_bad: bool = False) -> None:
        self.name, self.size = images.name, None
        self.skipped = []
        self.stored = images
        if skip_bad:
            good = list(self._good(images))
            if not good:
                raise InputError(f"none of the {len(images)} images of {images.name} can be decoded; give others")
            self.stored = images if len(good) == len(images) else Part(images, good)

    def _good(self, images: Images) -> Iterator[int]:
        for index in range(len(images)):
            try:
                images.image(index)
                yield index
            except InputError as error:
                self.skipped.append(str(error))

    def facts(self) -> dict[str, object]:
        return {"name": self.name, "signature": self.stored.signature()}

    def images(self, repeat: int, protocol: str) -> Images | np.ndarray:  # noqa: ARG002, they stay the same
        return self.stored


def open_stored(source: str, config: FidConfig) -> Source:
    """A folder, at any depth, or tfds:NAME/split.

    Raises:
        InputError: missing or empty.
    """
    return StoredSource(open_images(source), skip_bad=config.skip_bad)
