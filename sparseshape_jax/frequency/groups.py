"""Groups of frequencies that are removed together.

We depart from the reference, whose second block is not the mirror of the first: at a patch of 4 or 8 it halves two
unrelated blocks instead of removing one. Its groups are here too, as `symmetry="reference"`.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int, UInt8

from sparseshape_jax.errors import InputError
from sparseshape_jax.frequency.spectrum import check_size, partners

Symmetry = Literal["exact", "reference"]
NOWHERE = -2
"""In place of a group's number: no group has this frequency."""


@dataclass(frozen=True, eq=False)
class Groups:
    """Groups of the frequencies of an S×S map, numbered from 0."""

    patch: int
    """The side of the blocks."""
    symmetry: Symmetry
    count: int
    """How many groups there are."""
    first: Int[np.ndarray, "s s"]
    """The group whose first block has the frequency, or `NOWHERE`."""
    second: Int[np.ndarray, "s s"]
    """The group whose second block has it. Exact groups have one block, which has both a frequency and its negative."""
    of: Int[np.ndarray, "s s"]
    """The group that a map shows at each frequency, or `NOWHERE`."""

    @property
    def size(self) -> int:
        """The side S of the maps."""
        return len(self.of)

    @property
    def sizes(self) -> Int[np.ndarray, " groups"]:
        """How many frequencies of a map show each group."""
        return np.bincount(self.of[self.of >= 0], minlength=self.count)

    def removal(self, group: int) -> UInt8[np.ndarray, "s s"]:
        """The mask that removes a group."""
        return ((self.first != group) & (self.second != group)).astype(np.uint8)

    def spread(self, values: Float[np.ndarray, "*n groups"]) -> Float[np.ndarray, "*n s s"]:
        """The maps that show each group's value at its frequencies, and 0 where there is no group."""
        return np.where(self.of >= 0, np.asarray(values)[..., self.of], 0)


def default_patch(size: int) -> int:
    """The side of the blocks unless told otherwise: 1 at 32 pixels, 8 at 224."""
    return max(1, size // 28)


def groups(size: int, patch: int | None = None, symmetry: Symmetry = "exact") -> Groups:
    """The groups of an S×S map's frequencies in blocks of P×P.

    Exact groups: of a frequency and its negative, the one with the smaller column counts (on equal columns, the smaller
    row), and its block (⌊i/P⌋, ⌊j/P⌋) is the group of both. So they are a partition, closed under negation. At P = 1
    they are the (S² + 4)/2 pairs of an even S. They are numbered by block, row by row.

    The reference's: for each block (r, c) with c ≤ n/2, n = S/P, the frequencies of the block, and (r, c > 0) those in
    rows S - Pr … S - P(r-1) - 1 and such columns, numbered in the order of its loop. The maps show what is written
    last. A part of row block 0 is in no group.

    Args:
        size: S.
        patch: P, from 1 to S/2; by default `default_patch`.
        symmetry: which.

    Raises:
        InputError: another patch; for the reference's groups, one that does not divide S.
    """
    check_size(size)
    patch = default_patch(size) if patch is None else patch
    if not 1 <= patch <= size // 2:
        raise InputError(f"patch is {patch}; for images of {size} pixels it must be from 1 to {size // 2}")
    if symmetry not in ("exact", "reference"):
        raise InputError(f"symmetry is {symmetry!r}; it can be exact or reference")
    return _exact(size, patch) if symmetry == "exact" else _reference(size, patch)


def _exact(size: int, patch: int) -> Groups:
    rows, columns = np.indices((size, size))
    other_rows, other_columns = partners(size)
    own = (columns < other_columns) | ((columns == other_columns) & (rows <= other_rows))
    block_rows = np.where(own, rows, other_rows) // patch
    block_columns = np.where(own, columns, other_columns) // patch
    _, of = np.unique(block_rows * size + block_columns, return_inverse=True)
    of = of.reshape(size, size).astype(np.int32)
    return Groups(patch, "exact", int(of.max()) + 1, of, of, of)


def _reference(size: int, patch: int) -> Groups:
    if size % patch:
        raise InputError(f"patch is {patch}; with symmetry reference it must divide the side of the images, {size}")
    blocks = size // patch
    first, second, of = (np.full((size, size), NOWHERE, np.int32) for _ in range(3))
    number = 0
    for row in range(blocks):
        for column in range(blocks // 2 + 1):
            here = (_block(row, patch), _block(column, patch))
            first[here] = of[here] = number
            if row > 0 and column > 0:
                there = (_block(blocks - row, patch), _block(blocks - column, patch))
                second[there] = of[there] = number
            number += 1
    return Groups(patch, "reference", number, first, second, of)


def _block(index: int, patch: int) -> slice:
    return slice(patch * index, patch * (index + 1))
