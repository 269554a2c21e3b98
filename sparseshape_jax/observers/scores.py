"""Shape bias and cue accuracy, counted from records (Geirhos et al. 2019).

Only images whose shape and texture differ count. A decision for the shape's category is a shape decision, one for the
texture's a texture decision; shape bias = shape / (shape + texture). The ratio says nothing about how many decisions
it rests on, so it never stands without the cue accuracy (shape + texture) / n. An image that a human did not answer in
time counts in n and as neither. Departure: model-vs-human divides accuracies by all images, also those whose shape and
texture agree; here n is the number of cue conflicts.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sparseshape_jax.errors import InputError
from sparseshape_jax.observers.categories import CATEGORIES
from sparseshape_jax.observers.records import CUE_CONFLICT, Records, is_human

BOOTSTRAP_SAMPLES = 10_000


@dataclass(frozen=True)
class Counts:
    """Decisions counted over `n` cue-conflict images. Ratios are NaN where there is nothing to divide by."""

    n: int
    shape: int
    texture: int

    @property
    def shape_bias(self) -> float:
        """The fraction of shape decisions among shape and texture decisions, in [0, 1]."""
        return _ratio(self.shape, self.shape + self.texture)

    @property
    def cue_accuracy(self) -> float:
        """The fraction of images answered with the category of the shape or of the texture, in [0, 1]."""
        return _ratio(self.shape + self.texture, self.n)

    @property
    def shape_accuracy(self) -> float:
        """The fraction of images answered with the category of the shape, in [0, 1]."""
        return _ratio(self.shape, self.n)

    @property
    def texture_accuracy(self) -> float:
        """The fraction of images answered with the category of the texture, in [0, 1]."""
        return _ratio(self.texture, self.n)


@dataclass(frozen=True)
class Score(Counts):
    """One observer's counts, with 95 % bootstrap intervals and the counts for each category of shape."""

    model: str
    """The network's name, or the observer's where the score comes from records."""
    fraction: float | None
    keep: str | None
    shape_bias_ci95: tuple[float, float]
    cue_accuracy_ci95: tuple[float, float]
    by_category: dict[str, Counts]

    @property
    def is_human(self) -> bool:
        """Whether the observer is a human subject, by model-vs-human's naming."""
        return is_human(self.model)

    def row(self) -> dict[str, Any]:
        """The entries of a row of results."""
        return {
            "model": self.model,
            "fraction": self.fraction,
            "keep": self.keep,
            "n": self.n,
            "shape": self.shape,
            "texture": self.texture,
            "shape_bias": self.shape_bias,
            "shape_bias_ci95": list(self.shape_bias_ci95),
            "cue_accuracy": self.cue_accuracy,
            "shape_accuracy": self.shape_accuracy,
            "texture_accuracy": self.texture_accuracy,
            "by_category": {
                category: {
                    "n": counts.n,
                    "shape": counts.shape,
                    "texture": counts.texture,
                    "shape_bias": counts.shape_bias,
                }
                for category, counts in self.by_category.items()
            },
        }


def score(
    records: Records,
    *,
    model: str | None = None,
    fraction: float | None = None,
    keep: str | None = None,
    seed: int = 0,
) -> Score:
    """Count an observer's decisions on the cue-conflict set.

    `model` (default: the records' observer), `fraction` and `keep` label the score; `seed` is the bootstrap's.

    Raises:
        InputError: the records are of another dataset.
    """
    if records.dataset != CUE_CONFLICT:
        raise InputError(f"{records.observer!r} on {records.dataset!r}: shape bias is counted on {CUE_CONFLICT!r} only")
    counts = {category: [0, 0, 0] for category in CATEGORIES}
    for shape, texture, response in zip(records.categories, records.textures, records.responses, strict=True):
        if shape != texture:
            counts[shape][0] += 1
            counts[shape][1] += response == shape
            counts[shape][2] += response == texture
    by_category = {category: Counts(*numbers) for category, numbers in counts.items()}
    return _score(model or records.observer, fraction, keep, by_category, seed)


def pool(scores: Sequence[Score], *, model: str, seed: int = 0) -> Score:
    """Return the score of several observers' trials taken together, as model-vs-human pools its human subjects."""
    by_category = {category: _total([one.by_category[category] for one in scores]) for category in CATEGORIES}
    return _score(model, None, None, by_category, seed)


def _score(model: str, fraction: float | None, keep: str | None, by_category: dict[str, Counts], seed: int) -> Score:
    total = _total(list(by_category.values()))
    bias, accuracy = _bootstrap(total, seed)
    return Score(
        n=total.n,
        shape=total.shape,
        texture=total.texture,
        model=model,
        fraction=fraction,
        keep=keep,
        shape_bias_ci95=bias,
        cue_accuracy_ci95=accuracy,
        by_category=by_category,
    )


def _total(counts: Sequence[Counts]) -> Counts:
    return Counts(*(sum(getattr(one, name) for one in counts) for name in ("n", "shape", "texture")))


def _bootstrap(counts: Counts, seed: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the 2.5th and 97.5th percentiles of shape bias and cue accuracy over images drawn with replacement.

    Both depend on a sample only through its numbers of shape, texture and other decisions, and those are multinomial.
    """
    if counts.shape + counts.texture == 0:
        zero = 0.0 if counts.n else math.nan
        return (math.nan, math.nan), (zero, zero)
    other = counts.n - counts.shape - counts.texture
    probabilities = np.array([counts.shape, counts.texture, other]) / counts.n
    samples = np.random.default_rng(seed).multinomial(counts.n, probabilities, size=BOOTSTRAP_SAMPLES)
    decided = samples[:, 0] + samples[:, 1]
    bias = samples[decided > 0, 0] / decided[decided > 0]
    return _interval(bias), _interval(decided / counts.n)


def _interval(values: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def flat_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as a line of a table: the interval in two columns, each category's shape bias in one.

    Undefined ratios are empty. Entries that are neither single values nor these two are left out.
    """
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if key == "shape_bias_ci95":
            flat[f"{key}_low"], flat[f"{key}_high"] = value
        elif key == "by_category":
            flat |= {f"shape_bias_{category}": counts["shape_bias"] for category, counts in value.items()}
        elif not isinstance(value, list | tuple | Mapping):
            flat[key] = value
    return {key: "" if isinstance(value, float) and math.isnan(value) else value for key, value in flat.items()}
