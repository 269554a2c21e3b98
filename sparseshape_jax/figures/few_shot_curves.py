"""The curves of few-shot training: losses, reconstructions, logits, and the distance to the real pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from sparseshape_jax.figures.save import save
from sparseshape_jax.figures.style import HUES, STYLE

PANELS = {
    "adversarial losses": {
        "hinge_real": "discriminator, real",
        "hinge_fake": "discriminator, generated",
        "generator": "generator",
    },
    "LPIPS of reconstructions": {"lpips_big": "whole", "lpips_small": "from the small copy", "lpips_part": "a quarter"},
    "mean logits": {"logit_real": "real", "logit_fake": "generated"},
}


def draw(stem: Path, rows: Sequence[Mapping[str, Any]], distance: str) -> list[Path]:
    """Write the curves as PNG and PDF, and return their paths. Dotted lines mark where training went back to the best.

    Args:
        stem: the path without suffix.
        rows: those of a run's metrics.jsonl.
        distance: its name in the rows of kind "eval".

    Raises:
        InputError: the folder is not writable.
    """
    train, measured = ([row for row in rows if row["kind"] == kind] for kind in ("train", "eval"))
    with rc_context(STYLE):
        figure = Figure(figsize=(13, 3.4), layout="constrained")
        *panels, last = figure.subplots(1, len(PANELS) + 1)
        for axis, (title, curves) in zip(panels, PANELS.items(), strict=True):
            for (name, label), hue in zip(curves.items(), HUES, strict=False):
                axis.plot([row["step"] for row in train], [row[name] for row in train], color=hue, label=label)
            axis.set_title(title)
        last.plot([row["step"] for row in measured], [row[distance] for row in measured], "o-", color=HUES[0])
        last.set_title(distance)
        for axis in (*panels, last):
            for row in rows:
                if row["kind"] == "rollback":
                    axis.axvline(row["step"], color="0.6", linestyle=":")
            axis.set_xlabel("iteration")
            axis.grid(alpha=0.3)
            axis.spines["top"].set_visible(False)
        for axis in panels:
            axis.legend(fontsize=8)
        return save(figure, stem)
