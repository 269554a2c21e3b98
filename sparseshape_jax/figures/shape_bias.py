"""The figures of a shape-bias measurement: the field's plot by category, a box plot, and shape bias against sparsity.

The plot by category is that of Geirhos et al. (2019, Figure 4) in model-vs-human's form: one row per category, one
marker per observer, a line at each observer's shape bias, humans pooled. Departures: the rows are ordered by the mean
over all observers and named in words, and the markers in a row do not hide each other; the box plot marks the bias
over all decisions, too. The third figure always shows cue accuracy next to shape bias, because the ratio can rise while
hardly any decision is left to count.

Hues are those of Okabe & Ito (2008), which color-blind readers can tell apart; a model measured at several Top-K
fractions has one hue, darker as it gets sparser.
"""

import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.cbook import boxplot_stats
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MultipleLocator

from sparseshape_jax.figures.observers import LINES, MARKERS, add_legend, mix, shade
from sparseshape_jax.figures.save import save
from sparseshape_jax.figures.style import HUES, HUMANS, STYLE
from sparseshape_jax.observers.categories import CATEGORIES
from sparseshape_jax.observers.records import parse_observer_name
from sparseshape_jax.observers.scores import Score, pool


@dataclass(frozen=True)
class _Observer:
    """A score, the sweep it belongs to, and how it is drawn. `fraction` is 1 without Top-K, `None` outside a sweep."""

    score: Score
    model: str
    label: str
    hue: str
    color: str
    fraction: float | None = None
    keep: str = "all"
    marker: str = "o"
    linestyle: str = "-"

    def markers(self, size: float) -> dict[str, Any]:
        """Return how its markers, of `size` points, look; hollow where the largest activations were removed."""
        face, edge = ("white", self.color) if self.keep == "rest" else (self.color, "white")
        return {"marker": self.marker, "markersize": size, "markerfacecolor": face, "markeredgecolor": edge}

    def line(self, color: str) -> dict[str, Any]:
        """Return how its line in `color` looks."""
        return {"color": color, "linestyle": self.linestyle, "linewidth": 2}


def draw(folder: str | os.PathLike[str], scores: Sequence[Score]) -> list[Path]:
    """Write the figures of `scores` into `folder`, each as PNG and PDF, and return the files' paths.

    Human subjects (`Score.is_human`) are drawn as one observer. Shape bias against sparsity is drawn if any score has a
    fraction, given or in its name (`AlexNet_topK_20`). An observer without any shape or texture decision is left out
    with a warning. Missing humans give a warning, too. If nobody is left, nothing is drawn.

    Raises:
        InputError: `folder` cannot be written to.
    """
    for score in scores:
        if math.isnan(score.shape_bias):
            warnings.warn(f"{score.model} has no shape or texture decision and is not in the figures", stacklevel=2)
    drawable = [score for score in scores if not math.isnan(score.shape_bias)]
    humans = [score for score in drawable if score.is_human]
    models = _observers([score for score in drawable if not score.is_human])
    observers = models
    if humans:
        pooled = pool(humans, model="humans")
        observers = [_Observer(pooled, "humans", f"humans ({len(humans)})", HUMANS, HUMANS, marker="D"), *models]
    else:
        warnings.warn("there are no records of human subjects; the figures show models only", stacklevel=2)
    if not observers:
        return []
    with matplotlib.rc_context(STYLE):
        figures = {"shape-bias-by-category": _by_category(observers), "shape-bias-box-plot": _box_plot(observers)}
        if any(observer.fraction is not None for observer in models):
            figures["shape-bias-against-sparsity"] = _against_sparsity(models, humans)
        return [path for name, figure in figures.items() for path in save(figure, Path(folder) / name, tight=False)]


def _by_category(observers: Sequence[_Observer]) -> Figure:
    """Draw one row per category and one marker per observer; shape on the left, texture on the right."""

    def other_cue(fraction: Any) -> Any:
        return 1 - fraction

    def mean_bias(category: str) -> float:
        values = [observer.score.by_category[category].shape_bias for observer in observers]
        return fmean([value for value in values if not math.isnan(value)] or [0])

    rows = sorted(CATEGORIES, key=mean_bias)
    figure = Figure(figsize=(8, 7.2), layout="constrained")
    axes = figure.subplots()
    for order, one in enumerate(observers):
        values = [1 - one.score.by_category[category].shape_bias for category in rows]
        height = 0.25 - 0.5 * (order + 0.5) / len(observers)
        axes.axvline(1 - one.score.shape_bias, zorder=1, **one.line(one.color))
        axes.plot(
            values, [row + height for row in range(len(rows))], linestyle="", clip_on=False, zorder=3, **one.markers(9)
        )
    axes.hlines([row + 0.5 for row in range(len(rows) - 1)], 0, 1, colors="#E2E2E2", linewidth=0.8, zorder=0)
    axes.set(xlim=(0, 1), ylim=(-0.6, len(rows) - 0.4), yticks=range(len(rows)), yticklabels=rows)
    axes.tick_params(axis="y", length=0, pad=10)
    axes.set_xlabel("fraction of texture decisions  →", labelpad=8)
    top = axes.secondary_xaxis("top", functions=(other_cue, other_cue))
    top.set_xlabel("←  fraction of shape decisions", labelpad=8)
    for axis in (axes.xaxis, top.xaxis):
        axis.set_major_locator(MultipleLocator(0.1))
        axis.set_major_formatter("{x:.1f}")
    handles = [Line2D([], [], label=one.label, **one.line(one.color), **one.markers(8)) for one in observers]
    add_legend(figure, handles, columns=3)
    return figure


def _box_plot(observers: Sequence[_Observer]) -> Figure:
    """Draw the spread of each observer's shape bias over the 16 categories."""
    figure = Figure(figsize=(8, 1.5 + 0.42 * len(observers)), layout="constrained")
    axes = figure.subplots()
    for row, observer in enumerate(observers):
        biases = [counts.shape_bias for counts in observer.score.by_category.values()]
        values = [bias for bias in biases if not math.isnan(bias)]
        box = boxplot_stats(values)[0]
        axes.hlines(row, box["whislo"], box["whishi"], colors=observer.color, linewidth=1.5)
        axes.barh(row, box["q3"] - box["q1"], 0.6, box["q1"], color=mix(observer.color, "white", 0.6), zorder=2)
        axes.vlines(box["med"], row - 0.3, row + 0.3, colors=observer.color, linewidth=2.5, zorder=3)
        axes.plot(values, [row] * len(values), ".", color=observer.color, markersize=6, clip_on=False, zorder=3)
        axes.plot(observer.score.shape_bias, row, "D", color="black", markersize=6, markeredgecolor="white", zorder=4)
    axes.set(xlim=(0, 1), ylim=(len(observers) - 0.4, -0.6), xlabel="shape bias")
    axes.set_yticks(range(len(observers)), [observer.label for observer in observers])
    axes.tick_params(axis="y", length=0, pad=8)
    axes.spines["top"].set_visible(False)
    axes.grid(axis="x", color="#E2E2E2", linewidth=0.8)
    axes.set_axisbelow(True)
    gray: dict[str, Any] = {"color": "#777777", "linestyle": ""}
    handles = [
        Line2D([], [], marker="D", linestyle="", color="black", markersize=6, label="all decisions"),
        Line2D([], [], marker=".", markersize=6, label="one category", **gray),
        Line2D([], [], marker="|", markersize=13, markeredgewidth=2.5, label="median category", **gray),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def _against_sparsity(models: Sequence[_Observer], humans: Sequence[Score]) -> Figure:
    """Draw shape bias and cue accuracy against the Top-K fraction, with 95 % intervals and the humans' range."""
    sweeps = _sweeps(models)
    fractions = sorted({one.fraction for sweep in sweeps for one in sweep if one.fraction}, reverse=True)
    handles: list[Any] = [
        Line2D([], [], label=_label(one.model, None, one.keep), **one.line(one.hue), **one.markers(8))
        for *_, one in sweeps
    ]
    if humans:
        handles.append(Patch(color=HUMANS, alpha=0.25, label=f"humans ({len(humans)}), range"))
    handles.append(Line2D([], [], color="#777777", linestyle=":", label="chance"))
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes: Axes
    for axes, measure, chance in zip(
        figure.subplots(1, 2, sharex=True), ("shape_bias", "cue_accuracy"), (1 / 2, 2 / len(CATEGORIES)), strict=True
    ):
        if humans:
            values = [getattr(score, measure) for score in humans]
            axes.axhspan(min(values), max(values), color=HUMANS, alpha=0.25, linewidth=0)
            axes.axhline(fmean(values), color=HUMANS, linewidth=1.5)
        axes.axhline(chance, color="#777777", linestyle=":", linewidth=1.2)
        for order, sweep in enumerate(sweeps):
            apart = 0.06 * (order - (len(sweeps) - 1) / 2)
            x = [fractions.index(one.fraction or 1) + apart for one in sweep]
            y = [getattr(one.score, measure) for one in sweep]
            low, high = zip(*(getattr(one.score, f"{measure}_ci95") for one in sweep), strict=True)
            axes.vlines(x, low, high, colors=sweep[0].hue, linewidth=1.5)
            axes.plot([*x, *x], [*low, *high], "_", color=sweep[0].hue, markersize=8, markeredgewidth=1.5)
            axes.plot(x, y, **sweep[0].line(sweep[0].hue))
            for position, value, one in zip(x, y, sweep, strict=True):
                axes.plot(position, value, linestyle="", clip_on=False, zorder=3, **one.markers(8))
        axes.set(xlim=(-0.4, len(fractions) - 0.6), ylim=(0, 1), title=measure.replace("_", " "))
        axes.set_xticks(range(len(fractions)), [f"{100 * fraction:g}" for fraction in fractions])
        axes.set_xlabel("Top-K fraction (%), sparser  →")
        axes.grid(axis="y", color="#E2E2E2", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines["top"].set_visible(False)
    add_legend(figure, handles, columns=3)
    return figure


def _observers(scores: Sequence[Score]) -> list[_Observer]:
    """Say for every model which sweep it belongs to, give it its color and marker, and bring sweeps into order."""
    placed = [(score, *_place(score)) for score in scores]
    swept = {model for _, model, fraction, _ in placed if fraction is not None}
    models = list(dict.fromkeys(model for _, model, _, _ in placed))
    observers = []
    for score, model, fraction, keep in placed:
        if model in swept and fraction is None:  # a plain name next to its own sparse versions
            fraction = 1.0
        steps = sorted({step or 1.0 for _, other, step, _ in placed if other == model}, reverse=True)
        depth = steps.index(fraction) / (len(steps) - 1) if fraction and len(steps) > 1 else 0.5
        order = models.index(model)
        hue = HUES[order % len(HUES)]
        observers.append(
            _Observer(
                score=score,
                model=model,
                label=_label(model, fraction, keep),
                hue=hue,
                color=shade(hue, depth),
                fraction=fraction,
                keep=keep,
                marker=MARKERS[order % len(MARKERS)],
                linestyle=LINES[order % len(LINES)],
            )
        )
    return sorted(observers, key=lambda one: (models.index(one.model), one.keep == "rest", -(one.fraction or 1)))


def _place(score: Score) -> tuple[str, float | None, str]:
    """Return the model, its fraction (1 without Top-K, `None` if nothing says) and what is kept."""
    model, fraction, keep = score.model, score.fraction, score.keep or "top"
    if fraction is None:
        model, fraction, parsed = parse_observer_name(score.model)
        keep = parsed or "all"
    if keep == "all" or fraction == 1:
        return model, None if fraction is None else 1.0, "all"
    return model, fraction, keep


def _sweeps(models: Sequence[_Observer]) -> list[list[_Observer]]:
    """Return, for each model and what it keeps, the observers from dense to sparse."""
    sweeps = []
    for model in dict.fromkeys(one.model for one in models if one.fraction is not None):
        members = [one for one in models if one.model == model]
        for keep in dict.fromkeys(one.keep for one in members if one.keep != "all") or ["all"]:
            sweep = [one for one in members if one.keep in (keep, "all")]
            sweeps.append(sorted(sweep, key=lambda one: -(one.fraction or 1)))
    return sweeps


def _label(model: str, fraction: float | None, keep: str) -> str:
    # Legends leave out labels that start with an underscore.
    name = model.lstrip("_") if len(model) <= 32 else f"{model.lstrip('_')[:15]}…{model[-16:]}"
    if fraction is None:
        return name + (", top removed" if keep == "rest" else "")
    return name + {"all": "", "top": f", top {100 * fraction:g} %", "rest": f", top {100 * fraction:g} % removed"}[keep]
