"""What `evaluate.py relevance` concludes: tests between observers, and the ledger of relevance."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from sparseshape_jax.evaluation.local_global_config import RelevanceConfig
from sparseshape_jax.evaluation.paired_tests import correlation, holm, paired_tests
from sparseshape_jax.relevance.rules import ACCOUNT
from sparseshape_jax.results import Row

Observers = Mapping[str, tuple[Path, Sequence[Row]]]
"""By name: the folder of their maps, and their rows in the order of the images."""
COMPARED = (
    "positive",
    "negative",
    "positive_on_edges",
    "negative_on_edges",
    "positive_share",
    "negative_share",
    "positive_lift",
    "negative_lift",
    "positive_mass_on_edges",
)
"""What observers are compared in, image by image."""
COUNTS = ("positive_on_edges", "negative_on_edges")
"""Those whose correlation between observers is reported, too."""


def compare(observers: Mapping[str, Sequence[Row]]) -> list[dict[str, Any]]:
    """Paired tests of every pair of observers in every measure that is known of both, image by image.

    `more` counts the images in which the first observer has more, `r` correlates counts; Holm's correction is over the
    measures of a pair.
    """
    tested: list[dict[str, Any]] = []
    for (first, rows), (second, others) in combinations(observers.items(), 2):
        own: list[dict[str, Any]] = []
        for measure in COMPARED:
            pairs = [(a.get(measure), b.get(measure)) for a, b in zip(rows, others, strict=True)]
            known = np.array([pair for pair in pairs if None not in pair], np.float64).reshape(-1, 2)
            if not len(known):
                continue
            a, b = known.T
            row = {"first": first, "second": second, "measure": measure, "mean_first": float(a.mean())}
            row |= {"mean_second": float(b.mean()), "more": int((a > b).sum()), **paired_tests(a, b)}
            own.append(row | {"r": None, "r_p": None})
            if measure in COUNTS:
                found = correlation(a, b)
                own[-1] |= {"r": found["r"], "r_p": found["p"]}
        for row, corrected in zip(own, holm(own, "wilcoxon_p"), strict=True):
            row["wilcoxon_p_holm"] = corrected
        tested += own
    return tested


def ledger(observers: Observers) -> list[dict[str, Any]]:
    """For each observer and layer the mean account over images, from the pixels on."""
    lines: list[dict[str, Any]] = []
    for name, (_, rows) in observers.items():
        for layer in rows[0].get("accounts", {}):
            mean = np.mean([row["accounts"][layer] for row in rows], axis=0)
            lines.append({"observer": name, "layer": layer, **dict(zip(ACCOUNT, mean.tolist(), strict=True))})
    return lines


def print_table(config: RelevanceConfig, observers: Observers) -> None:
    """Print the means over images, one line per observer."""
    columns = ("positive", "negative", "positive_share", "positive_lift", "negative_share", "negative_lift")
    width = max(len(name) for name in observers)
    print(f"\n{'':<{width}}" + "".join(f"{name.replace('_', ' '):>16}" for name in columns))
    for name, (_, rows) in observers.items():
        cells = []
        for column in columns:
            known = [row[column] for row in rows if row.get(column) is not None]
            cells.append(f"{np.mean(known):16.4g}" if known else f"{'-':>16}")
        print(f"{name:<{width}}" + "".join(cells))
    if config.with_edges:
        print("positive, negative: pixels; share: of them on edges; lift: share over that of all pixels")
    print(f"\nresults and figures are in {config.out}")
