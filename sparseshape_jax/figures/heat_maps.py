"""The figures of a sweep: heat maps of accuracy and shape bias over placements and fractions, and class by class.

Every map has the number in each cell, and the network without Top-K as its first column. Shape bias stands next to cue
accuracy, because the ratio can rise while hardly any decision is left to count. In the maps by class or category each
row's best cell is framed, the densest of equals; the rows are ordered by it, so that what favors sparse activations
comes last.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from sparseshape_jax.figures.save import save
from sparseshape_jax.figures.style import STYLE

COLORS = colormaps["YlGnBu"]
DRAWN = 40
"""Most classes in a figure; of more, those whose accuracy changes most."""
DECISIONS = 10
"""Fewest shape and texture decisions for a category's shape bias to count as its best."""
GAP = 0.25
"""Between the dense column and the others, in cells."""


def draw(folder: Path, rows: Sequence[Mapping[str, Any]], model: str) -> list[Path]:
    """Write the figures of the rows of a sweep's summary into `folder`, each as PNG and PDF; return the files' paths.

    Raises:
        InputError: `folder` cannot be written to.
    """
    figures = {}
    with rc_context(STYLE | {"font.size": 10}):
        if "top1" in rows[0]:
            names = {"top1": "top-1 accuracy", "top5": "top-5 accuracy"}
            figures["accuracy"] = _over_placements(
                rows, {name: title for name, title in names.items() if rows[0][name] is not None}, model
            )
            figures["accuracy-by-class"] = _by_class(rows, model)
        if "shape_bias" in rows[0]:
            names = {"shape_bias": "shape bias", "cue_accuracy": "cue accuracy"}
            figures["shape-bias"] = _over_placements(rows, names, model)
            figures["shape-bias-by-category"] = _by_category(rows, model)
        return [path for name, figure in figures.items() for path in save(figure, folder / name)]


def _over_placements(rows: Sequence[Mapping[str, Any]], measures: Mapping[str, str], model: str) -> Figure:
    dense, *cells = rows
    placements = list(dict.fromkeys(row["placement"] for row in cells))
    fractions = _fractions(cells)
    found = {(row["placement"], row["fraction"]): row for row in cells}
    labels = [placement.replace("+", " + ") for placement in placements]
    widest = max(map(len, labels))
    figure = Figure(
        figsize=(0.9 + 0.075 * widest + (0.62 * len(fractions) + 1.1) * len(measures), 1.3 + 0.42 * len(placements)),
        layout="constrained",
    )
    for axes, (name, title) in zip(figure.subplots(1, len(measures), squeeze=False)[0], measures.items(), strict=True):
        values = [
            [dense[name], *(found[placement, fraction][name] for fraction in fractions)] for placement in placements
        ]
        _map(axes, np.array(values, float), labels if axes.get_subplotspec().is_first_col() else None, fractions)
        axes.set_title(title)
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel("Top-K after")
    figure.set_layout_engine("constrained", wspace=0.08)
    figure.suptitle(model, fontsize=11)
    return figure


def _by_class(rows: Sequence[Mapping[str, Any]], model: str) -> Figure:
    dense, *cells = _combined(rows)
    classes = list(dense["per_class"])
    values = np.array([[row["per_class"][name] for row in (dense, *cells)] for name in classes], float)
    title = f"{model}: top-1 accuracy, Top-K after {cells[0]['placement'].replace('+', ' + ')}"
    if len(classes) > DRAWN:
        chosen = np.argsort(-np.ptp(values, axis=1), kind="stable")[:DRAWN]
        values, classes = values[chosen], [classes[index] for index in chosen]
        title += f"\nthe {DRAWN} classes that change most"
    return _framed(title, values, values, classes, _fractions(cells))


def _by_category(rows: Sequence[Mapping[str, Any]], model: str) -> Figure:
    dense, *cells = _combined(rows)
    categories = [name for name, counts in dense["by_category"].items() if counts["n"]]
    counts = [[row["by_category"][name] for row in (dense, *cells)] for name in categories]
    values = np.array([[cell["shape_bias"] for cell in row] for row in counts], float)
    decided = np.array([[cell["shape"] + cell["texture"] for cell in row] for row in counts])
    title = (
        f"{model}: shape bias, Top-K after {cells[0]['placement'].replace('+', ' + ')}\n"
        f"(small: decisions for shape or texture; framed: the highest of at least {DECISIONS})"
    )
    eligible = np.where(decided >= DECISIONS, values, np.nan)
    return _framed(title, values, eligible, categories, _fractions(cells), decided)


def _framed(
    title: str,
    values: Float[np.ndarray, "r c"],
    eligible: Float[np.ndarray, "r c"],
    labels: Sequence[str],
    fractions: Sequence[float],
    notes: Int[np.ndarray, "r c"] | None = None,
) -> Figure:
    """A map whose rows are ordered by where the highest `eligible` value is, which is framed unless it is 0."""
    comparable = np.nan_to_num(eligible)
    best = np.where(comparable.any(axis=1), comparable.argmax(axis=1), -1)
    order = np.lexsort((np.asarray(labels), best))
    height = 0.42 if notes is not None else 0.28
    width = 1.2 + 0.075 * max(map(len, labels)) + 0.62 * len(fractions)
    figure = Figure(figsize=(max(width, 6.2), 1.3 + height * len(labels)), layout="constrained")
    axes = figure.subplots()
    _map(axes, values[order], [labels[index] for index in order], fractions, None if notes is None else notes[order])
    for row, column in enumerate(best[order]):
        if column >= 0:
            frame = Rectangle((_left(column), row), 1, 1, fill=False, edgecolor="#D55E00", linewidth=2.2, zorder=3)
            axes.add_patch(frame)
    figure.suptitle(title, fontsize=11)
    return figure


def _map(
    axes: Axes,
    values: Float[np.ndarray, "r c"],
    labels: Sequence[str] | None,
    fractions: Sequence[float],
    notes: Int[np.ndarray, "r c"] | None = None,
) -> None:
    """One cell per value, with the number in it (and the note below), the first column apart from the others."""
    rows, columns = values.shape
    known = values[np.isfinite(values)]
    low, high = (known.min(), known.max()) if known.size else (0, 1)
    for row in range(rows):
        for column in range(columns):
            value = values[row, column]
            shade = 0.1 + 0.8 * (value - low) / max(high - low, 1e-6)
            color = COLORS(shade) if np.isfinite(value) else "#EEEEEE"
            ink = "white" if np.isfinite(value) and shade > 0.55 else "black"
            axes.add_patch(Rectangle((_left(column), row), 1, 1, facecolor=color, edgecolor="white", linewidth=1))
            text = f"{value:.2f}".removeprefix("0") if value < 0.995 else f"{value:.2f}"
            middle = 0.5 if notes is None else 0.38
            center: dict[str, Any] = {"ha": "center", "va": "center", "color": ink}
            axes.text(_left(column) + 0.5, row + middle, text if np.isfinite(value) else "–", **center)
            if notes is not None:
                axes.text(_left(column) + 0.5, row + 0.77, str(notes[row, column]), fontsize=7, **center)
    axes.set(xlim=(0, _left(columns)), ylim=(rows, 0))
    axes.set_xticks(
        [_left(column) + 0.5 for column in range(columns)], ["dense", *(f"{100 * one:g}" for one in fractions)]
    )
    axes.set_yticks([row + 0.5 for row in range(rows)], labels if labels is not None else [""] * rows)
    axes.set_xlabel("kept (%)")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _left(column: int) -> float:
    return column + (GAP if column else 0)


def _fractions(cells: Sequence[Mapping[str, Any]]) -> list[float]:
    """From dense to sparse."""
    return sorted({row["fraction"] for row in cells}, reverse=True)


def _combined(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The dense row, and those of the placement with the most activations, from dense to sparse."""
    dense, *cells = rows
    placement = max((row["placement"] for row in cells), key=lambda name: name.count("+"))
    return [dense, *sorted((row for row in cells if row["placement"] == placement), key=lambda row: -row["fraction"])]
