"""The set `patched`: images with square patches covered, one at a time or all together.

If what single patches cost adds up to what all of them cost, a network judges parts independently. Source: Büttner's
thesis (2020), with patches of 10, 20, …, 70 pixels.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Int, UInt8

from sparseshape_jax.data.images import Images
from sparseshape_jax.errors import InputError
from sparseshape_jax.stimuli.stimulus_set import Design, Stimulus, StimulusSet, whole_numbers

SIZES = (10, 20, 30, 40, 50, 60, 70)
BLACK = (0, 0, 0)
ALL, SINGLES = "all", "singles"


class Patched(StimulusSet):
    """Images with patches of one color.

    A condition is the side of the patches in pixels and which of them are covered: 30_all, 30_07 (the eighth only), or
    30_singles, which stands for all of those that cover one. These are 194 files for each image, so they are not made
    unless they are asked for.

    Args:
        color: of the patches, red, green and blue from 0 to 255.
    """

    conditions = tuple(f"{size}_{ALL}" for size in SIZES)
    size = 224

    def __init__(self, color: Sequence[int] = BLACK) -> None:
        self.color = check_color(color)

    def check(self, condition: str) -> None:
        patch, _, which = condition.partition("_")
        if not (which in (ALL, SINGLES) and len(whole_numbers(patch)) == 1) and len(whole_numbers(condition)) != 2:
            raise InputError(
                f"the set patched has no condition {condition!r}; give the side of its patches in pixels and which are"
                " covered, such as 30_all, 30_07 or 30_singles"
            )

    def make(
        self, image: UInt8[np.ndarray, "h w 3"], condition: str, rng: np.random.Generator
    ) -> UInt8[np.ndarray, "h w 3"]:
        del rng
        patch, _, which = condition.partition("_")
        boxes = patch_boxes(_side(image), int(patch))
        if which == SINGLES or (which != ALL and int(which) >= len(boxes)):
            raise InputError(
                f"the set patched has {len(boxes)} single patches of {patch} pixels; {condition!r} is none of them"
            )
        return cover(image, boxes if which == ALL else boxes[[int(which)]], self.color)

    def plan(self, name: str, images: Images, conditions: Sequence[str], design: Design) -> Iterator[Stimulus]:
        """As usual; NN_singles stands for one condition for each single patch."""
        spelled: list[str] = []
        for condition in conditions:
            patch, _, which = condition.partition("_")
            if which == SINGLES:
                count = len(patch_boxes(self.size, int(patch)))
                spelled += [single(int(patch), index, count) for index in range(count)]
            else:
                spelled.append(condition)
        yield from super().plan(name, images, spelled, design)


def single(patch: int, index: int, count: int) -> str:
    """The condition in which one of `count` patches is covered."""
    return f"{patch}_{index:0{max(2, len(str(count - 1)))}d}"


def check_color(color: Sequence[int]) -> tuple[int, ...]:
    """The color as it is.

    Raises:
        InputError: other than three whole numbers from 0 to 255.
    """
    if len(color) != 3 or not all(isinstance(value, int) and 0 <= value <= 255 for value in color):
        raise InputError(f"the color is {list(color)}; give red, green and blue, each from 0 to 255")
    return tuple(color)


def patch_layout(side: int, patch: int) -> tuple[int, int]:
    """How many cells of `patch` pixels there are in a row of an image's `side`, and the margin to their left in pixels.

    The number is odd, so that every second cell, the first and last too, can be covered.

    Raises:
        InputError: patches that do not fit into the image.
    """
    if not 1 <= patch <= side:
        raise InputError(f"patches of {patch} pixels do not fit an image of {side}×{side}; give from 1 to {side}")
    cells = side // patch
    cells -= 1 - cells % 2
    return cells, (side - cells * patch) // 2


def patch_boxes(side: int, patch: int) -> Int[np.ndarray, "n 4"]:
    """The patches that can be covered, row by row, as [x0, y0, x1, y1): the cells in even rows and even columns.

    Raises:
        InputError: as `patch_layout`.
    """
    cells, margin = patch_layout(side, patch)
    starts = margin + patch * np.arange(0, cells, 2)
    top, left = (grid.reshape(-1) for grid in np.meshgrid(starts, starts, indexing="ij"))
    return np.stack([left, top, left + patch, top + patch], axis=1)


def patch_mask(side: int, boxes: Int[np.ndarray, "n 4"]) -> Bool[np.ndarray, "side side"]:
    """True where any of the boxes is."""
    mask = np.zeros((side, side), bool)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = True
    return mask


def cover(
    image: UInt8[np.ndarray, "side side 3"], boxes: Int[np.ndarray, "n 4"], color: Sequence[int] = BLACK
) -> UInt8[np.ndarray, "side side 3"]:
    """A copy of a square image with the boxes filled with a color."""
    return np.where(patch_mask(_side(image), boxes)[..., None], np.asarray(color, np.uint8), image)


def _side(image: np.ndarray) -> int:
    if image.shape[0] != image.shape[1]:
        raise InputError(f"patches cover square images, and this one has {image.shape[0]}×{image.shape[1]} pixels")
    return image.shape[0]
