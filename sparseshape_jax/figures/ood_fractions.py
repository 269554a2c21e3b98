"""Every number of the human benchmark against the Top-K fraction: does sparsity make a network more human?"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sparseshape_jax.figures.observers import Look, add_legend, sweeps
from sparseshape_jax.figures.ood_benchmark import GRAY, GRID, NUMBERS
from sparseshape_jax.figures.style import HUMANS as HUMANS_COLOR
from sparseshape_jax.observers.benchmark import Benchmark
from sparseshape_jax.observers.categories import CATEGORIES
from sparseshape_jax.observers.set_results import HUMANS, MeasuredSet

_Number = Callable[[str], float]
_Interval = Callable[[str], tuple[float, float]]
CHANCE = {"ood_accuracy": 1 / len(CATEGORIES), "accuracy": 1 / len(CATEGORIES), "error_consistency": 0.0}
COLUMNS = 4


def against_fraction(result: Benchmark, looks: Mapping[str, Look]) -> Figure | None:
    """Draw the four numbers of the benchmark against the fraction, one line for each network and what it keeps.

    Networks without Top-K of their own have no line. `None` if no network has two fractions in the table.
    """
    rows = {row.observer: row for row in result.rows if not math.isnan(row.ood_accuracy)}
    lines = sweeps(look for observer, look in looks.items() if observer in rows)
    known = [name for name in NUMBERS if any(not math.isnan(getattr(row, name)) for row in rows.values())]
    if not lines or not known:
        return None
    figure = Figure(figsize=(max(3 * len(known), 6), 3.4), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(known), squeeze=False)[0], known, strict=True):
        intervals = {observer: row.ood_accuracy_ci95 for observer, row in rows.items()} if "ood" in name else {}
        _panel(axes, lines, {observer: getattr(row, name) for observer, row in rows.items()}, intervals)
        _reference(axes, CHANCE.get(name))
        axes.set_title(NUMBERS[name])
    figure.suptitle(f"means {result.coverage}", fontsize=11)
    add_legend(figure, _handles(lines, HUMANS in rows))
    return figure


def against_fraction_by_set(
    measured: Sequence[MeasuredSet], looks: Mapping[str, Look], number: Literal["accuracy", "error_consistency"]
) -> Figure | None:
    """Draw one number against the fraction, one panel for each set; `None` if no network has two fractions on one."""
    panels: list[tuple[str, list[list[Look]], dict[str, float], dict[str, tuple[float, float]]]] = []
    for one in measured:
        values = {result.observer: getattr(result, number) for result in one.overall}
        values = {observer: value for observer, value in values.items() if not math.isnan(value)}
        intervals = {result.observer: result.accuracy_ci95 for result in one.overall if number == "accuracy"}
        if lines := sweeps(look for observer, look in looks.items() if observer in values):
            panels.append((one.name, lines, values, intervals))
    if not panels:
        return None
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(max(3.2 * columns, 6), 2.9 * rows), layout="constrained")
    places = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes, (title, lines, values, intervals) in zip(places.flat, panels, strict=False):
        _panel(axes, lines, values, intervals)
        _reference(axes, CHANCE[number])
        axes.set_title(title)
        axes.tick_params(axis="y", labelleft=True)
    for axes in places.flat[len(panels) :]:
        axes.set_visible(False)
    for axes in places[:, 0]:
        axes.set_ylabel("accuracy" if number == "accuracy" else "error consistency (κ)")
    if number == "accuracy":
        places[0, 0].set_ylim(0, 1.02)
    drawn = {sweep[-1].observer: sweep for _, lines, _, _ in panels for sweep in lines}
    add_legend(figure, _handles(list(drawn.values()), any(HUMANS in values for _, _, values, _ in panels)))
    return figure


def _panel(
    axes: Axes,
    lines: Sequence[Sequence[Look]],
    values: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
) -> None:
    fractions = sorted({look.fraction or 1 for sweep in lines for look in sweep}, reverse=True)
    if HUMANS in values:
        axes.axhline(values[HUMANS], color=HUMANS_COLOR, linewidth=2, zorder=1)
    for order, sweep in enumerate(lines):
        apart = 0.08 * (order - (len(lines) - 1) / 2)
        x = [fractions.index(look.fraction or 1) + apart for look in sweep]
        line: dict[str, Any] = {"color": sweep[-1].hue, "linestyle": sweep[-1].linestyle, "linewidth": 1.6}
        axes.plot(x, [values[look.observer] for look in sweep], zorder=2, **line)
        for position, look in zip(x, sweep, strict=True):
            if look.observer in intervals:
                axes.plot((position, position), intervals[look.observer], color=sweep[-1].hue, linewidth=1.2, zorder=2)
            axes.plot(position, values[look.observer], linestyle="", clip_on=False, zorder=3, **look.markers(7))
    axes.set_xlim(-0.4, len(fractions) - 0.6)
    axes.set_xticks(range(len(fractions)), [f"{100 * fraction:g}" for fraction in fractions])
    axes.set_xlabel("kept (%), sparser  →")
    axes.grid(axis="y", **GRID)
    axes.set_axisbelow(True)
    axes.spines["top"].set_visible(False)


def _reference(axes: Axes, value: float | None) -> None:
    if value is not None:
        axes.axhline(value, color=GRAY, linestyle=":", linewidth=1.2, zorder=1)


def _handles(lines: Sequence[Sequence[Look]], humans: bool) -> list[Line2D]:
    handles = []
    for sweep in lines:
        last = sweep[-1]
        label = last.label.rpartition(", top")[0] + (", top removed" if last.keep == "rest" else "")
        style: dict[str, Any] = last.markers(7) | {"color": last.hue, "linestyle": last.linestyle, "linewidth": 1.6}
        handles.append(Line2D([], [], label=label, **style))
    if humans:
        handles.append(Line2D([], [], color=HUMANS_COLOR, linewidth=2, label="humans"))
    return [*handles, Line2D([], [], color=GRAY, linestyle=":", linewidth=1.2, label="chance")]
