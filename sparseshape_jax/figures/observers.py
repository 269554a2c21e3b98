"""How observers look in every figure: one hue, marker and line for each network, humans in a color of their own.

A network at several Top-K fractions keeps its hue, which is darker the sparser it is. Fractions come from the names of
the observers (`alexnet_topK_20`).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sparseshape_jax.figures.style import HUES, HUMANS
from sparseshape_jax.observers.records import is_human, parse_observer_name

MARKERS = ("o", "s", "^", "v", "P", "X", "<", ">", "p", "h")
LINES = ("-", "--", "-.", ":")


@dataclass(frozen=True)
class Look:
    """How one observer is drawn. `fraction` is 1 for the dense network of a sweep, `None` outside a sweep."""

    observer: str
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
        width = 0.1 * size if edge == "white" else 0.2 * size
        return {
            "marker": self.marker,
            "markersize": size,
            "markerfacecolor": face,
            "markeredgecolor": edge,
            "markeredgewidth": width,
        }

    def line(self, width: float = 1.5) -> dict[str, Any]:
        """Return how its line looks."""
        return {"color": self.color, "linestyle": self.linestyle, "linewidth": width}

    def handle(self) -> Line2D:
        """Return its entry in a legend."""
        return Line2D([], [], label=self.label, **self.line(), **self.markers(7))


def humans_look(observer: str, subjects: int) -> Look:
    """Return how all human subjects taken together look; `subjects` is their number, 0 if it differs between sets."""
    label = f"humans ({subjects})" if subjects else "humans"
    return Look(observer, "humans", label, HUMANS, HUMANS, marker="D")


def network_looks(observers: Iterable[str]) -> dict[str, Look]:
    """Return how each network looks, in order: by network, and from dense to sparse. Human subjects are left out."""
    names = [name for name in dict.fromkeys(observers) if not is_human(name)]
    placed = {name: _place(name) for name in names}
    swept = {model for model, fraction, _ in placed.values() if fraction is not None}
    for name, (model, fraction, keep) in placed.items():
        if model in swept and fraction is None:  # a plain name next to its own sparse versions
            placed[name] = (model, 1.0, keep)
    models = list(dict.fromkeys(model for model, _, _ in placed.values()))
    found = []
    for name, (model, fraction, keep) in placed.items():
        steps = sorted({step or 1.0 for other, step, _ in placed.values() if other == model}, reverse=True)
        depth = steps.index(fraction) / (len(steps) - 1) if fraction and len(steps) > 1 else 0.5
        order = models.index(model)
        hue = HUES[order % len(HUES)]
        label = _label(model, fraction, keep)
        marker, linestyle = MARKERS[order % len(MARKERS)], LINES[order // len(HUES) % len(LINES)]
        found.append(Look(name, model, label, hue, shade(hue, depth), fraction, keep, marker, linestyle))
    found.sort(key=lambda one: (models.index(one.model), one.keep == "rest", -(one.fraction or 1)))
    return {one.observer: one for one in found}


def sweeps(looks: Iterable[Look]) -> list[list[Look]]:
    """Return, for each network and what it keeps, its observers from dense to sparse; networks outside sweeps are not.

    A sweep has at least two fractions.
    """
    swept = [one for one in looks if one.fraction is not None]
    found = []
    for model in dict.fromkeys(one.model for one in swept):
        members = [one for one in swept if one.model == model]
        for keep in dict.fromkeys(one.keep for one in members if one.keep != "all"):
            sweep = [one for one in members if one.keep in (keep, "all")]
            found.append(sorted(sweep, key=lambda one: -(one.fraction or 1)))
    return [sweep for sweep in found if len(sweep) > 1]


def short(name: str, length: int = 32) -> str:
    """Return a name that fits into a figure: its middle left out, and no underscore first, which legends hide."""
    name = name.lstrip("_")
    return name if len(name) <= length else f"{name[: length // 2 - 1]}…{name[-length // 2 :]}"


def shade(hue: str, depth: float) -> str:
    """Return `hue` lightened (depth 0) through itself (0.5) to darkened (1)."""
    return mix(hue, "white", 0.6 - 1.2 * depth) if depth < 0.5 else mix(hue, "black", 1.2 * depth - 0.6)


def mix(color: str, other: str, weight: float) -> str:
    """Return `color` with the fraction `weight` of `other` in it."""
    red, green, blue = ((1 - weight) * a + weight * b for a, b in zip(to_rgb(color), to_rgb(other), strict=True))
    return to_hex((red, green, blue))


def add_legend(figure: Figure, handles: Sequence[Any], columns: int = 5) -> None:
    """Put a legend below everything, in as many of `columns` as fit, and make room for it."""
    # At 10 points a letter is about 0.085 inches wide, the sample and the gap 0.7.
    width = 0.7 + 0.085 * max(len(handle.get_label()) for handle in handles)
    columns = max(1, min(columns, int(figure.get_figwidth() / width)))
    figure.set_figheight(figure.get_figheight() + 0.1 + 0.23 * math.ceil(len(handles) / columns))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)


def _place(name: str) -> tuple[str, float | None, str]:
    """Return the network, its fraction (1 without Top-K, `None` if nothing says) and what is kept."""
    model, fraction, keep = parse_observer_name(name)
    if fraction is None or fraction == 1:
        return model, fraction, "all"
    return model, fraction, keep or "top"


def _label(model: str, fraction: float | None, keep: str) -> str:
    name = short(model)
    if fraction is None:
        return name
    return name + {"all": "", "top": f", top {100 * fraction:g} %", "rest": f", top {100 * fraction:g} % removed"}[keep]
