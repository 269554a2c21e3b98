"""The figures of `evaluate.py frequency test` and `compare`: rates with and without filters, and runs side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparseshape_jax.figures.frequency import CLASSES, annotate, sheet, short
from sparseshape_jax.figures.save import save
from sparseshape_jax.figures.style import HUES, STYLE

Rows = Sequence[Mapping[str, Any]]
RATES = {"tpr": "true positives", "fpr": "false positives"}


def draw_test(
    folder: Path, rows: Rows, classes: Sequence[str], shares: Sequence[float], labels: Sequence[str]
) -> list[Path]:
    """The rates of every class: whole images, the class's mask, and the range of random masks of the same radii.

    Args:
        folder: where to.
        rows: those of the results, one for each class and share.
        classes: in order.
        shares: in order; each is a row of panels.
        labels: what the masks of each share are called.

    Raises:
        InputError: `folder` cannot be written to.
    """
    drawn = list(classes[:CLASSES])
    with rc_context(STYLE):
        figure = Figure(figsize=(1.6 + 0.95 * len(drawn), 1.9 * len(shares) + 1.0), layout="constrained")
        grid = figure.subplots(len(shares), 2, squeeze=False, sharex=True)
        for line, share, label in zip(grid, shares, labels, strict=True):
            found = {row["class"]: row for row in rows if row["share"] == share}
            for axes, rate in zip(line, RATES, strict=True):
                _rates(axes, [found[name] for name in drawn], rate)
            line[0].set_ylabel(label, fontsize=9)
            top = max(axes.get_ylim()[1] for axes in grid[:, 1])
        for line in grid:
            line[0].set_ylim(0, 1.03)
            line[1].set_ylim(0, top)
        for axes in grid[-1]:
            axes.set_xticks(range(len(drawn)), [short(n) for n in drawn], rotation=45, ha="right", fontsize=8)
        for axes, title in zip(grid[0], RATES.values(), strict=True):
            axes.set_title(title, fontsize=10)
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9)
        return save(figure, folder / "rates")


def _rates(axes: Axes, rows: Rows, rate: str) -> None:
    places = np.arange(len(rows))
    axes.bar(places - 0.2, _values(rows, f"{rate}_unfiltered"), 0.38, color="#CCCCCC", label="whole images")
    axes.bar(places + 0.2, _values(rows, rate), 0.38, color=HUES[0], label="dominant frequencies only")
    middle, low, high = (_values(rows, f"control_{rate}{end}") for end in ("", "_lowest", "_highest"))
    if np.isfinite(middle).any():
        axes.errorbar(
            places + 0.2,
            middle,
            [middle - low, high - middle],
            fmt="o",
            color=HUES[3],
            markersize=4,
            capsize=3,
            linewidth=1.4,
            label="random ones of the same radii (mean, range)",
        )
    axes.tick_params(axis="y", labelsize=8)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)


def _values(rows: Rows, key: str) -> Float[np.ndarray, " n"]:
    return np.array([np.nan if row[key] is None else row[key] for row in rows], float)


def draw_sheet(
    folder: Path,
    labels: Sequence[str],
    classes: Sequence[str],
    whole: Sequence[UInt8[np.ndarray, "s s 3"]],
    filtered: Sequence[Sequence[UInt8[np.ndarray, "s s 3"]]],
) -> list[Path]:
    """An image of each class, whole and with each of the class's masks, which have labels.

    Raises:
        InputError: `folder` cannot be written to.
    """
    with rc_context(STYLE):
        return save(sheet(labels, classes, whole, filtered), folder / "filtered")


def draw_compare(folder: Path, rows: Rows, pairs: Rows, runs: Sequence[str], shares: Sequence[float]) -> list[Path]:
    """What runs have in common, and how well classes are known by their dominant frequencies; means over classes.

    Args:
        folder: where to.
        rows: one for each run, class and share.
        pairs: one for each two runs, class and share.
        runs: their names.
        shares: in order.

    Raises:
        InputError: `folder` cannot be written to.
    """
    with rc_context(STYLE):
        tested = {rate: title for rate, title in RATES.items() if any(row[rate] is not None for row in rows)}
        panels = 1 + len(tested)
        figure = Figure(figsize=(3.8 * panels, 3.6), layout="constrained")
        axes = figure.subplots(1, panels, squeeze=False)[0]
        _agreement(axes[0], rows, pairs, shares)
        for panel, (rate, title) in zip(axes[1:], tested.items(), strict=True):
            _by_share(panel, rows, runs, shares, rate, title)
        made = save(figure, folder / "compare")
        if len(runs) > 1:
            made += save(_matrices(pairs, runs, shares), folder / "agreement")
        return made


def _agreement(axes: Axes, rows: Rows, pairs: Rows, shares: Sequence[float]) -> None:
    """IoU of masks: between runs, between halves of one run's images, and by chance."""
    between = [_mean(pairs, share, "iou") for share in shares]
    halves = [_mean(rows, share, "half_iou") for share in shares]
    chance = [share / (2 - share) for share in shares]
    axes.plot(shares, chance, "--", color="#888888", label="chance")
    axes.plot(shares, halves, "o-", color=HUES[3], markersize=4, label="halves of one run's images")
    if pairs:
        axes.plot(shares, between, "o-", color=HUES[0], markersize=4, label="two runs")
    axes.set(xscale="log", ylim=(0, 1.03))
    _shares(axes, shares)
    axes.set_title("overlap of masks (IoU)", fontsize=10)
    axes.legend(fontsize=8)


def _by_share(axes: Axes, rows: Rows, runs: Sequence[str], shares: Sequence[float], rate: str, title: str) -> None:
    for number, name in enumerate(runs):
        own = [row for row in rows if row["run"] == name]
        color = HUES[number % len(HUES)]
        values = [_mean(own, share, rate) for share in shares]
        random = [_mean(own, share, f"control_{rate}") for share in shares]
        axes.plot(shares, values, "o-", color=color, markersize=4, label=short(name, 20))
        axes.plot(shares, random, ":", color=color)
    axes.set(xscale="log")
    _shares(axes, shares)
    axes.set_title(f"{title} (dotted: random masks)", fontsize=10)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=7)


def _shares(axes: Axes, shares: Sequence[float]) -> None:
    axes.set_xticks(list(shares), [f"{100 * share:.3g} %" for share in shares], fontsize=8)
    axes.minorticks_off()
    axes.set_xlabel("share of frequencies kept", fontsize=9)
    axes.tick_params(axis="y", labelsize=8)
    axes.grid(alpha=0.3)


def _mean(rows: Rows, share: float, key: str) -> float:
    known = [row[key] for row in rows if row["share"] == share and row[key] is not None]
    return float(np.mean(known)) if known else float("nan")


def _matrices(pairs: Rows, runs: Sequence[str], shares: Sequence[float]) -> Figure:
    """IoU of every two runs, one panel per share."""
    side = 0.55 * len(runs) + 1.2
    figure = Figure(figsize=(side * len(shares) + 0.8, side + 0.5), layout="constrained")
    grid = figure.subplots(1, len(shares), squeeze=False)[0]
    for axes, share in zip(grid, shares, strict=True):
        matrix = np.eye(len(runs))
        for first, one in enumerate(runs):
            for second, other in enumerate(runs):
                own = [pair for pair in pairs if (pair["first"], pair["second"]) == (one, other)]
                if own:
                    matrix[first, second] = matrix[second, first] = _mean(own, share, "iou")
        drawn = axes.imshow(matrix, cmap="viridis", vmin=0, vmax=1)
        annotate(axes, matrix, lambda value: "white" if value < 0.6 else "black")
        axes.set_title(f"share {100 * share:.3g} %", fontsize=9)
        axes.set_xticks(range(len(runs)), [short(n) for n in runs], rotation=45, ha="right", fontsize=7)
        axes.set_yticks(range(len(runs)), [short(n) for n in runs] if axes is grid[0] else [], fontsize=7)
    bar = figure.colorbar(drawn, ax=list(grid), shrink=0.8)
    bar.set_label("overlap of masks (IoU)", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return figure
