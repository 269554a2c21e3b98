"""Frequencies that a class needs jointly: masks that keep many frequencies at once, drawn in stages, ever finer.

Source: Wang et al., "Do ImageNet-trained models learn shortcuts? The impact of frequency shortcuts on generalization",
CVPR 2025, and its code (HFSS). A stage divides the shifted spectrum into cells, draws candidates that keep about 80 %
of them, and intersects each with one of the best candidates of the stage before. We depart from the code in that

- a frequency is paired with its negative, where the code mirrors row i to row S - 1 - i, which is off by one, so that
  where cells have 2×2 frequencies or one, 24 or 32 % of a draw differ from their partner;
- every candidate has a parent of its own, where the code's come in threes with one parent;
- where cells are single frequencies, which cannot be shifted, there are as many candidates as elsewhere, not a third;
- the caller's generator draws everything.
"""

import math

import numpy as np
from jaxtyping import Bool, Float, Int

from sparseshape_jax.errors import InputError
from sparseshape_jax.frequency.spectrum import partners

KEPT = 0.8
"""The share of the cells that a candidate keeps."""
BEST = 10
"""How many candidates of each class go on to the next stage."""
FIRST, LAST = 4, 112
"""The fewest and most cells along a side."""
STEP = 1.75
"""How many times as many cells along a side the next stage has at least."""


def stages(size: int) -> tuple[int, ...]:
    """How many cells lie along a side of an S×S map in each stage.

    They are divisors of S from 4 to 112, each the first that is at least 1.75 times the one before; where 4 divides S,
    multiples of 4. So they are those of the source at 32 (4, 8, 16, 32) and 224 (4, 8, 16, 28, 56, 112).

    Raises:
        InputError: a size for which there are fewer than two.
    """
    unit = 4 if size % 4 == 0 else 1
    found: list[int] = []
    for cells in range(FIRST, min(size, LAST) + 1):
        if size % cells == 0 and cells % unit == 0 and (not found or cells >= STEP * found[-1]):
            found.append(cells)
    if len(found) < 2:
        raise InputError(
            f"images have {size} pixels, and method joint divides their spectra into ever finer cells: the side needs"
            f" two divisors from {FIRST} to {LAST}, as 32 or 224 has; give a network with another input size"
        )
    return tuple(found)


def expected_share(count: int) -> float:
    """The share of all frequencies that a candidate keeps on average after this many stages, rounded to hundredths."""
    union = 1 - (1 - KEPT / 2) ** 2
    return round(((2 * KEPT + union) / 3) ** count, 2)


def cell_of(size: int, cells: int, *, shifted: bool = False) -> Int[np.ndarray, "s s"]:
    """The number of the cell that each frequency of an S×S map is in, from 0; its negative is in the same one.

    Of both, the one in the upper row counts (in equal rows, the one in the left column), and the block that it is in.

    Args:
        size: S.
        cells: how many lie along a side; it divides S.
        shifted: move the cells by half a side, rounded down: cells of a single frequency stay where they are.
    """
    rows, columns = np.indices((size, size))
    other_rows, other_columns = partners(size)
    upper = (rows < other_rows) | ((rows == other_rows) & (columns <= other_columns))
    side = size // cells
    shift = side // 2 if shifted else 0
    block_rows = (np.where(upper, rows, other_rows) + shift) // side
    block_columns = (np.where(upper, columns, other_columns) + shift) // side
    _, of = np.unique(block_rows * (cells + 1) + block_columns, return_inverse=True)
    return of.reshape(size, size)


def candidates(
    size: int,
    cells: int,
    count: int,
    rng: np.random.Generator,
    before: tuple[Bool[np.ndarray, "b s s"], Int[np.ndarray, "c best"]] | None = None,
) -> Bool[np.ndarray, "count s s"]:
    """The candidates of a stage: masks of the shifted spectrum, each with a frequency's negative if it has itself.

    Of three, one keeps 80 % of the cells at random, one 80 % of the shifted cells, and one what two draws of 40 %, one
    of either, keep together (about 64 % of the frequencies).

    Args:
        size: S.
        cells: how many lie along a side; it divides S.
        count: how many candidates.
        rng: what draws.
        before: the candidates of the stage before, and the numbers of the `best` of each class. Each candidate keeps
            only what one of these, of a class at random, keeps, too.
    """
    straight, shifted = (cell_of(size, cells, shifted=shifted) for shifted in (False, True))
    found = np.empty((count, size, size), bool)
    for number in range(count):
        if number % 3 == 2:
            found[number] = _draw(straight, KEPT / 2, rng) | _draw(shifted, KEPT / 2, rng)
        else:
            found[number] = _draw(shifted if number % 3 else straight, KEPT, rng)
        if before is not None:
            masks, chosen = before
            found[number] &= masks[rng.choice(chosen[rng.integers(len(chosen))])]
    return found


def _draw(cell: Int[np.ndarray, "s s"], share: float, rng: np.random.Generator) -> Bool[np.ndarray, "s s"]:
    count = int(cell.max()) + 1
    kept = np.zeros(count, bool)
    kept[rng.choice(count, max(1, math.floor(share * count + 1e-9)), replace=False)] = True
    return kept[cell]


def best(loss: Float[np.ndarray, "c b"]) -> Int[np.ndarray, "c best"]:
    """The numbers of the ten candidates on which each class's loss is lowest, the lowest first; on a tie the lower
    number.

    Raises:
        InputError: fewer than ten candidates.
    """
    if loss.shape[1] < BEST:
        raise InputError(f"there are {loss.shape[1]} candidates; it takes at least {BEST}, because {BEST} go on")
    return np.argsort(loss, axis=1, kind="stable")[:, :BEST]


def chance_iou(masks: Bool[np.ndarray, "b s s"]) -> float:
    """The mean intersection over union of every two different masks; NaN of empty ones is left out."""
    flat = masks.reshape(len(masks), -1).astype(np.float32)
    both = flat @ flat.T  # counts below 2^24, so exact
    kept = flat.sum(axis=1)
    one, other = np.triu_indices(len(masks), 1)
    union = kept[one] + kept[other] - both[one, other]
    known = union > 0
    return float((both[one, other][known] / union[known]).mean(dtype=np.float64)) if known.any() else float("nan")
