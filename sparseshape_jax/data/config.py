"""Settings of data that several rooms share. Imports no JAX, NumPy or PIL."""

import math
from dataclasses import dataclass
from typing import Literal

from sparseshape_jax.errors import InputError


@dataclass(frozen=True)
class AugmentConfig:
    """How training images are varied.

    Raises:
        InputError: a range that is empty or out of bounds, a negative padding.
    """

    crop: Literal["random_resized", "padded", "center"] = "random_resized"
    """random_resized: a part of random area and shape, resized (ImageNet); padded: a square of the network's size, at
    a random place of the image padded with black (CIFAR); center: no variation, as in evaluation."""
    scale: tuple[float, float] = (0.08, 1.0)
    """random_resized: least and greatest area of the part, as a fraction of the image's."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """random_resized: least and greatest width of the part, divided by its height."""
    padding: int | None = None
    """padded and random_resized: black pixels on each side, added before the part is cut out. Default: 4 with padded,
    none with random_resized."""
    flip: bool = True
    """Mirror every other image, at random."""

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise InputError(f"scale is {list(self.scale)}; it must be two numbers, 0 < least <= most <= 1")
        if not 0 < self.ratio[0] <= self.ratio[1] < math.inf:
            raise InputError(f"ratio is {list(self.ratio)}; it must be two numbers, 0 < least <= most")
        if self.padding is not None and self.padding < 0:
            raise InputError(f"padding is {self.padding}; it must not be negative")
        if self.padding and self.crop == "center":
            raise InputError(f"padding is {self.padding}, but crop is center; leave it out, or use another crop")
