"""Control masks: random frequencies of the same radii as a dominant frequency map's."""

import numpy as np
from jaxtyping import UInt8

from sparseshape_jax.errors import InputError
from sparseshape_jax.frequency.groups import Groups
from sparseshape_jax.frequency.spectrum import radius


def control_masks(
    mask: UInt8[np.ndarray, "s s"], groups: Groups | None, count: int, rng: np.random.Generator
) -> UInt8[np.ndarray, "count s s"]:
    """Masks that take, from every ring, as many groups at random as `mask` has there.

    At a patch of 1, ring r has the frequencies with ⌊ρ⌋ = r. Larger groups extend over several such rings: they belong
    to the ring of their mean radius, and rings are as wide as the patch. A ring with few groups, such as frequency 0,
    is often drawn as it is.

    Args:
        mask: 1 at the frequencies that are kept.
        groups: exact groups, each of which the mask has whole or not at all; None draws single frequencies, for masks
            of unknown or the reference's groups.
        count: how many masks.
        rng: what draws.

    Raises:
        InputError: a mask that has a part of a group.
    """
    size = len(mask)
    units = np.arange(size**2).reshape(size, size) if groups is None else groups.of
    width = 1 if groups is None else groups.patch
    sizes = np.bincount(units.ravel())
    kept = np.bincount(units.ravel(), weights=(mask > 0).ravel())
    chosen = kept > 0
    if not np.array_equal(kept[chosen], sizes[chosen]):
        raise InputError("the mask has parts of groups; draw single frequencies, without groups")
    # Rounded, because sums of the same radii in another order may differ in the last digit.
    mean = np.round(np.bincount(units.ravel(), weights=radius(size).ravel()) / sizes, 9)
    rings = (mean // width).astype(int)
    found = np.zeros((count, size, size), np.uint8)
    for index in range(count):
        drawn = np.zeros(len(sizes), bool)
        for ring in np.unique(rings[chosen]):
            there = np.flatnonzero(rings == ring)
            drawn[rng.choice(there, int(chosen[there].sum()), replace=False)] = True
        found[index] = drawn[units]
    return found
