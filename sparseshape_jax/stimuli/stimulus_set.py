"""The interface of a set of stimuli that is made from photographs.

A set has conditions, such as a contrast or the side of shuffled blocks. It turns an image into a stimulus of one
condition, and may do so at random. The random generator depends on the image's name and the seed alone, so a set is the
same in every order and every batch, and the same in files as in memory.
"""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
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


@dataclass(frozen=True)
class Design:
    """How images are distributed over a set."""

    seed: int = 0
    """Of what is drawn: a sample of images, or their conditions."""
    per_class: int | None = None
    """Take so many images of each class; None takes all."""
    paired: bool = True
    """Every image in every condition; else each image in one condition only, where the set allows it."""


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

    def drawn(self, shape: tuple[int, int], condition: str, rng: np.random.Generator) -> str:
        """What `make` draws at random for an image of (H, W) pixels with the same generator, for the manifest."""
        del shape, condition, rng
        return ""

    depends_on_all: ClassVar[bool] = False
    """Whether a stimulus depends on which other images there are."""
    needs_fit: ClassVar[bool] = False
    """Whether `fit` must see all images before any stimulus is made."""

    def fit(self, images: Iterable[Pixels]) -> "StimulusSet":  # noqa: ARG002
        """The set with what it has to know of all images together."""
        return self

    def class_of(self, images: Images, index: int) -> str | None:
        """The class that an image counts for; None leaves it out. By default the first folder of its path."""
        return images.key(index).rpartition("/")[0].partition("/")[0]

    def chosen(self, images: Images, design: Design) -> dict[str, list[int]]:
        """The images that become stimuli, class by class, in an order that depends on the seed and their names.

        With another `per_class`, the images in common stay the same.
        """
        classes: dict[str, list[int]] = {}
        for index in range(len(images)):
            name = self.class_of(images, index)
            if name is not None:
                classes.setdefault(name, []).append(index)

        def order(index: int) -> bytes:
            return hashlib.sha256(f"{design.seed} {images.key(index)}".encode("utf-8", "surrogateescape")).digest()

        return {name: sorted(classes[name], key=order)[: design.per_class] for name in sorted(classes)}

    def plan(self, name: str, images: Images, conditions: Sequence[str], design: Design) -> Iterator[Stimulus]:
        """All files of the set called `name`: every image in every condition, `<name>/<condition>/<image>.png`."""
        indices = sorted(index for members in self.chosen(images, design).values() for index in members)
        for condition in conditions:
            for index in indices:
                file = PurePosixPath(name, condition, images.key(index)).with_suffix(".png")
                yield Stimulus(index, condition, file)


def refuse_collisions(images: Images, plan: Sequence[Stimulus]) -> None:
    """Raise `InputError` if two of the stimuli would become the same file, such as those of a.jpg and a.png."""
    taken: dict[PurePosixPath, int] = {}
    for stimulus in plan:
        if stimulus.file in taken:
            raise InputError(
                f"{images.key(taken[stimulus.file])} and {images.key(stimulus.index)} in {images.name} would both"
                f" become {stimulus.file}; rename one"
            )
        taken[stimulus.file] = stimulus.index


def whole_numbers(condition: str) -> tuple[int, ...]:
    """The numbers of a condition that consists of digits and underscores, such as 56_0; else none."""
    return tuple(map(int, condition.split("_"))) if re.fullmatch(r"[0-9]+(_[0-9]+)*", condition) else ()
