"""Tests of two observers on the same images; SciPy's."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats

FEWEST = 3
"""Images without which nothing is tested."""
TESTS = (
    "n",
    "median_difference",
    "shapiro_w",
    "shapiro_p",
    "wilcoxon_w",
    "wilcoxon_p",
    "wilcoxon_p_greater",
    "wilcoxon_p_less",
    "rank_biserial",
    "t",
    "t_p",
    "note",
)
"""The entries of `paired_tests`."""


def paired_tests(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"]) -> dict[str, Any]:
    """Shapiro-Wilk, Wilcoxon's signed ranks and the paired t of d = first − second, image by image.

    `wilcoxon_p_greater` is that of the hypothesis that `first` is greater. `rank_biserial` is the effect size of the
    signed ranks: 1 if `first` is always greater, −1 if never. What cannot be computed is None, and `note` says why.
    """
    difference = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    found: dict[str, Any] = {**dict.fromkeys(TESTS), "n": len(difference), "note": ""}
    if len(difference) < FEWEST:
        return {**found, "note": f"fewer than {FEWEST} images"}
    if not np.isfinite(difference).all():
        return {**found, "note": "values that are not numbers"}
    found["median_difference"] = float(np.median(difference))
    if not difference.any():
        certain = dict.fromkeys(("wilcoxon_p", "wilcoxon_p_greater", "wilcoxon_p_less", "t_p"), 1.0)
        return {**found, **certain, "wilcoxon_w": 0.0, "rank_biserial": 0.0, "t": 0.0, "note": "no difference"}
    for key, alternative in (("", "two-sided"), ("_greater", "greater"), ("_less", "less")):
        test = stats.wilcoxon(difference, alternative=alternative)
        found[f"wilcoxon_p{key}"] = float(test.pvalue)
        if not key:
            found["wilcoxon_w"] = float(test.statistic)
    other = difference[difference != 0]
    ranks = stats.rankdata(np.abs(other))
    found["rank_biserial"] = float((ranks * np.sign(other)).sum() / ranks.sum())
    if np.ptp(difference) <= 1e-12 * np.abs(difference).max():
        return {**found, "note": "all differences are equal"}
    shapiro, t = stats.shapiro(difference), stats.ttest_rel(first, second)
    return {
        **found,
        "shapiro_w": float(shapiro.statistic),
        "shapiro_p": float(shapiro.pvalue),
        "t": float(t.statistic),
        "t_p": float(t.pvalue),
    }


def correlation(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> dict[str, Any]:
    """Pearson's r with its p and 95 % interval (Fisher's); None and a note where there is none."""
    found: dict[str, Any] = {"n": len(x), "r": None, "p": None, "r_low": None, "r_high": None, "note": ""}
    if len(x) < FEWEST:
        return {**found, "note": f"fewer than {FEWEST} images"}
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return {**found, "note": "values that are not numbers"}
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return {**found, "note": "all values are equal"}
    test = stats.pearsonr(x, y)
    if len(x) > FEWEST:
        found["r_low"], found["r_high"] = (float(limit) for limit in test.confidence_interval(0.95))
    return {**found, "r": float(test.statistic), "p": float(test.pvalue)}


def holm(rows: Sequence[Mapping[str, Any]], key: str) -> list[float | None]:
    """Holm's corrected p for those under `key` in all rows; rows without p are left out of the count."""
    values = [row[key] for row in rows]
    known = sorted((value, index) for index, value in enumerate(values) if value is not None and not math.isnan(value))
    corrected: list[float | None] = [None] * len(values)
    highest = 0.0
    for rank, (value, index) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * value))
        corrected[index] = highest
    return corrected
