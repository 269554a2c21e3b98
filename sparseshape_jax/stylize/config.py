"""Settings of `synthesize.py styles` and `synthesize.py stylize`. Imports no JAX, NumPy or PIL."""

from dataclasses import dataclass

from sparseshape_jax.errors import InputError

Kinds = tuple[str, ...]
KINDS: Kinds = ("noise", "stripes", "cells", "checks", "dots", "streaks", "marble", "strokes")
"""The kinds of procedural styles."""


@dataclass(frozen=True)
class StylesConfig:
    """Write procedural styles: textures that are computed, in mild colors of related hues."""

    count: int = 24
    """How many: each kind in turn, then each kind with the next seed."""
    kinds: Kinds = KINDS
    """Kinds to write: noise (its amplitude falls with frequency), stripes (wavy), cells (with dark seams), checks
    (irregular), dots, streaks (brushed), marble, strokes (of a brush)."""
    size: int = 256
    """Side in pixels."""
    seed: int = 0
    """Of each kind's first style; the next one has the next seed."""
    out: str = "results/styles"
    """Folder for the images, named by kind and seed, results.json, summary.csv with the SHA-256 of each file, and
    config.yaml. Images that are there already are kept."""

    def __post_init__(self) -> None:
        if not 1 <= self.count <= 100_000:
            raise InputError(f"count is {self.count}; it must be from 1 to 100,000")
        if strange := [kind for kind in self.kinds if kind not in KINDS]:
            raise InputError(f"there is no kind {strange[0]!r} of procedural styles; there are {', '.join(KINDS)}")
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise InputError(f"kinds are {list(self.kinds)}; give at least one, each once")
        if not 8 <= self.size <= 4096:
            raise InputError(f"size is {self.size}; it must be from 8 to 4096 pixels")
        if self.seed < 0:
            raise InputError(f"seed is {self.seed}; it must be at least 0")


def check_alpha(alpha: float) -> None:
    """Raise `InputError` for a strength outside [0, 1]."""
    if not 0 <= alpha <= 1:
        raise InputError(f"alpha is {alpha}; it must be from 0 (as little style as possible) to 1")
