"""The learning curves of a classifier: loss and top-1 by epoch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from sparseshape_jax.figures.save import save


def draw(stem: Path, rows: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Write the curves of training and of every evaluation set, as PNG and PDF, and return their paths.

    Args:
        stem: the path without suffix.
        rows: those of a run's metrics.jsonl.

    Raises:
        InputError: the folder is not writable.
    """
    figure = Figure(figsize=(9, 3.6), dpi=160, layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    train = [row for row in rows if row["kind"] == "train"]
    epochs = [row["epoch"] for row in train]
    losses.plot(epochs, [row["loss"] for row in train], color="0.6", label="training")
    accuracies.plot(epochs, [row["accuracy"] for row in train], color="0.6", label="training")
    for name in dict.fromkeys(row["set"] for row in rows if row["kind"] == "eval"):
        own = [row for row in rows if row.get("set") == name]
        style: Mapping[str, Any] = {"marker": ".", "markersize": 4, "label": name}
        losses.plot([row["epoch"] for row in own], [row["loss"] for row in own], **style)
        accuracies.plot([row["epoch"] for row in own], [row["top1"] for row in own], **style)
    losses.set(xlabel="epoch", ylabel="cross-entropy")
    accuracies.set(xlabel="epoch", ylabel="top-1 accuracy", ylim=(0, 1))
    for axis in (losses, accuracies):
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    accuracies.legend(frameon=False, fontsize=8)
    return save(figure, stem)
