"""Who errs like whom: error consistency of every two observers; and what is taken for what: confusion matrices."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from sparseshape_jax.figures.observers import Look
from sparseshape_jax.observers.categories import CATEGORIES
from sparseshape_jax.observers.set_results import MeasuredSet
from sparseshape_jax.observers.trials import RESPONSES, confusion_matrix

COLORS = "YlGnBu"
COLUMNS = 4
HIGH = 0.8
"""The error consistency that has the darkest color. Higher values are rare, and rest on few errors."""


def error_consistency_matrices(measured: Sequence[MeasuredSet], looks: Mapping[str, Look]) -> Figure | None:
    """Draw one matrix for each set: human subjects, then networks without Top-K, then those with Top-K.

    Lines part the three groups. `None` where no set has two observers.
    """
    sets = [one for one in measured if len(one.trials.observers) > 1 and one.kept]
    if not sets:
        return None
    most = max(len(one.trials.observers) for one in sets)
    longest = max((len(look.label) for look in looks.values()), default=0)
    columns = min(COLUMNS, len(sets))
    rows = math.ceil(len(sets) / columns)
    side = max(2.2, 0.13 * most)
    width = (side + 0.3 + 0.065 * longest) * columns + 0.9
    figure = Figure(figsize=(max(width, 6), (side + 0.4) * rows), layout=ConstrainedLayoutEngine(h_pad=0.06))
    panels = figure.subplots(rows, columns, squeeze=False)
    matrices = [_ordered(one, looks) for one in sets]
    colors = ScalarMappable(Normalize(0, HIGH), colormaps[COLORS].with_extremes(bad="white", under="#F4D7B5"))
    for axes, one, (values, labels, borders) in zip(panels.flat, sets, matrices, strict=False):
        axes.imshow(values, cmap=colors.cmap, norm=colors.norm, interpolation="nearest")
        for border in borders:
            axes.axhline(border, color="black", linewidth=1)
            axes.axvline(border, color="black", linewidth=1)
        axes.set(title=one.name, xticks=[])
        axes.set_yticks(range(len(labels)), labels, fontsize=7)
        _plain(axes)
    for axes in panels.flat[len(sets) :]:
        axes.set_visible(False)
    shrink = min(1, 2 / rows)
    bar = figure.colorbar(colors, ax=list(panels.flat), shrink=shrink, aspect=30, extend="both")
    bar.set_label("error consistency (κ)")
    bar.outline.set_visible(False)
    return figure


def confusion_matrices(one: MeasuredSet, observers: Sequence[str], label: str) -> Figure:
    """Draw how often each answer was given to each category, in percent, one panel for each condition."""
    conditions = one.trials.conditions
    columns = min(COLUMNS, len(conditions))
    rows = math.ceil(len(conditions) / columns)
    figure = Figure(figsize=(2.9 * columns + 2.2, 3.1 * rows + 1.4), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for index, (axes, condition) in enumerate(zip(panels.flat, conditions, strict=False)):
        matrix = confusion_matrix(one.trials, observers, condition)
        axes.imshow(100 * matrix, cmap=COLORS, vmin=0, vmax=100, interpolation="nearest")
        if len(conditions) > 1:
            axes.set_title(one.described.labels[one.described.conditions.index(condition)])
        if index % columns == 0:
            axes.set_ylabel("answer")
        if index + columns >= len(conditions):
            axes.set_xlabel("category")
            axes.tick_params(labelbottom=True)
        axes.set_xticks(range(len(CATEGORIES)), CATEGORIES, rotation=90, fontsize=8)
        axes.set_yticks(range(len(RESPONSES)), ["none in time", *CATEGORIES], fontsize=8)
        _plain(axes)
    for axes in panels.flat[len(conditions) :]:
        axes.set_visible(False)
    axis = one.described.axis.replace("$", "").replace("_", "")  # no mathtext next to an observer's name
    figure.suptitle(f"{label} on {one.name}" + (f"  –  {axis}" if len(conditions) > 1 else ""), fontsize=11)
    colors = ScalarMappable(Normalize(0, 100), COLORS)
    bar = figure.colorbar(colors, ax=list(panels.flat), label="images of the category (%)", shrink=0.6, aspect=30)
    bar.outline.set_visible(False)
    return figure


def _ordered(one: MeasuredSet, looks: Mapping[str, Look]) -> tuple[Float[np.ndarray, "o o"], list[str], list[float]]:
    """Return the matrix in the order of the groups, NaN on the diagonal, the labels, and where the groups part."""
    networks = [look for look in looks.values() if look.observer in one.networks]
    groups = [
        {name: name.replace("subject-", "human ") for name in one.subjects},
        {look.observer: look.label for look in networks if look.keep == "all"},
        {look.observer: look.label for look in networks if look.keep != "all"},
    ]
    indices = [one.trials.observers.index(name) for group in groups for name in group]
    values = one.error_consistency()[np.ix_(indices, indices)]
    np.fill_diagonal(values, np.nan)
    ends = np.cumsum([len(group) for group in groups])
    return (
        values,
        [label for group in groups for label in group.values()],
        [float(end) - 0.5 for end in dict.fromkeys(ends) if 0 < end < len(indices)],
    )


def _plain(axes: Axes) -> None:
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
