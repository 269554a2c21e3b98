"""A set of images that is decoded once, kept in memory, and shown to several networks."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from sparseshape_jax import parallel
from sparseshape_jax.data.images import Images
from sparseshape_jax.data.loader import Batch, Loader
from sparseshape_jax.errors import InputError
from sparseshape_jax.observers.categories import CATEGORIES
from sparseshape_jax.observers.decisions import decide
from sparseshape_jax.predictor import Logits
from sparseshape_jax.preprocessing import Preprocessing

Progress = Callable[[int], Any]
"""Told the number of images of each batch that is done."""


class Decoded:
    """Prepared images in memory: 150 kB each at 224×224.

    Args:
        images: what to decode.
        preprocessing: how to resize and crop it.
        batch_size: images per batch.
        skip_bad: leave out images that cannot be decoded, instead of raising.

    Raises:
        InputError: an image that cannot be decoded; with `skip_bad`, if none can.
    """

    def __init__(self, images: Images, preprocessing: Preprocessing, batch_size: int, *, skip_bad: bool) -> None:
        loader = Loader(images, preprocessing, batch_size, skip_bad=skip_bad)
        self.images = images
        self.batches: list[Batch] = list(loader)
        self.bad = sorted(loader.bad)
        """The positions in `images` of those that could not be decoded."""
        self.shown = [int(index) for batch in self.batches for index in batch.indices]
        """The positions in `images` of those that could be decoded, in order."""
        if not self.shown:
            raise InputError(f"none of the {len(images)} images in {images.name} can be decoded")

    def __len__(self) -> int:
        return len(self.shown)

    @property
    def pixels(self) -> UInt8[np.ndarray, "shown h w 3"]:
        """All images in one array, in the order of `shown`."""
        return np.concatenate([batch.images[: len(batch.indices)] for batch in self.batches])

    @property
    def skipped(self) -> list[str]:
        """Where the images come from that could not be decoded."""
        return [self.images.describe(index) for index in self.bad]

    def fingerprint(self, labels: Sequence[str]) -> str:
        """The SHA-256 of all pixels, and of what is known of each image (`labels`, one for each of `images`)."""
        digest = hashlib.sha256("\n".join(labels[index] for index in self.shown).encode())
        for batch in self.batches:
            digest.update(batch.images[: len(batch.indices)].tobytes())
        return digest.hexdigest()

    def logits(self, function: Logits, progress: Progress) -> Float[np.ndarray, "shown classes"]:
        """The logits of all images, in the order of `shown`."""
        found = []
        for batch in self.batches:
            shown = len(batch.indices)
            # Of the copies that fill up the last batch, no more than a call of the network needs.
            part = parallel.images_in_memory(len(batch.images), batch.images.shape[1:3])
            found.append(function(batch.images[: -(-shown // part) * part])[:shown])
            progress(shown)
        return np.concatenate(found)

    def decisions(self, function: Logits, progress: Progress) -> tuple[str, ...]:
        """The category that a network for ImageNet decides for, for each image of `shown`.

        Raises:
            InputError: logits that are not 1000 finite numbers.
        """
        return tuple(CATEGORIES[index] for index in decide(self.logits(function, progress)))
