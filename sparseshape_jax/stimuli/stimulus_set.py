"""The interface of a set of stimuli that is made from photographs.

A set has conditions, such as a contrast or the side of shuffled blocks. It turns an image into a stimulus of one
condition, and may do so at random. The random generator depends on the image's name and the seed alone, so a set is the
same in every order and every batch, and the same in files as in memory.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import ClassVar

import numpy as np
from jaxtyping import UInt8

from sparseshape_jax.data.images import Images
from sparseshape_jax.errors import InputError

Pixels = UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class Stimulus:
    """One file of a set, and the image that it is made from."""

    index: int
    """The image's position in its set of images."""
    condition: str
    file: PurePosixPath
    """Its path below the output folder."""


class StimulusSet(ABC):
    """How photographs become the stimuli of one experiment."""

    conditions: ClassVar[tuple[str, ...]]
    """The conditions that are made by default."""
    size: ClassVar[int | None] = None
    """Side in pixels to which images are cropped first, after the usual resizing; None leaves them as they are."""

    def check(self, condition: str) -> None:
        """Raise `InputError` for a condition that the set cannot have."""
        if condition not in self.conditions:
            raise InputError(f"there is no condition {condition!r}; there are {', '.join(self.conditions)}")

    @abstractmethod
    def make(self, image: Pixels, condition: str, rng: np.random.Generator) -> Pixels:
        """The stimulus that an RGB image (H, W, 3) becomes in a condition, of the same or another size."""

    def plan(self, name: str, images: Images, conditions: Sequence[str]) -> Iterator[Stimulus]:
        """All files of the set called `name`: every image in every condition, `<name>/<condition>/<image>.png`."""
        for condition in conditions:
            for index in range(len(images)):
                file = PurePosixPath(name, condition, images.key(index)).with_suffix(".png")
                yield Stimulus(index, condition, file)
