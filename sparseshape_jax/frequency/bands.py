"""Four bands of frequencies, by their distance from frequency 0."""

import numpy as np
from jaxtyping import Bool, UInt8

from sparseshape_jax.frequency.spectrum import radius

BANDS = 4


def bands(size: int) -> Bool[np.ndarray, "4 s s"]:
    """The bands of an S×S map, shifted: band b = 1…4 is S(b - 1)/8 ≤ ρ < S·b/8, in entry b - 1.

    Frequency 0 is in the first one. The corners, ρ ≥ S/2, are in none.

    Raises:
        InputError: a size below 2.
    """
    rho = radius(size)
    return np.stack([(rho >= size * (b - 1) / 8) & (rho < size * b / 8) for b in range(1, BANDS + 1)])


def band_filters(size: int) -> tuple[UInt8[np.ndarray, "4 s s"], UInt8[np.ndarray, "4 s s"]]:
    """The masks that remove each band, and those that keep it alone. Frequency 0 is always kept.

    Raises:
        InputError: a size below 2.
    """
    inside = bands(size)
    zero = radius(size) == 0
    return (~inside | zero).astype(np.uint8), (inside | zero).astype(np.uint8)
