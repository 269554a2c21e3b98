"""The figures of `evaluate.py frequency dfm --method joint`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import rc_context
from matplotlib.figure import Figure

from sparseshape_jax.figures.frequency import CLASSES, MapsLike, draw_masks, map_panels, mask_labels, sheet, short
from sparseshape_jax.figures.save import save
from sparseshape_jax.figures.style import HUES, STYLE

MARKERS = "os^"
"""Classes with the same color have different markers."""


def draw_joint(
    folder: Path,
    maps: MapsLike,
    often: Float[np.ndarray, "c s s"],
    sides: Sequence[int],
    lowest: Float[np.ndarray, "stages c"],
    whole: Sequence[UInt8[np.ndarray, "s s 3"]],
    filtered: Sequence[Sequence[UInt8[np.ndarray, "s s 3"]]],
) -> list[Path]:
    """Masks, how often the best ones keep each frequency, the best losses, and an image of each class, filtered.

    Args:
        folder: where to.
        maps: of the run.
        often: the share of each class's ten best masks that keep a frequency.
        sides: how many cells lie along a side in each stage.
        lowest: the loss of each class with the best candidate of each stage.
        whole: an image of each class.
        filtered: the same with the class's mask.

    Raises:
        InputError: `folder` cannot be written to.
    """
    with rc_context(STYLE):
        figures = {
            "masks": draw_masks(maps),
            "often": _often(maps, often),
            "stages": _stages(maps, sides, lowest),
            "filtered": sheet(mask_labels(maps.shares, maps.method), maps.classes, whole, filtered),
        }
        return [path for name, figure in figures.items() for path in save(figure, folder / name)]


def _often(maps: MapsLike, often: Float[np.ndarray, "c s s"]) -> Figure:
    figure, bar = map_panels(often, maps.classes, "viridis", (0, 1))
    bar.set_label("kept by (share of the ten best)", fontsize=8)
    return figure


def _stages(maps: MapsLike, sides: Sequence[int], lowest: Float[np.ndarray, "stages c"]) -> Figure:
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    for index in range(min(len(maps.classes), CLASSES)):
        losses = [maps.baseline[index], *lowest[:, index]]
        marker = MARKERS[index // len(HUES)] + "-"
        color = HUES[index % len(HUES)]
        axes.plot(losses, marker, color=color, markersize=4, linewidth=1.2, label=short(str(maps.classes[index])))
    axes.set_xticks(range(len(sides) + 1), ["whole", *(f"{side}×{side}" for side in sides)], fontsize=9)
    axes.set_xlabel("cells of the stage", fontsize=9)
    axes.set_ylabel("loss with the best candidate (nats)", fontsize=9)
    axes.tick_params(axis="y", labelsize=9)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    figure.legend(loc="outside right upper", fontsize=8)
    return figure
