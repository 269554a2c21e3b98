"""A grid of images: one row for each set of them, columns with titles."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from sparseshape_jax.figures.save import save
from sparseshape_jax.figures.style import STYLE

WIDTH = 1.9
"""Of a column, in inches."""

Image = Float[np.ndarray, "h w 3"] | UInt8[np.ndarray, "h w 3"]


def draw(folder: Path, rows: Sequence[Sequence[Image]], titles: Sequence[str], *, name: str = "figure") -> list[Path]:
    """Write `<name>.png` and `<name>.pdf` into `folder`; return the files' paths.

    Args:
        folder: is made if it is missing.
        rows: RGB images, floats in [0, 1] or 8 bits a channel; each row is as high as its first needs.
        titles: of the columns.
        name: of the files.

    Raises:
        InputError: `folder` cannot be written to.
    """
    heights = [row[0].shape[0] / row[0].shape[1] for row in rows]
    with rc_context(STYLE):
        figure = Figure(
            figsize=(WIDTH * len(titles), WIDTH * sum(heights) + 0.75),
            layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01),
        )
        axes = figure.subplots(len(rows), len(titles), squeeze=False, gridspec_kw={"height_ratios": heights})
        for row, images in zip(axes, rows, strict=True):
            for axis, image in zip(row, images, strict=True):
                axis.imshow(image, interpolation="lanczos")
                axis.set_xticks([])
                axis.set_yticks([])
                axis.spines[:].set_visible(False)
        for axis, title in zip(axes[0], titles, strict=True):
            axis.set_title(title, fontsize=10)
        return save(figure, folder / name)
