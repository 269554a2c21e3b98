"""The one protocol for images: by index, decoded when asked for, with labels where there are any.

Folders (`data.folders`), data sets of TensorFlow Datasets (`data.tfds`) and stimuli (`stimuli.cue_conflict`) implement
it. `data.open` opens the first two from what a user gives.
"""

import hashlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Int
from PIL import Image

from sparseshape_jax.errors import InputError


class Images(Protocol):
    """Images by index, from 0. They are decoded when asked for, in any thread."""

    name: str
    """What messages call the set: a folder, or tfds:NAME/split."""

    def __len__(self) -> int: ...

    def image(self, index: int) -> Image.Image:
        """Decode an image to 8-bit RGB.

        Raises:
            InputError: it cannot be decoded; the message names it.
        """

    def describe(self, index: int) -> str:
        """Where an image comes from: its path, or `record 17 of tfds:NAME/split`."""

    def key(self, index: int) -> str:
        """The image's name in the set: its path below the folder, or its record. Moving the set does not change it."""

    def signature(self) -> str:
        """A text that changes whenever the set does, as far as names, sizes and times of files show it."""


class LabeledImages(Images, Protocol):
    """Images, each of one class."""

    classes: tuple[str, ...]
    """Class names; a label is the position of its name here."""

    @property
    def labels(self) -> Int[np.ndarray, " n"]:
        """All labels, int32."""

    def example(self, index: int) -> tuple[Image.Image, int]:
        """An image and its label; raises as `image` does."""
        return self.image(index), int(self.labels[index])


class Experiment(Images, Protocol):
    """Images that were made for an experiment with the 16 categories (`observers.categories`)."""

    categories: tuple[str, ...]
    """The category of each image that counts as correct: its shape's, where shape and texture differ."""
    textures: tuple[str | None, ...]
    """The category of each image's texture, where the experiment sets one."""
    conditions: tuple[str, ...]
    """The experimental condition of each image; "0" where there is only one."""


def seed_of(images: Images, index: int, seed: int) -> list[int]:
    """The seed of one image's randomness: it depends on the image's name in its set and on `seed` alone."""
    return [seed, *hashlib.sha256(images.key(index).encode("utf-8", "surrogateescape")).digest()]


def generator(images: Images, index: int, seed: int) -> np.random.Generator:
    """The source of randomness for one image, with the seed that `seed_of` gives it."""
    return np.random.default_rng(seed_of(images, index, seed))


def select_classes(
    name: str, there: Sequence[str], wanted: tuple[str, ...] | None, allow_missing: bool
) -> tuple[str, ...]:
    """The classes to use of those that the set called `name` has.

    Raises:
        InputError: a wanted class is missing; with `allow_missing`, all of them are.
    """
    if wanted is None:
        return tuple(there)
    missing = [each for each in wanted if each not in there]
    if missing and (not allow_missing or len(missing) == len(wanted)):
        shown = ", ".join(there[:20]) + (f", … ({len(there)} in all)" if len(there) > 20 else "")
        which = f"none of the classes {', '.join(wanted[:20])}" if allow_missing else f"no class {', '.join(missing)}"
        raise InputError(f"{name} has {which}; it has {shown}")
    return wanted


def refuse_others(name: str, there: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise `InputError` if the set called `name` has classes beyond `wanted`, those that the weights know."""
    if strange := sorted(set(there) - set(wanted)):
        shown = ", ".join(strange[:5]) + (f" and {len(strange) - 5} more" if len(strange) > 5 else "")
        known = ", ".join(wanted[:10]) + (", …" if len(wanted) > 10 else "")
        raise InputError(
            f"{name} holds {shown}, not among the {len(wanted)} classes that the weights know ({known});"
            " give images of those classes only"
        )
