"""Fréchet and kernel distances of several sets of images to the same real ones, as bars."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from sparseshape_jax.figures.save import save
from sparseshape_jax.figures.style import HUES, STYLE


def draw(folder: Path, rows: Sequence[dict[str, Any]]) -> list[Path]:
    """Write `fid.png` and `fid.pdf` into `folder`; return the files' paths.

    One panel for each distance, one bar for each set. The line on a bar is the standard deviation over KID's subsets.

    Args:
        folder: is made if it is missing.
        rows: of `evaluate.py fid`, all with the same real images and protocol.

    Raises:
        InputError: `folder` cannot be written to.
    """
    distances = list(dict.fromkeys(row["distance"] for row in rows))
    with rc_context(STYLE):
        bars = max(sum(row["distance"] == name for row in rows) for name in distances)
        figure = Figure(figsize=(2.0 + 3.2 * len(distances), 1.4 + 0.42 * bars), layout="constrained")
        panels = figure.subplots(1, len(distances), sharey=True, squeeze=False)[0]
        for axes, name, hue in zip(panels, distances, HUES, strict=False):
            own = [row for row in rows if row["distance"] == name]
            names = [f"{_short(row['fake'])} ({row['n_fake']:,} images)" for row in own]
            errors = [row.get("sd") or 0.0 for row in own]
            axes.barh(range(len(own)), [row["value"] for row in own], xerr=errors, color=hue, height=0.65)
            axes.set_yticks(range(len(own)), names)
            axes.bar_label(axes.containers[-1], [f"{row['value']:.3g}" for row in own], padding=4, fontsize=9)
            axes.margins(x=0.18)
            axes.axvline(0, color="#444444", linewidth=0.8)
            axes.spines["top"].set_visible(False)
            axes.set_xlabel(f"{name} (protocol {rows[0]['protocol']})")
        panels[0].invert_yaxis()
        count = rows[0]["n_real"]
        images = "" if count is None else f" ({count:,} images)"
        figure.suptitle(f"distance to {_short(rows[0]['real'])}{images}; 0 is equal", fontsize=11)
        return save(figure, folder / "fid")


def _short(name: str) -> str:
    """The last two parts of a path."""
    return "/".join(Path(name).parts[-2:])
