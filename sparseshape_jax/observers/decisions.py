"""From 1000 ImageNet logits to one of the 16 categories, as model-vs-human decides (Geirhos et al. 2021).

A category's probability is the *mean* softmax probability over its classes, so that a category of many classes (dog:
110) has no head start over one of a single class (knife).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sparseshape_jax.errors import InputError
from sparseshape_jax.observers.categories import CATEGORY_INDICES

if TYPE_CHECKING:
    from jaxtyping import ArrayLike, Float64, Int64

NUM_CLASSES = 1000


def category_probabilities(
    logits: "ArrayLike", categories: Mapping[str, Sequence[int]] = CATEGORY_INDICES
) -> "Float64[np.ndarray, 'n categories']":
    """Return each category's mean probability, (N, categories), for logits of shape (N, 1000).

    By default the categories are the 16, in the order of `CATEGORIES`; others are given with their classes' indices.

    The values lie in [0, 1]; they are means over unequal numbers of classes and do not sum to one. Computed in float64
    whatever the logits' type, one image at a time, so that the batch size changes nothing.

    Raises:
        InputError: `logits` has another shape, or holds NaN or infinite values.
    """
    values = np.asarray(logits, dtype=np.float64)
    if values.ndim != 2 or (categories is CATEGORY_INDICES and values.shape[1] != NUM_CLASSES):
        raise InputError(
            f"the model returned an array of shape {values.shape}; "
            f"shape bias needs ImageNet logits, one row of {NUM_CLASSES} per image: shape (N, {NUM_CLASSES})"
        )
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        raise InputError(
            f"the model returned NaN or infinite logits (first in row {finite.argmin()}); check its weights"
        )
    exponentials = np.exp(values - values.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    means = [probabilities.take(indices, axis=1).mean(axis=1) for indices in categories.values()]
    return np.stack(means, axis=1)


def decide(
    logits: "ArrayLike", categories: Mapping[str, Sequence[int]] = CATEGORY_INDICES
) -> "Int64[np.ndarray, ' n']":
    """Return the decision for each image, shape (N,): the position of the most probable category.

    By default it is one of the 16, in the order of `CATEGORIES`.

    Ties go to the first category (model-vs-human takes the last, because it reverses an ascending sort).

    Raises:
        InputError: as `category_probabilities`.
    """
    return category_probabilities(logits, categories).argmax(axis=1)
