"""What is counted of logits: accuracy class by class, and shape and texture decisions."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from sparseshape_jax.observers.scores import Score


class Tally:
    """Counts how often logits are right, class by class, and sums the loss.

    Args:
        classes: the names of the classes, in the order of the logits.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.counts: Float[np.ndarray, "5 classes"] = np.zeros((5, len(classes)))
        """By true class: images; those whose class comes first; those whose class is among the first five; and the
        summed cross-entropy. By predicted class: images. Tallies of parts of a set may be added up."""

    def add(self, logits: Float[np.ndarray, "n classes"], labels: Int[np.ndarray, " n"]) -> None:
        """Count some images. Among equal logits the lower index goes first; what is not a number is never right."""
        values = np.asarray(logits, np.float64)
        rows = np.arange(len(labels))
        truth = values[rows, labels][:, None]
        earlier = (values == truth) & (np.arange(values.shape[1])[None] < labels[:, None])
        rank = np.sum(~(values <= truth) | earlier, axis=1)
        with np.errstate(invalid="ignore"):
            highest = values.max(axis=1)
            loss = highest + np.log(np.exp(values - highest[:, None]).sum(axis=1)) - truth[:, 0]
        for counts, added in zip(self.counts[:4], (np.ones(len(labels)), rank < 1, rank < 5, loss), strict=True):
            np.add.at(counts, labels, added)
        np.add.at(self.counts[4], values.argmax(axis=1), 1)

    def row(self) -> dict[str, Any]:
        """The entries n, loss (mean cross-entropy in nats), top1, top5 (None up to five classes) and per_class (top-1).

        Classes without images are left out of per_class.
        """
        n, first, among_five, loss = self.counts[:4].sum(axis=1).tolist()
        return {
            "n": int(n),
            "loss": loss / n,
            "top1": first / n,
            "top5": among_five / n if len(self.classes) > 5 else None,
            "per_class": {
                name: right / count
                for name, count, right in zip(self.classes, *self.counts[:2].tolist(), strict=True)
                if count
            },
        }

    def f1(self) -> dict[str, float]:
        """The F1 score of each class that has images: the harmonic mean of precision and recall, 0 without a hit."""
        there, right, predicted = self.counts[[0, 1, 4]].tolist()
        return {
            name: 2 * hits / (count + chosen)
            for name, count, hits, chosen in zip(self.classes, there, right, predicted, strict=True)
            if count
        }


def shape_bias_entries(score: Score) -> dict[str, Any]:
    """The entries n_stimuli (cue conflicts), shape, texture, shape_bias, cue_accuracy, by_category of a row.

    Ratios without any decision are None.
    """
    return {
        "n_stimuli": score.n,
        "shape": score.shape,
        "texture": score.texture,
        "shape_bias": _number(score.shape_bias),
        "cue_accuracy": _number(score.cue_accuracy),
        "by_category": {
            category: {
                "n": counts.n,
                "shape": counts.shape,
                "texture": counts.texture,
                "shape_bias": _number(counts.shape_bias),
            }
            for category, counts in score.by_category.items()
        },
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
