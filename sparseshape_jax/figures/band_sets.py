"""The band-biased sets: images of every class, and the classes' mean amplitude spectra."""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import rc_context
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from sparseshape_jax.figures.save import save
from sparseshape_jax.figures.style import STYLE
from sparseshape_jax.frequency.spectrum import radius

COLUMNS, ROWS = 4, 2
"""How many images of a class the sheet shows."""


def draw_sheet(stem: Path, sets: Mapping[str, Sequence[UInt8[np.ndarray, "n s s 3"]]]) -> list[Path]:
    """Write a contact sheet, a row per set and a column per class, as PNG and PDF; return their paths.

    Args:
        stem: the path without suffix.
        sets: of each set the images, class by class.

    Raises:
        InputError: the folder is not writable.
    """
    classes = max(len(own) for own in sets.values())
    with rc_context(STYLE):
        figure = Figure(figsize=(2.5 * classes, 1.3 * len(sets) + 0.3), layout="constrained")
        axes = figure.subplots(len(sets), classes, squeeze=False)
        for row, (name, own) in zip(axes, sets.items(), strict=True):
            for axis in row[len(own) :]:
                axis.set_axis_off()
            for label, (axis, images) in enumerate(zip(row, own, strict=False)):
                axis.imshow(_tiled(images), interpolation="nearest")
                axis.set(xticks=[], yticks=[])
                axis.spines[:].set_visible(False)
                if axis in axes[0]:
                    axis.set_title(f"class c{label}")
            row[0].set_ylabel(name)
        return save(figure, stem)


def _tiled(images: UInt8[np.ndarray, "n s s 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """The first images of a class side by side, with white lines between them."""
    height, width = (extent + 1 for extent in images.shape[1:3])
    sheet = np.full((ROWS * height, COLUMNS * width, 3), 255, np.uint8)
    for number, image in enumerate(images[: ROWS * COLUMNS]):
        top, left = number // COLUMNS * height, number % COLUMNS * width
        sheet[top : top + height - 1, left : left + width - 1] = image
    return sheet


def draw_spectra(stem: Path, sets: Mapping[str, Sequence[Float[np.ndarray, "s s"]]]) -> list[Path]:
    """Write the mean amplitude spectra, a row per set and a column per class, as PNG and PDF; return their paths.

    Args:
        stem: the path without suffix.
        sets: of each set the spectra, class by class, with frequency 0 in the middle. That one, the mean of the image,
            is left out.

    Raises:
        InputError: the folder is not writable.
    """
    classes = max(len(own) for own in sets.values())
    with rc_context(STYLE):
        figure = Figure(figsize=(2.0 * classes + 1.2, 2.05 * len(sets) + 0.5), layout="constrained")
        axes = figure.subplots(len(sets), classes, squeeze=False)
        shown = {name: [_without_mean(spectrum) for spectrum in own] for name, own in sets.items()}
        # Corners beyond the outer circle have nothing but rounding errors; the colors are for the rest.
        inside = np.concatenate(
            [spectrum[radius(len(spectrum)) < len(spectrum) // 2 - 1] for spectrum in chain(*shown.values())]
        )
        norm = LogNorm(float(np.nanmin(inside)), float(np.nanmax(inside)))
        for row, (name, own) in zip(axes, shown.items(), strict=True):
            for axis in row[len(own) :]:
                axis.set_axis_off()
            for label, (axis, spectrum) in enumerate(zip(row, own, strict=False)):
                half = len(spectrum) // 2
                edges = (-half - 0.5, len(spectrum) - half - 0.5)
                # Row 0, the lowest frequency along rows, is at the top, as in the images.
                drawn = axis.imshow(
                    spectrum, norm=norm, cmap="viridis", extent=(*edges, *edges[::-1]), interpolation="nearest"
                )
                for reach in np.arange(1, 5) * len(spectrum) / 8:
                    turn = np.linspace(0, 2 * np.pi, 100)
                    axis.plot(reach * np.cos(turn), reach * np.sin(turn), color="white", linewidth=0.5, alpha=0.6)
                labeled = [-half, -half // 2, 0, half // 2]
                axis.set(xlim=edges, ylim=edges[::-1], xticks=labeled, yticks=labeled)
                axis.tick_params(labelsize=8)
                axis.label_outer()
                if axis in axes[0]:
                    axis.set_title(f"class c{label}")
            row[0].set_ylabel(name)
        figure.supxlabel("frequency along columns, in periods per image; circles: the bands", fontsize=9)
        ticks = LogLocator(subs=(1, 2, 5))
        bar = figure.colorbar(drawn, ax=axes, label="mean amplitude", shrink=0.6, aspect=30, ticks=ticks)
        bar.ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        bar.ax.yaxis.set_minor_formatter(NullFormatter())
        return save(figure, stem)


def _without_mean(spectrum: Float[np.ndarray, "s s"]) -> Float[np.ndarray, "s s"]:
    found = spectrum.copy()
    found[len(found) // 2, len(found) // 2] = np.nan
    return found
