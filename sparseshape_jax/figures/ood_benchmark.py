"""The numbers of the human benchmark: as bars, against each other, and accuracy on the sets without conditions."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from sparseshape_jax.figures.observers import Look, add_legend, mix, sweeps
from sparseshape_jax.figures.style import HUMANS as HUMANS_COLOR
from sparseshape_jax.observers.benchmark import Benchmark, BenchmarkRow
from sparseshape_jax.observers.categories import CATEGORIES
from sparseshape_jax.observers.records import CUE_CONFLICT, is_human
from sparseshape_jax.observers.set_results import HUMANS, MeasuredSet

NUMBERS = {
    "ood_accuracy": "OOD accuracy",
    "accuracy_difference": "accuracy difference",
    "observed_consistency": "observed consistency",
    "error_consistency": "error consistency (κ)",
}
"""The four numbers of the benchmark, and what figures call them."""
GRAY = "#777777"
DOT: dict[str, Any] = {"markersize": 4, "color": "black", "alpha": 0.45, "markeredgewidth": 0, "zorder": 4}
GRID: dict[str, Any] = {"color": "#E2E2E2", "linewidth": 0.6}


def benchmark_bars(result: Benchmark, looks: Mapping[str, Look]) -> Figure | None:
    """Draw each number of each observer as a bar, observers in the order of the table; `None` without any number."""
    known = [name for name in NUMBERS if any(not math.isnan(getattr(row, name)) for row in result.rows)]
    if not known:
        return None
    labels = [looks[row.observer].label for row in result.rows]
    width = 0.6 + 0.08 * max(map(len, labels)) + 2.3 * len(known)
    figure = Figure(figsize=(max(width, 6), max(2.6, 1.5 + 0.3 * len(labels))), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(known), sharey=True, squeeze=False)[0], known, strict=True):
        values = [getattr(row, name) for row in result.rows]
        intervals = [row.ood_accuracy_ci95 for row in result.rows] if name == "ood_accuracy" else None
        _bars(axes, [looks[row.observer] for row in result.rows], values, intervals, "no mean")
        axes.set_title(NUMBERS[name])
        direction = "lower" if name == "accuracy_difference" else "higher"
        axes.set_xlabel("higher is better" if name == "ood_accuracy" else f"{direction} is more human")
        if result.rows[0].observer == HUMANS:
            axes.axvline(values[0], color=HUMANS_COLOR, linewidth=1, linestyle="--", zorder=0.5)
    figure.suptitle(f"means {result.coverage}", fontsize=11)
    return figure


def accuracy_bars(measured: Sequence[MeasuredSet], looks: Mapping[str, Look]) -> Figure | None:
    """Draw accuracy on each set without conditions but the cue conflicts; a dot is one human. `None` without one."""
    sets = [one for one in measured if len(one.described.conditions) == 1 and one.name != CUE_CONFLICT]
    if not sets:
        return None
    present = {result.observer for one in sets for result in one.overall}
    shown = [look for observer, look in looks.items() if observer in present]
    width = 0.6 + 0.08 * max(len(look.label) for look in shown) + 2.3 * len(sets)
    figure = Figure(figsize=(max(width, 6), max(2.4, 1.3 + 0.3 * len(shown))), layout="constrained")
    for axes, one in zip(figure.subplots(1, len(sets), sharey=True, squeeze=False)[0], sets, strict=True):
        results = {result.observer: result for result in one.overall}
        nothing = (math.nan, math.nan)
        found = [results.get(look.observer) for look in shown]
        _bars(
            axes,
            shown,
            [result.accuracy if result else math.nan for result in found],
            [result.accuracy_ci95 if result else nothing for result in found],
            "not measured",
            [result.accuracy for result in one.overall if result.observer in one.subjects],
        )
        axes.set(title=one.name, xlim=(0, 1.25), xticks=(0, 0.25, 0.5, 0.75, 1), xlabel="accuracy")
        axes.set_xticklabels(["0", "", "0.5", "", "1"])
        axes.axvline(1 / len(CATEGORIES), color=GRAY, linestyle=":", linewidth=1.2)
    handles = [Line2D([], [], color=GRAY, linestyle=":", linewidth=1.2, label="chance")]
    if any(map(is_human, present)):
        handles.append(Line2D([], [], marker="o", linestyle="", label="one human", **DOT))
    handles.append(Line2D([], [], color="#222222", linewidth=1.2, label="95 % interval over images"))
    add_legend(figure, handles)
    return figure


def scatter(result: Benchmark, looks: Mapping[str, Look]) -> Figure | None:
    """Draw the other three numbers against OOD accuracy; `None` without humans or networks to compare.

    The line in observed consistency is where observers would lie whose answers are independent of humans', given the
    humans' accuracy h: a·h + (1 - a)(1 - h); in error consistency that is 0.
    """
    rows = {row.observer: row for row in result.rows if not math.isnan(row.error_consistency)}
    if not rows or not {*rows} - {HUMANS}:
        return None
    figure = Figure(figsize=(11, 3.9), layout=ConstrainedLayoutEngine(wspace=0.06))
    for axes, name in zip(figure.subplots(1, 3), [name for name in NUMBERS if name != "ood_accuracy"], strict=True):
        for sweep in sweeps(look for observer, look in looks.items() if observer in rows):
            points = [rows[look.observer] for look in sweep]
            axes.plot(*_at(points, name), color=sweep[0].hue, linewidth=1, alpha=0.6, zorder=1)
        for observer, row in rows.items():
            axes.plot(*_at([row], name), linestyle="", zorder=3, **looks[observer].markers(9))
        left, right = axes.get_xlim()
        if name == "error_consistency":
            axes.axhline(0, color=GRAY, linestyle=":", linewidth=1.2)
        if name == "observed_consistency" and HUMANS in rows:
            human = rows[HUMANS].ood_accuracy
            axes.plot(
                (left, right),
                [a * human + (1 - a) * (1 - human) for a in (left, right)],
                ":",
                color=GRAY,
                linewidth=1.2,
            )
        axes.set_xlim(left, right)
        axes.set(xlabel=NUMBERS["ood_accuracy"], ylabel=NUMBERS[name])
        axes.grid(**GRID)
        axes.set_axisbelow(True)
        axes.spines["top"].set_visible(False)
    handles = [_marker(looks[observer]) for observer in looks if observer in rows]
    handles.append(Line2D([], [], color=GRAY, linestyle=":", linewidth=1.2, label="independent of humans"))
    figure.suptitle(f"means {result.coverage}", fontsize=11)
    add_legend(figure, handles)
    return figure


def _bars(
    axes: Axes,
    looks: Sequence[Look],
    values: Sequence[float],
    intervals: Sequence[tuple[float, float]] | None,
    missing: str,
    dots: Sequence[float] = (),
) -> None:
    """One horizontal bar for each observer, from the top, with its number next to it.

    `missing` stands where there is no number, and `dots` are marked in the humans' row.
    """
    # The largest magnitude: error consistency may be below zero for all observers, or zero.
    top = max((abs(value) for value in values if not math.isnan(value)), default=1) or 1
    for row, (look, value) in enumerate(zip(looks, values, strict=True)):
        if math.isnan(value):
            _write(axes, 0, row, f" {missing}", color=GRAY)
            continue
        axes.barh(row, value, 0.72, color=mix(look.color, "white", 0.25), zorder=2)
        end = max(value, 0)
        if intervals is not None:
            axes.plot(intervals[row], (row, row), color="#222222", linewidth=1.2, zorder=3)
            end = max(end, intervals[row][1])
        if look.observer == HUMANS:
            axes.plot(dots, [row] * len(dots), "o", **DOT)
            end = max(end, *dots, 0)
        _write(axes, end + 0.02 * top, row, f"{value:.3f}")
    axes.set_ylim(len(looks) - 0.4, -0.6)
    axes.set_xlim(right=1.22 * top)
    axes.set_yticks(range(len(looks)), [look.label for look in looks])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", **GRID)
    axes.set_axisbelow(True)
    axes.spines["top"].set_visible(False)


def _write(axes: Axes, x: float, y: float, text: str, color: str = "black") -> None:
    written = axes.text(x, y, text, va="center", fontsize=8, color=color, zorder=5)
    written.set_path_effects([withStroke(linewidth=2.5, foreground="white")])


def _at(rows: Sequence[BenchmarkRow], name: str) -> tuple[list[float], list[float]]:
    return [row.ood_accuracy for row in rows], [getattr(row, name) for row in rows]


def _marker(look: Look) -> Line2D:
    return Line2D([], [], linestyle="", label=look.label, **look.markers(8))
