"""The real pictures: squashed to squares, and as endless batches."""

from functools import cache

import numpy as np
from jaxtyping import Int
from PIL import Image

from sparseshape_jax.data.config import AugmentConfig
from sparseshape_jax.data.images import Images, LabeledImages
from sparseshape_jax.data.train_batches import TrainBatches
from sparseshape_jax.errors import InputError
from sparseshape_jax.few_shot.config import TrainFewShotConfig
from sparseshape_jax.fid.protocols import squash

KEPT = 2**30
"""Bytes of squashed pictures that are kept in memory; larger sets are decoded anew for every batch."""


class Squashed(LabeledImages):
    """Images squashed to size×size pixels (PIL's bilinear, antialiased), all of one class.

    Args:
        images: the set.
        size: the side.
    """

    def __init__(self, images: Images, size: int) -> None:
        self.images, self.size = images, size
        self.name, self.classes = images.name, ("",)
        self._pixels = cache(self._squash) if len(images) * size * size * 3 <= KEPT else self._squash

    def __len__(self) -> int:
        return len(self.images)

    @property
    def labels(self) -> Int[np.ndarray, " n"]:
        return np.zeros(len(self), np.int32)

    def image(self, index: int) -> Image.Image:
        return self._pixels(index)

    def describe(self, index: int) -> str:
        return self.images.describe(index)

    def key(self, index: int) -> str:
        return self.images.key(index)

    def signature(self) -> str:
        return f"{self.images.signature()} at {self.size}"

    def _squash(self, index: int) -> Image.Image:
        return Image.fromarray(squash(np.asarray(self.images.image(index)), self.size))


def train_batches(images: Images, config: TrainFewShotConfig, process: tuple[int, int]) -> TrainBatches:
    """Endless batches of squashed pictures, mirrored at random.

    Raises:
        InputError: fewer pictures than a batch has, or a batch that cannot be divided among the processes.
    """
    if len(images) < 2:
        raise InputError(f"{images.name} has one picture; training needs a batch of different ones, at least 2")
    return TrainBatches(
        Squashed(images, config.data.size),
        AugmentConfig(crop="center", flip=config.data.flip),
        image_size=config.data.size,
        batch_size=config.batch_size,
        seed=config.seed,
        threads=config.data.threads,
        process=process,
    )
