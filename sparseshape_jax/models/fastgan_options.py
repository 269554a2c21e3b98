"""The options of FastGAN's networks, their allowed values, and the channels of their maps."""

import math
from collections.abc import Mapping
from typing import Literal, get_args

from sparseshape_jax.errors import InputError

Noise = Literal["none", "learned"]
Excitation = Literal["linear", "sigmoid"]

SIZES = (64, 128, 256, 512, 1024)
"""Sides of the images in pixels. 64 and 128 are ours; the authors' networks begin at 256."""

GENERATOR_MULTIPLES: Mapping[int, float] = {4: 16, 8: 8, 16: 4, 32: 2, 64: 2, 128: 1, 256: 0.5, 512: 0.25, 1024: 0.125}
"""Channels of the generator's map of each side, in units of `ngf`."""

DISCRIMINATOR_MULTIPLES: Mapping[int, float] = {
    4: 16,
    8: 16,
    16: 8,
    32: 4,
    64: 2,
    128: 1,
    256: 0.5,
    512: 0.25,
    1024: 0.125,
}
"""The same for the discriminator, in units of `ndf`. Its map of side q has the channels of side 2q."""


def check_options(size: int, noise: str = "none", excitation: str = "linear") -> None:
    """Raise `InputError` unless the networks exist at `size` pixels and with these options."""
    if size not in SIZES:
        raise InputError(f"size is {size}; it can be {', '.join(map(str, SIZES))}")
    for name, value, allowed in (("noise", noise, Noise), ("excitation", excitation, Excitation)):
        if value not in get_args(allowed):
            raise InputError(f"{name} is {value!r}; it can be {' or '.join(get_args(allowed))}")


def generator_widths(size: int, ngf: int) -> dict[int, int]:
    """The channels of the generator's maps, by their side, from 4 to `size`.

    Raises:
        InputError: `ngf` leaves a map without channels.
    """
    return _widths(GENERATOR_MULTIPLES, ngf, size, "ngf", size)


def discriminator_widths(size: int, ndf: int) -> dict[int, int]:
    """The channels of the discriminator, by side; for images of `size` pixels it uses sides up to twice that, or 1024.

    Raises:
        InputError: `ndf` leaves a map without channels.
    """
    return _widths(DISCRIMINATOR_MULTIPLES, ndf, max(512, size) if size >= 256 else 2 * size, "ndf", size)


def _widths(multiples: Mapping[int, float], base: int, largest: int, name: str, size: int) -> dict[int, int]:
    widths = {side: int(multiple * base) for side, multiple in multiples.items() if side <= largest}
    if widths[largest] < 1:
        least = math.ceil(1 / multiples[largest])
        raise InputError(f"{name} is {base}; the network for {size} pixels needs at least {least}")
    return widths


def small_side(size: int) -> int:
    """The side of the second, smaller image: 128, or half of `size` where that is less."""
    return min(128, size // 2)
