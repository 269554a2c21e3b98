"""The figures of `evaluate.py local-global`: curves, what patches cost, and the changed images themselves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from sparseshape_jax.figures.save import save
from sparseshape_jax.figures.style import HUES, STYLE

Effects = Mapping[str, Mapping[int, tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]]]
"""By observer and patch size, image by image: the sum of what single patches cost, and what all at once cost."""
Sheet = Sequence[tuple[tuple[str, int, str], UInt8[np.ndarray, "h w 3"]]]
"""One image in all conditions: (set, size, variant) and pixels."""

_SETS = {
    "scrambled": ("side of the scrambled blocks (px)", "scrambled blocks"),
    "smoothed": ("passes of smoothing", "texture smoothed away"),
    "patched": ("side of the covered patches (px)", "all patches covered"),
}
_MEASURES = {
    "probability": "probability of the true class",
    "relative_probability": "relative to the intact images",
    "accuracy": "top-1 accuracy",
}


def draw(
    folder: Path,
    curves: Sequence[Mapping[str, Any]],
    interaction: Sequence[Mapping[str, Any]],
    effects: Effects,
    sheets: Sequence[Sheet],
) -> list[Path]:
    """Write all figures into `folder`, each as PNG and PDF, and return their paths.

    Raises:
        InputError: `folder` cannot be written to.
    """
    observers = list(dict.fromkeys(row["observer"] for row in curves))
    colors = {name: HUES[index % len(HUES)] for index, name in enumerate(observers)}
    made: dict[str, Figure] = {}
    with rc_context(STYLE):
        for name in _SETS:
            if any(row["set"] == name for row in curves):
                made[name] = _curves(curves, name, colors)
        if interaction:
            made["interaction"] = _interaction(interaction, colors)
            made["scatter"] = _scatter(effects, interaction, colors)
            made["single-patches"] = _boxes(effects, colors)
        if sheets and len(sheets[0]) > 1:
            made["conditions"] = _sheet(sheets)
        return [path for name, figure in made.items() for path in save(figure, folder / name)]


def _curves(rows: Sequence[Mapping[str, Any]], name: str, colors: Mapping[str, str]) -> Figure:
    label, title = _SETS[name]
    figure = Figure(figsize=(11, 3.9), layout="constrained")
    panels = figure.subplots(1, len(_MEASURES))
    for axes, (measure, measured) in zip(panels, _MEASURES.items(), strict=True):
        for number, (observer, color) in enumerate(colors.items()):
            own = [row for row in rows if row["observer"] == observer and row["set"] in ("intact", name)]
            own = [row for row in own if row[measure] is not None]
            if not own:
                continue
            # Intact is the largest block, no pass of smoothing, and no patch.
            x = np.array([_position(row, name) for row in own])
            order = np.argsort(x)
            y, low, high = (
                np.array([row[f"{measure}{end}"] for row in own], float)[order] for end in ("", "_low", "_high")
            )
            shift = (number - (len(colors) - 1) / 2) * 0.06
            axes.errorbar(
                np.arange(len(x)) + shift,
                y,
                yerr=np.maximum([y - low, high - y], 0),
                color=color,
                marker="o",
                markersize=4,
                capsize=2,
                elinewidth=1,
                label=observer,
            )
            texts = ["intact" if own[index]["set"] == "intact" else str(own[index]["size"]) for index in order]
            axes.set_xticks(np.arange(len(x)), texts)
        axes.set(xlabel=label, title=measured, ylim=(0, None))
        axes.grid(axis="y", alpha=0.3)
        if name == "scrambled":
            axes.invert_xaxis()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 3))
    figure.suptitle(f"{title} (bars: 95 % intervals over images)", fontsize=11)
    return figure


def _position(row: Mapping[str, Any], name: str) -> float:
    if row["set"] != "intact":
        return float(row["size"])
    return float("inf") if name == "scrambled" else 0.0


def _interaction(rows: Sequence[Mapping[str, Any]], colors: Mapping[str, str]) -> Figure:
    figure = Figure(figsize=(6, 3.8), layout="constrained")
    axes = figure.subplots()
    for observer, color in colors.items():
        own = [row for row in rows if row["observer"] == observer and row["size"] != "" and row["r"] is not None]
        sizes = [row["size"] for row in own]
        axes.plot(sizes, [row["r"] for row in own], color=color, marker="o", markersize=4, label=observer)
        known = [row for row in own if row["r_low"] is not None]
        axes.fill_between(
            [row["size"] for row in known],
            [row["r_low"] for row in known],
            [row["r_high"] for row in known],
            color=color,
            alpha=0.15,
            linewidth=0,
        )
    axes.set(xlabel="side of the patches (px)", ylabel="Pearson's r", ylim=(None, 1.02))
    axes.set_xticks(sorted({row["size"] for row in rows if row["size"] != ""}))
    axes.set_title("sum of single patches’ effects, and the effect of all\n(1: parts count independently)")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    return figure


def _scatter(effects: Effects, rows: Sequence[Mapping[str, Any]], colors: Mapping[str, str]) -> Figure:
    figure = Figure(figsize=(4.6 * len(effects), 4.6), layout="constrained")
    parts = figure.subfigures(1, len(effects), squeeze=False)[0]
    for part, (observer, by_size) in zip(parts, effects.items(), strict=True):
        grid = part.subplots(2, 2, width_ratios=(5, 1), height_ratios=(1, 5))
        grid[0, 1].set_axis_off()
        axes, above, beside = grid[1, 0], grid[0, 0], grid[1, 1]
        x, y = (np.concatenate(one) for one in zip(*by_size.values(), strict=True))
        axes.scatter(x, y, s=9, color=colors[observer], alpha=0.5, linewidths=0)
        if np.ptp(x) > 0:
            slope, intercept = np.polyfit(x, y, 1)
            ends = np.array([x.min(), x.max()])
            axes.plot(ends, slope * ends + intercept, color="#444444", linewidth=1.5)
        axes.set(xlabel="sum of single patches’ logit losses", ylabel="logit loss with all patches")
        axes.grid(alpha=0.3)
        above.hist(x, 30, color=colors[observer], range=axes.get_xlim())
        beside.hist(y, 30, color=colors[observer], range=axes.get_ylim(), orientation="horizontal")
        above.set_xlim(axes.get_xlim())
        beside.set_ylim(axes.get_ylim())
        for marginal in (above, beside):
            marginal.xaxis.set_major_locator(NullLocator())
            marginal.yaxis.set_major_locator(NullLocator())
            for spine in marginal.spines.values():
                spine.set_visible(False)
        found = next((row["r"] for row in rows if row["observer"] == observer and row["size"] == ""), None)
        above.set_title(f"{observer}, all patch sizes" + ("" if found is None else f": r {found:.2f}"))
    return figure


def _boxes(effects: Effects, colors: Mapping[str, str]) -> Figure:
    sizes = list(next(iter(effects.values())))
    figure = Figure(figsize=(1.5 + 0.9 * len(sizes), 3.8), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(effects)
    for number, (observer, by_size) in enumerate(effects.items()):
        positions = np.arange(len(by_size)) + (number - (len(effects) - 1) / 2) * width
        drawn = axes.boxplot(
            [x for x, _ in by_size.values()],
            positions=positions,
            widths=0.85 * width,
            patch_artist=True,
            manage_ticks=False,
            medianprops={"color": "black"},
            flierprops={"markersize": 2, "markeredgecolor": colors[observer]},
        )
        for box in drawn["boxes"]:
            box.set(facecolor=colors[observer], alpha=0.6)
        axes.plot([], [], color=colors[observer], linewidth=6, alpha=0.6, label=observer)
    axes.axhline(0, color="#444444", linewidth=0.8)
    axes.xaxis.set_major_locator(FixedLocator(list(range(len(sizes)))))
    axes.set_xticklabels([str(size) for size in sizes])
    axes.set(xlabel="side of the patches (px)", ylabel="sum of single patches’ logit losses")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(loc="best")
    return figure


def _sheet(sheets: Sequence[Sheet]) -> Figure:
    names = list(dict.fromkeys(key[0] for key, _ in sheets[0] if key[0] != "intact"))
    rows = [(sheet, name) for sheet in sheets for name in names]
    columns = 1 + max(sum(key[0] == name for key, _ in sheets[0]) for name in names)
    figure = Figure(figsize=(1.15 * columns, 1.35 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for line, (sheet, name) in zip(grid, rows, strict=True):
        shown = [one for one in sheet if one[0][0] in ("intact", name)]
        for axes in line:
            axes.set_axis_off()
        for axes, (key, pixels) in zip(line, shown, strict=False):
            _image(axes, pixels, _caption(*key))
    return figure


def _image(axes: Axes, pixels: UInt8[np.ndarray, "h w 3"], caption: str) -> None:
    axes.imshow(pixels, interpolation="none")
    axes.set_title(caption, fontsize=7, pad=2)


def _caption(name: str, size: int, variant: str) -> str:
    if name == "scrambled":
        return f"{size} px, variant {int(variant) + 1}"
    if name == "patched":
        return f"{size} px, {'all' if variant == 'all' else 'one'}"
    if name == "smoothed":
        return f"{size} pass{'' if size == 1 else 'es'}"
    return {"absolute": "difference", "inverse": "inverse"}.get(variant, name)
