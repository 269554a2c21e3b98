"""A preview of sets of stimuli: a row for each set, an image for each condition."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image

from sparseshape_jax.figures.save import save
from sparseshape_jax.figures.style import STYLE

MOST = 10
"""Most conditions that are shown of a set."""


def draw_preview(folder: Path, rows: Sequence[tuple[str, Sequence[tuple[str, PurePosixPath]]]]) -> list[Path]:
    """Write figures/preview.png and .pdf, and return their paths.

    Args:
        folder: where the stimuli are, and the figure goes.
        rows: of each set the name, and of each condition its name and a file below `folder`.

    Raises:
        InputError: the folder is not writable.
    """
    columns = max(min(len(conditions), MOST) for _, conditions in rows)
    with rc_context(STYLE):
        figure = Figure(figsize=(1.15 * columns + 0.3, 1.4 * len(rows)), layout="constrained")
        axes = figure.subplots(len(rows), columns, squeeze=False)
        for (name, conditions), row in zip(rows, axes, strict=True):
            for axis in row:
                axis.set_axis_off()
            for (condition, file), axis in zip(conditions[:MOST], row, strict=False):
                axis.imshow(Image.open(folder / file))
                axis.set_title(condition, fontsize=8, pad=3)
            row[0].text(-0.08, 0.5, name, rotation=90, ha="right", va="center", fontsize=8, transform=row[0].transAxes)
        return save(figure, folder / "figures" / "preview")
