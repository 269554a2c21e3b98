"""The curves of training a decoder: losses by step."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from sparseshape_jax.figures.save import save
from sparseshape_jax.figures.style import HUES, STYLE

TERMS = {"pixels": "pixels (auto-encoding)", "content": "content", "style": "style"}


def draw(stem: Path, rows: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Write the curves as PNG and PDF, and return their paths.

    Args:
        stem: the path without suffix.
        rows: those of a run's metrics.jsonl: the terms of the loss in training, and on the sheet.

    Raises:
        InputError: the folder is not writable.
    """
    with rc_context(STYLE | {"text.parse_math": True}):  # for the axis's powers of ten
        figure = Figure(figsize=(10, 3.4), layout="constrained")
        for axis, (term, title), hue in zip(figure.subplots(1, 3), TERMS.items(), HUES, strict=False):
            for kind, label, color in (("train", "crops trained on", hue), ("eval", "the sheet", "0.5")):
                own = [row for row in rows if row["kind"] == kind and term in row]
                axis.plot([row["step"] for row in own], [row[term] for row in own], color=color, label=label)
            axis.set(title=title, xlabel="step", yscale="log")
            axis.grid(alpha=0.3)
            axis.spines["top"].set_visible(False)
            axis.legend(fontsize=8)
        return save(figure, stem)
