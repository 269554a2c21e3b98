"""Batches of prepared images, decoded ahead by threads."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import grain
import numpy as np
from jaxtyping import Int, UInt8

from sparseshape_jax.data.images import prepare
from sparseshape_jax.data.labelled import Labelled
from sparseshape_jax.data.preprocessing import Preprocessing
from sparseshape_jax.errors import InputError


@dataclass(frozen=True)
class Batch:
    """Images and where they stood in the list of pictures.

    Always `batch_size` images, so that nothing is compiled twice; where `indices` is shorter, the rest is padding.
    """

    images: UInt8[np.ndarray, "batch crop crop 3"]
    indices: Int[np.ndarray, " valid"]


@dataclass(frozen=True)
class _Bad:
    message: str


class Loader:
    """Iterates over pictures in order, in batches of constant size.

    Decoding runs in threads (PIL releases the interpreter's lock) a few batches ahead of the consumer.

    Args:
        pictures: image files, or labelled pictures (their labels are not needed here).
        preprocessing: how to resize and crop them.
        batch_size: images per batch.
        skip_bad: leave out pictures that cannot be decoded and record them in `bad`, instead of raising.
        part: (p, n) iterates over pictures p, p + n, p + 2n, … only, for process p of n; indices count all pictures.
            All parts have equally many batches, as processes that work in step need; the last may be all padding.

    Raises:
        InputError: while iterating, for the first picture that cannot be decoded (unless `skip_bad`).
    """

    def __init__(
        self,
        pictures: Sequence[Path] | Labelled,
        preprocessing: Preprocessing,
        batch_size: int,
        *,
        skip_bad: bool = False,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; it must be at least 1")
        self.pictures, self.preprocessing = pictures, preprocessing
        self.batch_size, self.skip_bad = batch_size, skip_bad
        self._chosen = range(part[0], len(pictures), part[1])
        largest_part = -(-len(pictures) // part[1])
        self._least_batches = -(-largest_part // batch_size) if part[1] > 1 else 0
        self.bad: dict[int, str] = {}
        """Per undecodable picture: its index and what is wrong with it."""

    def __iter__(self) -> Iterator[Batch]:
        images: list[np.ndarray] = []
        indices: list[int] = []
        given = 0
        options = grain.ReadOptions(num_threads=os.cpu_count() or 1, prefetch_buffer_size=2 * self.batch_size)
        decoded = grain.MapDataset.source(self._chosen).map(self._decode).to_iter_dataset(options)
        for index, item in zip(self._chosen, decoded, strict=True):
            if isinstance(item, _Bad):
                self.bad[index] = item.message
                continue
            images.append(item)
            indices.append(index)
            if len(images) == self.batch_size:
                yield self._padded(images, indices)
                images, indices, given = [], [], given + 1
        if images:
            yield self._padded(images, indices)
            given += 1
        for _ in range(given, self._least_batches):
            yield self._padded([], [])

    def _padded(self, images: list[np.ndarray], indices: list[int]) -> Batch:
        side = self.preprocessing.crop
        padding = [np.zeros((side, side, 3), np.uint8)] * (self.batch_size - len(images))
        return Batch(np.stack([*images, *padding]), np.asarray(indices, int))

    def _decode(self, index: int) -> np.ndarray | _Bad:
        pictures = self.pictures
        try:
            picture = pictures.picture(index) if isinstance(pictures, Labelled) else pictures[index]
            return prepare(picture, self.preprocessing)
        except InputError as error:
            if not self.skip_bad:
                raise
            return _Bad(str(error))
