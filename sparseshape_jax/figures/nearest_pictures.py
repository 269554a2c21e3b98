"""Generated pictures, each beside the real one that is nearest to it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from matplotlib import rc_context
from matplotlib.figure import Figure

from sparseshape_jax.figures.save import save
from sparseshape_jax.figures.style import STYLE

Pair = tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w 3"], float]
"""A generated picture, the real one, and their distance."""

ACROSS = 4
"""Pairs in a row."""
SIDE = 1.3
"""Of a picture, in inches."""


def draw(stem: Path, pairs: Sequence[Pair], title: str) -> list[Path]:
    """Write the figure as PNG and PDF, and return the paths.

    Args:
        stem: the path without suffix.
        pairs: at least one.
        title: above all of them.

    Raises:
        InputError: the folder is not writable.
    """
    rows = -(-len(pairs) // ACROSS)
    with rc_context(STYLE):
        figure = Figure(figsize=(2 * ACROSS * SIDE, rows * (SIDE + 0.25) + 0.4), layout="constrained")
        figure.suptitle(title, fontsize=11)
        axes = figure.subplots(rows, 2 * ACROSS, squeeze=False)
        for axis in axes.flat:
            axis.set_axis_off()
        for number, (sample, real, distance) in enumerate(pairs):
            row, column = divmod(number, ACROSS)
            for axis, image, label in zip(
                axes[row, 2 * column : 2 * column + 2],
                (sample, real),
                ("generated", f"real, {distance:.2f} away"),
                strict=True,
            ):
                axis.imshow(image, interpolation="lanczos")
                axis.set_title(label, fontsize=8)
        return save(figure, stem)
