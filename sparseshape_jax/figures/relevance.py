"""The figures of `evaluate.py relevance`: maps next to their images and edges, and how much lies on edges."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from matplotlib import colormaps, rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy import stats

from sparseshape_jax.figures.save import save
from sparseshape_jax.figures.style import HUES, STYLE

DRAWN = 8
"""Most images on the sheet."""
_DIVERGING = colormaps["RdBu_r"]
Shown = tuple[
    str, UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"] | None, Sequence[Sequence[float]], Mapping[str, np.ndarray]
]
"""An image: name, pixels, edges, boxes, and the map of each observer."""


def colored(relevance: Float[np.ndarray, "h w"], edges: Bool[np.ndarray, "h w"] | None) -> UInt8[np.ndarray, "h w 3"]:
    """A map as an image: red for, blue against, white for 0; the limit is the 99th percentile of the magnitude.

    Edges are laid over it faintly, in gray.
    """
    limit = max(float(np.percentile(np.abs(relevance), 99)), np.finfo(np.float32).tiny)
    image = _DIVERGING(np.clip(relevance / limit, -1, 1) / 2 + 0.5)[..., :3]
    if edges is not None:
        image = np.where(edges[..., None], 0.75 * image + 0.25 * 0.2, image)
    return np.rint(255 * image).astype(np.uint8)


def draw(
    folder: Path,
    shown: Sequence[Shown],
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
    means: Mapping[str, Mapping[str, Float[np.ndarray, "h w"]]],
) -> list[Path]:
    """Write all figures into `folder`, each as PNG and PDF, and return their paths.

    Args:
        folder: where to.
        shown: the images of the sheet.
        rows: those of the results, by observer, in the order of the images.
        means: by observer, the mean over images of each region.

    Raises:
        InputError: `folder` cannot be written to.
    """
    made: dict[str, Figure] = {}
    with rc_context(STYLE):
        made["sheet"] = _sheet(shown)
        made["regions"] = _boxes(rows, {"positive": "positive pixels", "negative": "negative pixels"})
        if "positive_share" in next(iter(rows.values()))[0]:
            titles = {
                "positive_on_edges": "positive pixels\non edges",
                "negative_on_edges": "negative pixels\non edges",
                "positive_share": "share of positive\npixels on edges",
                "negative_share": "share of negative\npixels on edges",
                "positive_lift": "lift, positive\n(1: chance)",
                "negative_lift": "lift, negative\n(1: chance)",
            }
            made["overlap"] = _boxes(rows, titles)
        made["mean-maps"] = _means(means)
        for first, second in combinations(rows, 2):
            if figure := _quantiles(first, second, rows):
                made[f"quantiles-{first}-{second}"] = figure
        return [path for name, figure in made.items() for path in save(figure, folder / name)]


def _sheet(shown: Sequence[Shown]) -> Figure:
    observers = list(shown[0][4])
    edges = any(one[2] is not None for one in shown)
    columns = 1 + edges + len(observers)
    figure = Figure(figsize=(2.1 * columns, 2.15 * len(shown) + 0.3), layout="constrained")
    grid = figure.subplots(len(shown), columns, squeeze=False)
    for line, (name, pixels, found, boxes, maps) in zip(grid, shown, strict=True):
        images = [pixels]
        if edges:
            images.append(
                np.full_like(pixels, 255)
                if found is None
                else np.where(np.repeat(found[..., None], 3, axis=-1), 30, 255).astype(np.uint8)
            )
        images += [colored(maps[observer], found) for observer in observers]
        for axes, image in zip(line, images, strict=True):
            axes.imshow(image, interpolation="none")
            axes.set(xticks=[], yticks=[])
            for spine in axes.spines.values():
                spine.set(visible=True, color="#BBBBBB")
        for left, top, right, bottom in boxes:
            frame = Rectangle(
                (left - 0.5, top - 0.5), right - left, bottom - top, fill=False, edgecolor="#D55E00", linewidth=1.5
            )
            line[1 if edges else 0].add_patch(frame)
        short = name.rpartition("/")[2].rpartition(".")[0] or name
        line[0].set_ylabel(short if len(short) <= 26 else f"…{short[-25:]}", fontsize=7)
    titles = ["image", *(("edges",) if edges else ()), *observers]
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=9)
    figure.suptitle("red: for the explained class, blue: against it", fontsize=9)
    return figure


def _boxes(rows: Mapping[str, Sequence[Mapping[str, Any]]], titles: Mapping[str, str]) -> Figure:
    figure = Figure(figsize=(1.0 + 1.9 * len(titles), 3.9), layout="constrained")
    for axes, (measure, title) in zip(figure.subplots(1, len(titles), squeeze=False)[0], titles.items(), strict=True):
        for number, (color, own) in enumerate(zip(_colors(rows), rows.values(), strict=True)):
            values = [row[measure] for row in own if row.get(measure) is not None]
            if not values:
                continue
            drawn = axes.boxplot(
                [values],
                positions=[number],
                widths=0.6,
                patch_artist=True,
                manage_ticks=False,
                medianprops={"color": "black"},
                flierprops={"markersize": 3, "markeredgecolor": color},
            )
            drawn["boxes"][0].set(facecolor=color, alpha=0.6)
        if measure.endswith("lift"):
            axes.axhline(1, color="#444444", linewidth=0.8, linestyle="--")
        axes.set_xticks([])
        axes.set_xlim(-0.6, len(rows) - 0.4)
        axes.set_title(title, fontsize=10)
        axes.grid(axis="y", alpha=0.3)
    handles = [Rectangle((0, 0), 1, 1, facecolor=color, alpha=0.6) for color in _colors(rows)]
    figure.legend(handles, list(rows), loc="outside lower center", ncols=max(1, min(len(rows), 3)))
    return figure


def _colors(rows: Mapping[str, Any]) -> list[str]:
    return [HUES[index % len(HUES)] for index in range(len(rows))]


def _means(means: Mapping[str, Mapping[str, Float[np.ndarray, "h w"]]]) -> Figure:
    kinds = list(next(iter(means.values())))
    figure = Figure(figsize=(2.3 * len(kinds) + 0.6, 2.3 * len(means) + 0.3), layout="constrained")
    grid = figure.subplots(len(means), len(kinds), squeeze=False)
    for column, kind in enumerate(kinds):
        maps = [_smooth(own[kind]) for own in means.values()]
        limit = max(max(found.max() for found in maps), 1e-6)
        for line, found in zip(grid, maps, strict=True):
            drawn = line[column].imshow(found, cmap="magma", vmin=0, vmax=limit)
            line[column].set(xticks=[], yticks=[])
        grid[0, column].set_title(kind, fontsize=9)
        bar = figure.colorbar(drawn, ax=list(grid[:, column]), location="bottom", shrink=0.8)
        bar.ax.tick_params(labelsize=7)
    for line, name in zip(grid, means, strict=True):
        line[0].set_ylabel(name, fontsize=8)
    figure.suptitle("share of images in which a pixel is in the region (smoothed)", fontsize=9)
    return figure


def _smooth(values: Float[np.ndarray, "h w"], width: float = 4.0) -> Float[np.ndarray, "h w"]:
    """Blurred with a Gaussian, whose part beyond the edge is left out."""
    for axis in (0, 1):
        positions = np.arange(values.shape[axis])
        weights = np.exp(-((positions[:, None] - positions) ** 2) / (2 * width**2))
        weights /= weights.sum(axis=1, keepdims=True)
        values = np.moveaxis(np.tensordot(weights, values, (1, axis)), 0, axis)
    return values


def _quantiles(first: str, second: str, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure | None:
    """Quantiles of the differences between two observers against a normal distribution's."""
    titles = {"positive_share": "share of positive pixels on edges", "positive_lift": "lift, positive"}
    figure = Figure(figsize=(8, 3.8), layout="constrained")
    drawn = False
    for axes, (measure, title) in zip(figure.subplots(1, 2), titles.items(), strict=True):
        pairs = [(a.get(measure), b.get(measure)) for a, b in zip(rows[first], rows[second], strict=True)]
        known = [a - b for a, b in pairs if a is not None and b is not None]
        axes.set_title(title)
        if len(known) < 3 or np.ptp(known) == 0:
            axes.set_axis_off()
            continue
        drawn = True
        (theory, ordered), (slope, intercept, _) = stats.probplot(known)
        axes.plot(theory, ordered, "o", markersize=3, color=HUES[0])
        axes.plot(theory, slope * theory + intercept, color="#444444", linewidth=1)
        axes.set(xlabel="normal quantiles", ylabel="difference")
        axes.grid(alpha=0.3)
    figure.suptitle(f"differences between {first} and {second}", fontsize=10)
    return figure if drawn else None
