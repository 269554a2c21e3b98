"""The pictures that are drawn at each evaluation, always from the same latents and of the same real pictures."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

GAP = 2
"""Pixels between pictures."""


def tiles(pictures: Sequence[Float[np.ndarray, "h w 3"]], columns: int | None = None) -> Float[np.ndarray, "H W 3"]:
    """Pictures of one size side by side in rows, on white; as square as possible unless `columns` are given.

    Args:
        pictures: RGB in [0, 1]; what lies outside is clipped.
        columns: how many to a row.
    """
    columns = columns or math.ceil(math.sqrt(len(pictures)))
    height, width = pictures[0].shape[:2]
    rows = -(-len(pictures) // columns)
    page = np.ones((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3))
    for number, picture in enumerate(pictures):
        top, left = (number // columns) * (height + GAP), (number % columns) * (width + GAP)
        page[top : top + height, left : left + width] = np.clip(picture, 0, 1)
    return page
