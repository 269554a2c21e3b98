"""The figures of `evaluate.py frequency`: spectra of classes, dominant frequencies, filtered images."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, ListedColormap, SymLogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import Locator, MaxNLocator

from sparseshape_jax.figures.save import save
from sparseshape_jax.figures.style import HUES, STYLE
from sparseshape_jax.frequency.spectrum import radius

CLASSES = 12
"""Most classes in a figure; of more, the first ones are drawn."""
ACROSS = 5
"""Panels next to each other."""


class MapsLike(Protocol):
    """What is drawn of a dfm run."""

    @property
    def loss(self) -> Any: ...
    @property
    def baseline(self) -> Any: ...
    @property
    def masks(self) -> Any: ...
    @property
    def shares(self) -> Any: ...
    @property
    def classes(self) -> Any: ...
    @property
    def method(self) -> str: ...


def frame(axes: Axes, size: int) -> None:
    """Ticks that say how far from frequency 0 the middle, a quarter and the edge of a shifted map are."""
    ticks = [size // 2 - size // 4, size // 2, size // 2 + size // 4]
    axes.set_xticks(ticks, [str(tick - size // 2) for tick in ticks])
    axes.set_yticks(ticks, [str(tick - size // 2) for tick in ticks])
    axes.tick_params(labelsize=7, length=2)
    for spine in axes.spines.values():
        spine.set(visible=True, color="#BBBBBB")


def bare(axes: Axes) -> None:
    """No ticks, and a thin frame."""
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(visible=True, color="#BBBBBB")


def short(name: str, length: int = 14) -> str:
    """A class's name that fits next to a panel."""
    return name if len(name) <= length else f"{name[: length - 1]}…"


def mask_labels(shares: Sequence[float], method: str) -> list[str]:
    """What figures call the masks of each share that a method of dfm has found."""
    return ["joint" if method == "joint" else f"top {100 * share:.3g} %" for share in shares]


def draw_adcs(folder: Path, maps: Int[np.ndarray, "c s s"], classes: Sequence[str]) -> list[Path]:
    """One panel per class: at each frequency, how many classes have less there, minus how many have more.

    Raises:
        InputError: `folder` cannot be written to.
    """
    limit = max(1, len(maps) - 1)
    edge = limit + 0.5 if limit <= 10 else limit
    with rc_context(STYLE):
        levels = colormaps["RdBu_r"].resampled(2 * limit + 1) if limit <= 10 else colormaps["RdBu_r"]
        figure, bar = map_panels(maps, classes, levels, (-edge, edge), MaxNLocator(integer=True))
        bar.set_label("classes with less, minus classes with more", fontsize=9)
        return save(figure, folder / "adcs")


def map_panels(
    maps: Shaped[np.ndarray, "c s s"],
    classes: Sequence[str],
    colors: Colormap | str,
    limits: tuple[float, float],
    ticks: Locator | None = None,
) -> tuple[Figure, Colorbar]:
    """One panel per class with its shifted map, and one bar of colors, which has ticks but no label yet."""
    count = min(len(maps), CLASSES)
    across = min(count, ACROSS)
    down = -(-count // across)
    figure = Figure(figsize=(1.9 * across + 0.9, 2.1 * down + 0.3), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False).ravel()
    for axes in grid[count:]:
        axes.set_axis_off()
    low, high = limits
    for index, axes in enumerate(grid[:count]):
        drawn = axes.imshow(maps[index], cmap=colors, vmin=low, vmax=high, interpolation="none")
        axes.set_title(short(str(classes[index])), fontsize=9)
        frame(axes, maps.shape[-1])
    bar = figure.colorbar(drawn, ax=list(grid), shrink=0.9, aspect=30, ticks=ticks)
    bar.ax.tick_params(labelsize=8)
    figure.supxlabel("frequency along columns (cycles per image)", fontsize=9)
    figure.supylabel("frequency along rows", fontsize=9)
    return figure, bar


def draw_dfm(
    folder: Path,
    maps: MapsLike,
    whole: Sequence[UInt8[np.ndarray, "s s 3"]],
    filtered: Sequence[Sequence[UInt8[np.ndarray, "s s 3"]]],
) -> list[Path]:
    """Masks, rises of the loss, and an image of each class on its dominant frequencies alone.

    Args:
        folder: where to.
        maps: of the run.
        whole: an image of each class.
        filtered: the same with each of the class's masks.

    Raises:
        InputError: `folder` cannot be written to.
    """
    with rc_context(STYLE):
        figures = {
            "masks": draw_masks(maps),
            "losses": _losses(maps),
            "filtered": sheet(mask_labels(maps.shares, maps.method), maps.classes, whole, filtered),
        }
        return [path for name, figure in figures.items() for path in save(figure, folder / name)]


def draw_masks(maps: MapsLike) -> Figure:
    """Every class's masks: classes from left to right."""
    count = min(len(maps.classes), CLASSES)
    shares = len(maps.shares)
    figure = Figure(figsize=(1.25 * count + 0.7, 1.3 * shares + 0.5), layout="constrained")
    grid = figure.subplots(shares, count, squeeze=False)
    labels = mask_labels(maps.shares, maps.method)
    colors = ListedColormap(["#F4F4F4", HUES[0]])
    for row in range(shares):
        for column in range(count):
            axes = grid[row, column]
            mask = maps.masks[column, row]
            axes.imshow(mask, cmap=colors, vmin=0, vmax=1, interpolation="none")
            bare(axes)
            axes.set_xlabel(f"kept {mask.mean():.1%}", fontsize=6.5, labelpad=1)
        grid[row, 0].set_ylabel(labels[row], fontsize=9)
    for column in range(count):
        grid[0, column].set_title(short(str(maps.classes[column]), 12), fontsize=8)
    figure.suptitle("dominant frequencies (blue); frequency 0 in the middle", fontsize=9)
    return figure


def _losses(maps: MapsLike) -> Figure:
    count = min(len(maps.classes), CLASSES)
    across = min(count, ACROSS)
    down = -(-count // across)
    rises = maps.loss[:count] - maps.baseline[:count, None, None]
    limit = max(float(np.nanmax(np.abs(rises))), 1e-12)
    norm = SymLogNorm(max(float(np.nanquantile(np.abs(rises), 0.5)), limit * 1e-6), vmin=-limit, vmax=limit)
    figure = Figure(figsize=(2.0 * across + 1.0, 3.3 * down), layout="constrained")
    grid = figure.subplots(2 * down, across, squeeze=False, height_ratios=[1.6, 1] * down)
    rings, profiles = _profiles(rises)
    for index in range(down * across):
        above, below = grid[2 * (index // across), index % across], grid[2 * (index // across) + 1, index % across]
        if index >= count:
            above.set_axis_off()
            below.set_axis_off()
            continue
        above.set_facecolor("#DDDDDD")
        if np.isnan(rises[index]).any():
            above.patch.set(hatch="////", edgecolor="#888888")
        drawn = above.imshow(rises[index], cmap="RdBu_r", norm=norm, interpolation="none")
        above.set_title(short(str(maps.classes[index])), fontsize=9)
        frame(above, rises.shape[-1])
        below.plot(rings, profiles[index], color=HUES[0], linewidth=1.2)
        below.axhline(0, color="#888888", linewidth=0.6)
        below.set_xlim(0, rings[-1])
        below.set_ylim(_limits(profiles))
        below.tick_params(labelsize=7)
        below.set_xlabel("radius", fontsize=7, labelpad=1)
        if index % across == 0:
            below.set_ylabel("mean rise", fontsize=8)
        else:
            below.set_yticklabels([])
    bar = figure.colorbar(drawn, ax=list(grid.ravel()), shrink=0.6, aspect=35, format="{x:g}")
    bar.set_label("rise of the class's loss without the frequency (nats)", fontsize=9)
    bar.ax.tick_params(labelsize=7)
    if np.isnan(rises).any():
        figure.suptitle("hatched: not evaluated", fontsize=9)
    return figure


def _limits(profiles: np.ndarray) -> tuple[float, float]:
    known = profiles[np.isfinite(profiles)]
    low, high = min(0.0, float(known.min())), max(0.0, float(known.max()))
    space = 0.08 * (high - low) or 1e-9
    return low - space, high + space


def _profiles(rises: Float[np.ndarray, "c s s"]) -> tuple[np.ndarray, np.ndarray]:
    """The mean rise at each whole radius up to the corner, and the radii."""
    ring = radius(rises.shape[-1]).astype(int)
    rings = np.arange(ring.max() + 1)
    found = np.full((len(rises), len(rings)), np.nan)
    for index, rise in enumerate(rises):
        for number in rings:
            known = rise[(ring == number) & np.isfinite(rise)]
            if known.size:
                found[index, number] = known.mean()
    return rings, found


def sheet(
    labels: Sequence[str],
    classes: Sequence[str],
    whole: Sequence[UInt8[np.ndarray, "s s 3"]],
    filtered: Sequence[Sequence[UInt8[np.ndarray, "s s 3"]]],
) -> Figure:
    """An image of each class, whole and with each of its masks, which have labels: classes from left to right."""
    count, lines = len(whole), 1 + len(labels)
    figure = Figure(figsize=(1.25 * count + 0.7, 1.25 * lines + 0.4), layout="constrained")
    grid = figure.subplots(lines, count, squeeze=False)
    for column in range(count):
        for row, image in enumerate((whole[column], *filtered[column])):
            grid[row, column].imshow(image, interpolation="none")
            bare(grid[row, column])
        grid[0, column].set_title(short(str(classes[column]), 12), fontsize=8)
    for row, label in enumerate(("whole", *labels)):
        grid[row, 0].set_ylabel(label, fontsize=9)
    return figure


def draw_bands(
    folder: Path,
    without: Float[np.ndarray, "c 4"],
    alone: Float[np.ndarray, "c 4"],
    unfiltered: Float[np.ndarray, " c"],
    classes: Sequence[str],
) -> list[Path]:
    """A heat map of each class's accuracy: whole images, without each band, and with each band alone.

    Raises:
        InputError: `folder` cannot be written to.
    """
    labels = ["whole", *(f"without {b}" for b in range(1, 5)), *(f"only {b}" for b in range(1, 5))]
    values = np.concatenate([unfiltered[:, None], without, alone], axis=1)
    names = [short(name, 18) for name in classes]
    if len(names) > 1:
        values = np.concatenate([values, values.mean(axis=0, keepdims=True)])
        names.append("mean")
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 0.36 * len(names) + 1.3), layout="constrained")
        axes = figure.subplots()
        drawn = axes.imshow(values, cmap="viridis", vmin=0, vmax=1, aspect="auto")
        annotate(axes, values, lambda value: "white" if value < 0.6 else "black")
        axes.set_xticks(range(9), labels, fontsize=8, rotation=30, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), names, fontsize=9)
        for line in (0.5, 4.5):
            axes.axvline(line, color="white", linewidth=2)
        if len(classes) > 1:
            axes.axhline(len(names) - 1.5, color="white", linewidth=2)
        bar = figure.colorbar(drawn, ax=axes)
        bar.set_label("accuracy", fontsize=9)
        bar.ax.tick_params(labelsize=8)
        axes.set_title("bands of frequencies, 1 (low) to 4 (high)", fontsize=10)
        return save(figure, folder / "bands")


def annotate(axes: Axes, values: np.ndarray, color: Callable[[float], str]) -> None:
    """Write each value into its cell, if there are few enough to be read."""
    if len(values) > 40:
        return
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=color(value))
