"""Checks that many settings need. Imports no JAX, NumPy or PIL."""

import math
from pathlib import Path
from typing import Any

from sparseshape_jax.errors import InputError


def check_ranges(prefix: str, settings: Any, **allowed: tuple[float, float]) -> None:
    """Raise `InputError` for a setting outside its closed range; None passes.

    Args:
        prefix: what comes before a setting's name on the command line, such as "optimizer.".
        settings: has the settings as attributes.
        allowed: lowest and highest value, by the setting's name.
    """
    for name, (low, high) in allowed.items():
        value = getattr(settings, name)
        if value is not None and not low <= value <= high:
            bound = f"at least {low}" if high == math.inf else f"from {low} to {high}"
            raise InputError(f"{prefix}{name} is {value}; it must be {bound}")


def check_outside(out: str, folder: str, named: str | None = None) -> None:
    """Raise `InputError` for an output folder inside one that is read; `named` is what a message calls that one."""
    if Path(out).resolve().is_relative_to(Path(folder).resolve()):
        raise InputError(f"the output folder {out} is inside {named or folder}; give one outside it")
