"""Endless batches for training: shuffled, augmented, decoded ahead by threads, and the same for every way of reading.

What is at a place of the stream depends on the seed and the place alone, not on the number of threads or processes, nor
on where reading began. So a checkpoint needs to keep a step number only.
"""

import contextlib
from collections.abc import Iterator

import grain
import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from sparseshape_jax.data.augment import augment
from sparseshape_jax.data.config import AugmentConfig
from sparseshape_jax.data.images import LabeledImages
from sparseshape_jax.errors import InputError


class TrainBatches:
    """Batches of augmented images with labels.

    Every epoch is another permutation of the images. Those that do not fill a batch are left out, each
    time others.

    Args:
        data: images with labels.
        settings: how to vary them.
        image_size: side of the images that come out, in pixels.
        resize: short side before a padded or a center crop, in pixels; the default is `image_size`.
        batch_size: images per step, of all processes together.
        seed: of the order and the variations.
        threads: how many batches are made at a time, ahead of the consumer; with 0, each is made when it is asked for.
        skip_bad: take the next image in place of one that cannot be decoded, and record it in `bad`.
        process: this process's number and how many there are. Each makes its part of every batch: concatenated in the
            order of their numbers, the parts are the batch of a single process.

    Raises:
        InputError: a batch larger than the set, a batch that cannot be divided among the processes, or a negative
            number; while iterating, an image that cannot be decoded (unless `skip_bad`).
    """

    def __init__(
        self,
        data: LabeledImages,
        settings: AugmentConfig,
        *,
        image_size: int,
        resize: int | None = None,
        batch_size: int,
        seed: int,
        threads: int,
        skip_bad: bool = False,
        process: tuple[int, int] = (0, 1),
    ) -> None:
        self.data, self.settings, self.image_size, self.resize = data, settings, image_size, resize
        self.threads, self.skip_bad = threads, skip_bad
        self._process, self._processes = process
        self.bad: dict[str, str] = {}
        """For each undecodable image that this process met: where it comes from, and what is wrong with it."""
        if image_size < 1:
            raise InputError(f"image_size is {image_size}; it must be at least 1")
        if resize is not None and resize < image_size:
            raise InputError(f"resize is {resize}, smaller than the image of {image_size} pixels to be cut from it")
        if threads < 0:
            raise InputError(f"threads is {threads}; it must be 0 or more")
        if not 0 <= seed < 2**32:
            raise InputError(f"seed is {seed}; it must be from 0 to {2**32 - 1}")
        if not 1 <= batch_size <= len(data):
            raise InputError(
                f"batch_size is {batch_size}; {data.name} has {len(data)} images, so it must be from 1 to {len(data)}"
            )
        if batch_size % self._processes:
            raise InputError(
                f"batch_size is {batch_size}, which cannot be divided among {self._processes} processes;"
                f" give a multiple of {self._processes}"
            )
        self.steps_per_epoch = len(data) // batch_size
        """Whole batches in an epoch."""
        # The variations are drawn by place in the endless stream, before it is divided. `drop_remainder` drops nothing:
        # it keeps grain from rounding the stream's length up to more than an index can hold.
        self._parts = (
            grain.MapDataset.range(len(data))
            .seed(seed)
            .shuffle()[: self.steps_per_epoch * batch_size]
            .repeat()
            .random_map(self._example)
            .batch(batch_size // self._processes, drop_remainder=True)
        )

    def batches(self, step: int = 0) -> Iterator[tuple[UInt8[np.ndarray, "b s s 3"], Int[np.ndarray, " b"]]]:
        """This process's part of every batch, endlessly, from step `step` on; nothing before it is decoded."""
        options = grain.ReadOptions(num_threads=self.threads, prefetch_buffer_size=self.threads and self.threads + 1)
        parts = self._parts[step * self._processes + self._process :: self._processes]
        with contextlib.closing(iter(parts.to_iter_dataset(options))) as iterator:
            yield from iterator

    def _example(self, index: int, rng: np.random.Generator) -> tuple[np.ndarray, np.int32]:
        image, label = self._decodable(index)
        return np.asarray(augment(self.settings, image, self.image_size, rng, resize=self.resize)), np.int32(label)

    def _decodable(self, index: int) -> tuple[Image.Image, int]:
        """The image and label at `index`; with `skip_bad`, those of the first decodable image from there on."""
        for offset in range(len(self.data)):
            chosen = (index + offset) % len(self.data)
            try:
                return self.data.example(chosen)
            except InputError as error:
                if not self.skip_bad:
                    raise
                self.bad[self.data.describe(chosen)] = str(error)
        raise InputError(f"none of the {len(self.data)} images of {self.data.name} can be decoded")
