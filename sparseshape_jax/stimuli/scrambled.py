"""The set `scrambled`: the square blocks of an image in another order.

Whatever a block holds stays; how blocks lie to each other, and so the global shape, is lost. Source: Büttner's thesis
(2020), with blocks of 112, 56, 32 and 28 pixels, three variants each. We depart from it in that an image never stays as
it is (of 4 blocks, one permutation in 24 would leave it), that every image and variant has a stream of random numbers
of its own, and that the permutation is written down.
"""

import numpy as np
from jaxtyping import Int, UInt8

from sparseshape_jax.errors import InputError
from sparseshape_jax.stimuli.stimulus_set import StimulusSet, whole_numbers

BLOCKS = (112, 56, 32, 28)
VARIANTS = 3


class Scrambled(StimulusSet):
    """Blocks in another order; a condition is the side of the blocks in pixels and a variant, such as 56_0."""

    conditions = tuple(f"{block}_{variant}" for block in BLOCKS for variant in range(VARIANTS))
    size = 224

    def check(self, condition: str) -> None:
        _parts(condition)

    def make(
        self, image: UInt8[np.ndarray, "h w 3"], condition: str, rng: np.random.Generator
    ) -> UInt8[np.ndarray, "h w 3"]:
        block, _ = _parts(condition)
        return scramble(image, block, self._permutation(image.shape, condition, rng))

    def drawn(self, shape: tuple[int, int], condition: str, rng: np.random.Generator) -> str:
        """The permutation, as numbers with spaces between them."""
        return " ".join(map(str, self._permutation(shape, condition, rng)))

    def _permutation(
        self, shape: tuple[int, ...], condition: str, rng: np.random.Generator
    ) -> Int[np.ndarray, " blocks"]:
        block, variant = _parts(condition)
        # The image has one generator for all conditions; each shall have a stream of its own.
        own = np.random.default_rng([block, variant, *rng.integers(2**32, size=8)])
        return draw_permutation(count_blocks(shape, block), own)


def _parts(condition: str) -> tuple[int, int]:
    """The side of the blocks and the variant."""
    found = whole_numbers(condition)
    if len(found) != 2 or found[0] < 1:
        raise InputError(
            f"the set scrambled has no condition {condition!r}; give the side of its blocks in pixels and a variant,"
            " such as 56_0"
        )
    return found[0], found[1]


def count_blocks(shape: tuple[int, ...], block: int) -> int:
    """How many blocks an image of shape (H, W, …) has.

    Raises:
        InputError: blocks do not fill the image, or there is only one.
    """
    height, width = shape[:2]
    if block < 1 or height % block or width % block:
        raise InputError(
            f"blocks of {block} pixels do not divide an image of {height}×{width}; give a divisor such as 56"
        )
    count = (height // block) * (width // block)
    if count < 2:
        raise InputError(f"an image of {height}×{width} is one block of {block} pixels; give smaller blocks")
    return count


def draw_permutation(count: int, rng: np.random.Generator) -> Int[np.ndarray, " count"]:
    """One of the permutations of `count` blocks, all alike but for the identity, which is left out."""
    while True:
        permutation = rng.permutation(count)
        if (permutation != np.arange(count)).any():
            return permutation


def scramble(
    image: UInt8[np.ndarray, "h w 3"], block: int, permutation: Int[np.ndarray, " blocks"]
) -> UInt8[np.ndarray, "h w 3"]:
    """Put block permutation[p] at position p; positions count row by row.

    Raises:
        InputError: as `count_blocks`.
    """
    height, width, channels = image.shape
    count_blocks(image.shape, block)
    rows, columns = height // block, width // block
    blocks = image.reshape(rows, block, columns, block, channels).swapaxes(1, 2).reshape(-1, block, block, channels)
    moved = blocks[permutation].reshape(rows, columns, block, block, channels)
    return moved.swapaxes(1, 2).reshape(image.shape)
