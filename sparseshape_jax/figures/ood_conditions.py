"""Accuracy, error consistency or response entropy against the condition, one panel for each set."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from sparseshape_jax.figures.observers import Look, add_legend, mix
from sparseshape_jax.figures.style import HUMANS as HUMANS_COLOR
from sparseshape_jax.observers.categories import CATEGORIES
from sparseshape_jax.observers.records import is_human
from sparseshape_jax.observers.set_results import HUMANS, MeasuredSet

Measure = Literal["accuracy", "error_consistency", "response_entropy"]

CHANCE = "#777777"
EXCLUDED = "#EEEEEE"
COLUMNS = 4


@dataclass(frozen=True)
class _Axis:
    label: str
    reference: float
    """A dotted line is drawn here."""
    says: str
    limits: tuple[float, float] | None


_AXES: dict[str, _Axis] = {
    "accuracy": _Axis("accuracy", 1 / len(CATEGORIES), "chance", (0, 1.02)),
    "error_consistency": _Axis("error consistency (κ)", 0, "as expected by chance", None),
    "response_entropy": _Axis("response entropy (bits)", math.log2(len(CATEGORIES)), "all categories alike", (0, 4.1)),
}


def against_condition(measured: Sequence[MeasuredSet], looks: Mapping[str, Look], measure: Measure) -> Figure | None:
    """Draw one panel for each set with several conditions; `None` if there is nothing to draw.

    Subjects are faint lines, their mean (for accuracy and the like: all of them pooled) a bold one. Conditions that do
    not enter the benchmark are shaded.
    """
    sets = [one for one in measured if len(one.described.conditions) > 1 and _curves(one, measure)]
    if not sets:
        return None
    columns = min(COLUMNS, len(sets))
    rows = math.ceil(len(sets) / columns)
    figure = Figure(figsize=(max(3.4 * columns, 6), 2.85 * rows), layout=ConstrainedLayoutEngine(h_pad=0.08))
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes, one in zip(panels.flat, sets, strict=False):
        _panel(axes, one, looks, measure)
    for axes in panels.flat[len(sets) :]:
        axes.set_visible(False)
    for axes in panels[:, 0]:
        axes.set_ylabel(_AXES[measure].label)
    if limits := _AXES[measure].limits:
        panels[0, 0].set_ylim(limits)
    present = {observer for one in sets for observer in _curves(one, measure)}
    handles: list[Line2D | Patch] = [look.handle() for observer, look in looks.items() if observer in present]
    if any(map(is_human, present)):
        handles.insert(1, Line2D([], [], color=_faint(), linewidth=1, label="one human"))
    handles.append(Line2D([], [], color=CHANCE, linestyle=":", linewidth=1.2, label=_AXES[measure].says))
    if any(one.described.excluded for one in sets):
        handles.append(Patch(color=EXCLUDED, label="not in the benchmark"))
    add_legend(figure, handles)
    return figure


def _panel(axes: Axes, one: MeasuredSet, looks: Mapping[str, Look], measure: Measure) -> None:
    described = one.described
    for position, condition in enumerate(described.conditions):
        if condition in described.excluded:
            axes.axvspan(position - 0.5, position + 0.5, color=EXCLUDED, linewidth=0, zorder=0)
    axes.axhline(_AXES[measure].reference, color=CHANCE, linestyle=":", linewidth=1.2, zorder=1)
    for observer, (positions, values) in _curves(one, measure).items():
        if is_human(observer):
            axes.plot(positions, values, color=_faint(), linewidth=1, zorder=1.5)
        else:
            humans = observer == HUMANS
            style = looks[observer].line(2.5 if humans else 1.4) | looks[observer].markers(6 if humans else 5)
            axes.plot(positions, values, clip_on=False, zorder=3 if humans else 2, **style)
    axes.set_title(one.name)
    axes.set_xlim(-0.5, len(described.conditions) - 0.5)
    axes.set_xticks(range(len(described.conditions)), list(described.labels))
    axes.set_xlabel(described.axis, parse_math=True)
    axes.tick_params(axis="y", labelleft=True)
    axes.grid(axis="y", color="#E2E2E2", linewidth=0.6, zorder=0.5)
    axes.spines["top"].set_visible(False)


def _curves(one: MeasuredSet, measure: Measure) -> dict[str, tuple[list[int], list[float]]]:
    """Return each observer's positions and values; the humans come last, and are drawn over the others."""
    curves: dict[str, tuple[list[int], list[float]]] = {}
    for result in one.by_condition:
        value = getattr(result, measure)
        if not math.isnan(value):
            positions, values = curves.setdefault(result.observer, ([], []))
            positions.append(one.described.conditions.index(result.condition))
            values.append(value)
    return curves


def _faint() -> str:
    return mix(HUMANS_COLOR, "white", 0.65)
