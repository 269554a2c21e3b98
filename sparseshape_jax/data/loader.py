"""Batches of prepared images, decoded ahead by threads."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import grain
import numpy as np
from jaxtyping import Int, UInt8

from sparseshape_jax.data.decoding import prepare
from sparseshape_jax.data.images import Images, generator
from sparseshape_jax.errors import InputError
from sparseshape_jax.preprocessing import Preprocessing

Transform = Callable[[UInt8[np.ndarray, "h w 3"], np.random.Generator], UInt8[np.ndarray, "h w 3"]]
"""Applied to an image between decoding and the network; the generator is seeded by the image's name."""


@dataclass(frozen=True)
class Batch:
    """Images and their positions in the set.

    There are always `batch_size` images, so that nothing is compiled twice. If there are fewer `indices`, the rest is
    padding.
    """

    images: UInt8[np.ndarray, "batch crop crop 3"]
    indices: Int[np.ndarray, " valid"]


@dataclass(frozen=True)
class _Bad:
    message: str


class Loader:
    """Iterates over images in order, in batches of constant size.

    Decoding runs in threads (PIL releases the interpreter's lock) a few batches ahead of the consumer.

    Args:
        images: what to read.
        preprocessing: how to resize and crop it.
        batch_size: images per batch.
        skip_bad: leave out images that cannot be decoded and record them in `bad`, instead of raising.
        part: (p, n) iterates over images p, p + n, p + 2n, … only, for process p of n; indices count all images.
        start: how many images of the part to skip at its beginning.
        threads: how many threads decode; by default one per processor. With 0, the caller decodes.
        transform: applied to every image after resizing and cropping.
        seed: of the transform's randomness.

    Raises:
        InputError: while iterating, for the first image that cannot be decoded (unless `skip_bad`).
    """

    def __init__(
        self,
        images: Images,
        preprocessing: Preprocessing,
        batch_size: int,
        *,
        skip_bad: bool = False,
        part: tuple[int, int] = (0, 1),
        start: int = 0,
        threads: int | None = None,
        transform: Transform | None = None,
        seed: int = 0,
    ) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; it must be at least 1")
        self.images, self.preprocessing = images, preprocessing
        self.batch_size, self.skip_bad = batch_size, skip_bad
        self.transform, self.seed = transform, seed
        self.threads = (os.cpu_count() or 1) if threads is None else threads
        self._chosen = range(part[0], len(images), part[1])[start:]
        self.bad: dict[int, str] = {}
        """For each undecodable image: its index and what is wrong with it."""

    def __iter__(self) -> Iterator[Batch]:
        images: list[np.ndarray] = []
        indices: list[int] = []
        options = grain.ReadOptions(
            num_threads=self.threads, prefetch_buffer_size=2 * self.batch_size if self.threads else 0
        )
        decoded = grain.MapDataset.source(self._chosen).map(self._decode).to_iter_dataset(options)
        for index, item in zip(self._chosen, decoded, strict=True):
            if isinstance(item, _Bad):
                self.bad[index] = item.message
                continue
            images.append(item)
            indices.append(index)
            if len(images) == self.batch_size:
                yield self._padded(images, indices)
                images, indices = [], []
        if images:
            yield self._padded(images, indices)

    def _padded(self, images: list[np.ndarray], indices: list[int]) -> Batch:
        side = self.preprocessing.crop
        padding = [np.zeros((side, side, 3), np.uint8)] * (self.batch_size - len(images))
        return Batch(np.stack([*images, *padding]), np.asarray(indices, int))

    def _decode(self, index: int) -> np.ndarray | _Bad:
        try:
            image = prepare(self.images.image(index), self.preprocessing)
        except InputError as error:
            if not self.skip_bad:
                raise
            return _Bad(str(error))
        if self.transform is None:
            return image
        return self.transform(image, generator(self.images, index, self.seed))
