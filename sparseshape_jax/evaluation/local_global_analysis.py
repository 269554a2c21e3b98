"""What `evaluate.py local-global` concludes: curves, tests between observers, and whether patches add up."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float

from sparseshape_jax.evaluation.conditions import INTACT, Condition, Seen
from sparseshape_jax.evaluation.paired_tests import correlation, holm, paired_tests
from sparseshape_jax.stimuli.patched import ALL

Rows = list[dict[str, Any]]
RESAMPLES = 2000
INTERVAL = (2.5, 97.5)
POOLED = "pooled"
"""Marks tests that take an image's variants, and the intact image, for independent, as the thesis does."""


def levels(seen: Seen) -> list[tuple[str, int, str]]:
    """The sets, sizes and kinds that have a mean of their own: variants of scrambled images count as one."""
    found: dict[tuple[str, int, str], None] = {}
    for condition in seen.conditions:
        if not condition.single:
            kind = condition.variant if condition.set == "difference" else ""
            found[condition.set, condition.size, kind] = None
    return list(found)


def of_level(
    seen: Seen, values: Float[np.ndarray, "pictures conditions"], level: tuple[str, int, str]
) -> Float[np.ndarray, " pictures"]:
    """The values of one level, image by image, with variants averaged first."""
    return values[:, _columns(seen, level)].mean(axis=1)


def _columns(seen: Seen, level: tuple[str, int, str]) -> list[int]:
    name, size, kind = level
    return [index for index in seen.columns(name, size) if not kind or seen.conditions[index].variant == kind]


def curves(observers: Sequence[Seen], seed: int) -> Rows:
    """Mean probability of the true class and accuracy in every level, absolute and relative to the intact images.

    Intervals hold 95 % of the means of resampled images.
    """
    rows: Rows = []
    for seen in observers:
        drawn = _resamples(len(seen.pictures), seed)
        intact = levels(seen)[0]
        for level in levels(seen):
            row: dict[str, Any] = {"observer": seen.observer, "set": level[0], "size": level[1], "kind": level[2]}
            row["n"] = len(seen.pictures)
            for name, values in (("probability", seen.probability()), ("accuracy", seen.correct)):
                here, whole = of_level(seen, values, level), of_level(seen, values, intact)
                row[name] = float(here.mean())
                row[f"{name}_low"], row[f"{name}_high"] = np.percentile(here[drawn].mean(axis=1), INTERVAL).tolist()
                ratios = _ratio(here[drawn].mean(axis=1), whole[drawn].mean(axis=1))
                row[f"relative_{name}"] = _number(_ratio(here.mean(), whole.mean()))
                row[f"relative_{name}_low"], row[f"relative_{name}_high"] = (
                    _number(value) for value in _percentiles(ratios)
                )
            rows.append(row)
    return rows


def tests(observers: Sequence[Seen], seed: int) -> Rows:
    """Paired tests of every pair of observers in every level, on probabilities and on losses (intact − changed).

    `relative_difference` is the difference of the means relative to the intact images', with the interval of resampled
    images. `wilcoxon_p_holm` is corrected over the levels of a pair and measure. Rows marked `pooled` are the thesis's.
    """
    rows: Rows = []
    for first, second in combinations(observers, 2):
        drawn = _resamples(len(first.pictures), seed)
        intact = levels(first)[0]
        shared = [level for level in levels(first) if level in levels(second)]
        whole = [of_level(seen, seen.probability(), intact) for seen in (first, second)]
        for measure in ("probability", "loss"):
            own: Rows = []
            for level in shared:
                if measure == "loss" and level == intact:
                    continue
                here = [of_level(seen, seen.probability(), level) for seen in (first, second)]
                a, b = here if measure == "probability" else (whole[0] - here[0], whole[1] - here[1])
                row = _pair(first, second, measure) | {"set": level[0], "size": level[1], "kind": level[2]}
                row |= {"pooled": "", **paired_tests(a, b), "mean_difference": float((a - b).mean())}
                ratios = [
                    _ratio(x[drawn].mean(axis=1), w[drawn].mean(axis=1)) for x, w in zip(here, whole, strict=True)
                ]
                means = [_ratio(x.mean(), w.mean()) for x, w in zip(here, whole, strict=True)]
                low, high = _percentiles(ratios[0] - ratios[1])
                row["relative_difference"] = _number(means[0] - means[1])
                row["relative_difference_low"], row["relative_difference_high"] = _number(low), _number(high)
                own.append(row)
            for row, corrected in zip(own, holm(own, "wilcoxon_p"), strict=True):
                row["wilcoxon_p_holm"] = corrected
            rows += own
        for name in ("scrambled", "smoothed"):
            if any(level[0] == name for level in shared):
                a, b = (_pooled(seen, name) for seen in (first, second))
                row = _pair(first, second, "probability") | {"set": name, "size": "", "kind": "", "pooled": POOLED}
                rows.append(row | paired_tests(a, b) | {"mean_difference": float((a - b).mean())})
    return rows


def _pair(first: Seen, second: Seen, measure: str) -> dict[str, Any]:
    return {"first": first.observer, "second": second.observer, "measure": measure}


def _pooled(seen: Seen, name: str) -> Float[np.ndarray, " n"]:
    """All probabilities of a set and of the intact images, as if each were an image of its own."""
    columns = [index for index, found in enumerate(seen.conditions) if found.set in (INTACT, name)]
    return seen.probability()[:, columns].ravel()


def patch_effects(seen: Seen, patch: int) -> tuple[Float[np.ndarray, " pictures"], Float[np.ndarray, " pictures"]]:
    """What covering patches costs the true class's logit: the sum over single patches, and all of them at once."""
    logits = seen.values[..., 0].astype(np.float64)
    intact = logits[:, seen.conditions.index(Condition(INTACT, seen.conditions[0].size))]
    singles = [i for i, found in enumerate(seen.conditions) if found.single and found.size == patch]
    every = seen.conditions.index(Condition("patched", patch, ALL))
    return (intact[:, None] - logits[:, singles]).sum(axis=1), intact - logits[:, every]


def patch_sizes(seen: Seen) -> list[int]:
    """The sides of the patches that were covered."""
    return list(dict.fromkeys(found.size for found in seen.conditions if found.set == "patched"))


def interaction(observers: Sequence[Seen]) -> Rows:
    """For each observer and patch size, how the sum of single patches' effects correlates with the effect of all.

    r near 1: the parts count independently, as in a bag of features; a low r: they interact. The last row of an
    observer, without a size, is that of all sizes together.
    """
    rows: Rows = []
    for seen in observers:
        effects = {size: patch_effects(seen, size) for size in patch_sizes(seen)}
        for size, (x, y) in effects.items():
            rows.append({"observer": seen.observer, "size": size, **correlation(x, y), **_means(x, y)})
        if effects:
            x, y = (np.concatenate(parts) for parts in zip(*effects.values(), strict=True))
            rows.append({"observer": seen.observer, "size": "", **correlation(x, y), **_means(x, y)})
    return rows


def _means(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> dict[str, float]:
    return {"sum_of_singles": float(x.mean()), "all_at_once": float(y.mean())}


def _resamples(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(n, size=(RESAMPLES, n))


def _ratio(value: Any, whole: Any) -> Any:
    """value / whole; not a number where the whole is 0."""
    whole = np.asarray(whole, np.float64)
    return np.divide(value, whole, out=np.full_like(whole, np.nan), where=whole > 0)


def _percentiles(values: Float[np.ndarray, " n"]) -> Iterator[float]:
    known = values[np.isfinite(values)]
    return iter(np.percentile(known, INTERVAL).tolist() if known.size else (np.nan, np.nan))


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
