"""A contact sheet of cue-conflict stimuli: shapes down, textures across."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from matplotlib import rc_context
from matplotlib.figure import Figure

from sparseshape_jax.figures.save import save
from sparseshape_jax.figures.style import STYLE

CELL = 1.3
"""Side of an image, in inches."""
PIXELS = UInt8[np.ndarray, "h w 3"]


def draw_sheet(
    folder: Path,
    shapes: Sequence[tuple[str, PIXELS]],
    textures: Sequence[tuple[str, PIXELS]],
    stimuli: Mapping[tuple[int, int], tuple[str, PIXELS]],
) -> list[Path]:
    """Write contact_sheet.png and .pdf into `folder`, and return their paths.

    Args:
        folder: is made if it is missing.
        shapes: names and photographs of the rows.
        textures: names and pictures of the columns.
        stimuli: by row and column, with what is written below each; cells without one stay empty.

    Raises:
        InputError: `folder` cannot be written to.
    """
    rows, columns = len(shapes) + 1, len(textures) + 1
    with rc_context(STYLE):
        figure = Figure(figsize=(CELL * columns, 1.15 * CELL * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        for axis in axes.flat:
            axis.set_axis_off()
        cells = {(row, 0): shape for row, shape in enumerate(shapes, start=1)}
        cells |= {(0, column): texture for column, texture in enumerate(textures, start=1)}
        cells |= {(row + 1, column + 1): stimulus for (row, column), stimulus in stimuli.items()}
        for place, (name, image) in cells.items():
            axes[place].imshow(image, interpolation="lanczos")
            axes[place].set_title(name, fontsize=8, pad=3, weight="bold" if 0 in place else "normal")
        axes[0, 0].text(0.95, 0.5, "texture →", ha="right", va="center", fontsize=9)
        axes[0, 0].text(0.5, 0.02, "shape ↓", ha="center", va="bottom", fontsize=9)
        return save(figure, folder / "contact_sheet")
