"""A part of a set of images: any, or one drawn at random."""

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from PIL import Image

from sparseshape_jax.data.images import Images, LabeledImages


class Part(Images):
    """Some images of a set, with their names.

    Args:
        images: the set.
        indices: which of them, in order.
    """

    def __init__(self, images: Images, indices: Sequence[int]) -> None:
        self.images, self.indices, self.name = images, list(indices), images.name

    def __len__(self) -> int:
        return len(self.indices)

    def image(self, index: int) -> Image.Image:
        return self.images.image(self.indices[index])

    def describe(self, index: int) -> str:
        return self.images.describe(self.indices[index])

    def key(self, index: int) -> str:
        return self.images.key(self.indices[index])

    def signature(self) -> str:
        return hashlib.sha256(f"{self.images.signature()} {self.indices}".encode()).hexdigest()


class Sample(Part, LabeledImages):
    """Some images of a set, with their names, labels and classes; the arguments are those of `Part`."""

    def __init__(self, images: LabeledImages, indices: Sequence[int]) -> None:
        super().__init__(images, indices)
        self.classes = images.classes
        self._labels = np.asarray(images.labels)[self.indices]

    @property
    def labels(self) -> Int[np.ndarray, " n"]:
        return self._labels


def sample_classes(
    images: LabeledImages, per_class: int | None, seed: int, *, count: int | None = None
) -> LabeledImages:
    """`per_class` images of each class, and of those `count` in all, in their order; None, or more than there are: all.

    Which ones depends on the seed and the images' names only, and a larger sample includes a smaller one.
    """
    if per_class is None and count is None:
        return images
    by_class: dict[int, list[tuple[bytes, int]]] = {}
    for index, label in enumerate(np.asarray(images.labels).tolist()):
        name = images.key(index).encode("utf-8", "surrogateescape")
        by_class.setdefault(label, []).append((hashlib.sha256(b"%d " % seed + name).digest(), index))
    chosen = sorted(one for own in by_class.values() for one in sorted(own)[:per_class])[:count]
    return Sample(images, sorted(index for _, index in chosen))
