"""The settings of a Top-K and their allowed values. Imports no JAX."""

import math
from typing import Literal

from sparseshape_jax.errors import InputError

Keep = Literal["top", "rest", "all"]
Scope = Literal["spatial", "channel", "volume"]
Method = Literal["top_k", "threshold", "auto"]


def check_fraction(fraction: float) -> None:
    """Raise `InputError` unless `fraction` is a number in (0, 1]."""
    if not (isinstance(fraction, int | float) and math.isfinite(fraction) and 0 < fraction <= 1):
        raise InputError(f"Top-K: the keep fraction is {fraction}; it must be in (0, 1], for example 0.2 for 20 %")
