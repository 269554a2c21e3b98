"""Loss curves of minimized images."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from sparseshape_jax.figures.save import save
from sparseshape_jax.figures.style import STYLE

NAMED = 12
"""Most curves that a legend names."""


def draw(folder: Path, curves: Mapping[str, Sequence[float]]) -> list[Path]:
    """Write `losses.png` and `losses.pdf` into `folder`; return the files' paths.

    Each curve is the best loss so far, relative to the first one.

    Args:
        folder: is made if it is missing.
        curves: by name, the loss at each evaluation; empty ones are left out.

    Raises:
        InputError: `folder` cannot be written to.
    """
    with rc_context(STYLE | {"text.parse_math": True}):  # for the axis's powers of ten
        figure = Figure(figsize=(7, 4.2), layout="constrained")
        axes = figure.subplots()
        for name, losses in curves.items():
            if losses:
                best = np.minimum.accumulate(losses) / losses[0]
                axes.plot(np.arange(1, len(losses) + 1), best, label=name.lstrip("_").replace("$", r"\$"))
        axes.set(yscale="log", xlabel="evaluations of loss and gradient", ylabel="best loss / first loss")
        axes.grid(alpha=0.3)
        axes.spines["top"].set_visible(False)
        if axes.lines and len(curves) <= NAMED:
            axes.legend(fontsize=7)
        return save(figure, folder / "losses")
