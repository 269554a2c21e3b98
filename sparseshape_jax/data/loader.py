"""Batches of prepared images, decoded ahead by threads."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import grain
import numpy as np
from jaxtyping import Int, UInt8

from sparseshape_jax.data.images import prepare
from sparseshape_jax.data.preprocessing import Preprocessing
from sparseshape_jax.errors import InputError


@dataclass(frozen=True)
class Batch:
    """Images and where they stood in the list of files.

    Always `batch_size` images, so that nothing is compiled twice; where `indices` is shorter, the rest is padding.
    """

    images: UInt8[np.ndarray, "batch crop crop 3"]
    indices: Int[np.ndarray, " valid"]


@dataclass(frozen=True)
class _Bad:
    message: str


class Loader:
    """Iterates over files in order, in batches of constant size.

    Decoding runs in threads (PIL releases the interpreter's lock) a few batches ahead of the consumer.

    Args:
        paths: image files.
        preprocessing: how to resize and crop them.
        batch_size: images per batch.
        skip_bad: leave out files that cannot be decoded and record them in `bad`, instead of raising.

    Raises:
        InputError: while iterating, for the first file that cannot be decoded (unless `skip_bad`).
    """

    def __init__(
        self, paths: Sequence[Path], preprocessing: Preprocessing, batch_size: int, *, skip_bad: bool = False
    ) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; it must be at least 1")
        self.paths, self.preprocessing, self.batch_size, self.skip_bad = paths, preprocessing, batch_size, skip_bad
        self.bad: dict[int, str] = {}
        """Per undecodable file: its index and what is wrong with it."""

    def __iter__(self) -> Iterator[Batch]:
        images: list[np.ndarray] = []
        indices: list[int] = []
        options = grain.ReadOptions(num_threads=os.cpu_count() or 1, prefetch_buffer_size=2 * self.batch_size)
        for index, item in enumerate(grain.MapDataset.source(self.paths).map(self._decode).to_iter_dataset(options)):
            if isinstance(item, _Bad):
                self.bad[index] = item.message
                continue
            images.append(item)
            indices.append(index)
            if len(images) == self.batch_size:
                yield Batch(np.stack(images), np.asarray(indices))
                images, indices = [], []
        if images:
            padding = [np.zeros_like(images[0])] * (self.batch_size - len(images))
            yield Batch(np.stack([*images, *padding]), np.asarray(indices))

    def _decode(self, path: Path) -> np.ndarray | _Bad:
        try:
            return prepare(path, self.preprocessing)
        except InputError as error:
            if not self.skip_bad:
                raise
            return _Bad(str(error))
