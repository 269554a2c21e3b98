"""From the features of two sets to rows of results: values, and what one must know to read them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sparseshape_jax.fid.distance import (
    SEED,
    SUBSETS,
    Features,
    KernelDistance,
    Statistics,
    frechet_distance,
    kernel_distance,
    rank,
)
from sparseshape_jax.fid.protocols import Protocol
from sparseshape_jax.results import Row

ENOUGH = 2048
"""Images on a side below which the distance is clearly biased; the authors of the FID ask for at least as many."""


@dataclass(frozen=True)
class Side:
    """One side of a comparison: its name, and its features for each repeat, or statistics alone."""

    name: str
    features: Sequence[Features | Statistics]

    @property
    def count(self) -> int | None:
        """How many images there are; None if only their statistics are known."""
        first = self.features[0]
        return None if isinstance(first, Statistics) else len(first)


def compare(
    fake: Side,
    real: Side,
    names: tuple[str, str],
    protocol: Protocol,
    *,
    kid_subset: int | None = None,
) -> list[Row]:
    """One row for the Fréchet distance and, where there is one, one for the kernel distance.

    With several repeats of the fakes, the values are those of the repeat with the smallest Fréchet distance, as the
    paper reports them; `repeats` has all, and `mean` and `mean_sd` their mean and standard deviation.

    Args:
        fake: the images to measure.
        real: what they are compared with; one repeat.
        names: of the two distances.
        protocol: of the features.
        kid_subset: images in each subset; by default the protocol's, or all if there are fewer.

    Raises:
        InputError: fewer than two images on a side, or a subset that is larger than a side.
    """
    theirs = real.features[0]
    notes: list[str] = []
    distances = [frechet_distance(ours, theirs) for ours in fake.features]
    best = int(np.argmin(distances))
    ours = fake.features[best]
    facts: Row = {
        "fake": fake.name,
        "real": real.name,
        "n_fake": fake.count,
        "n_real": real.count,
        "rank_fake": rank(ours),
        "rank_real": rank(theirs),
    }
    for side, rank_name, values in ((fake, "rank_fake", ours), (real, "rank_real", theirs)):
        notes += _notes(side, facts[rank_name], _dimension(values))
    rows = [{**facts, "distance": names[0], "value": distances[best], **_over_repeats(distances), "warnings": notes}]
    kernel = _kernel_distances(fake.features, theirs, protocol, kid_subset)
    if kernel:
        chosen = kernel[best]
        whole = chosen.subset_size == fake.count == real.count
        rows.append(
            {
                **facts,
                "distance": names[1],
                "value": chosen.mean,
                # All subsets are then the same images, and their spread says nothing.
                "sd": None if whole else chosen.sd,
                "subset_size": chosen.subset_size,
                "subsets": SUBSETS,
                "subset_seed": SEED,
                **_over_repeats([one.mean for one in kernel]),
                "warnings": _subset_notes(chosen, protocol, kid_subset),
            }
        )
    return rows


def different_counts(rows: Sequence[Row]) -> str | None:
    """A warning if the Fréchet distances of a run are of different numbers of fakes, which makes them differ."""
    frechet = [row for row in rows if "subset_size" not in row]
    counts = {row["fake"]: row["n_fake"] for row in frechet}
    if len(set(counts.values())) < 2:
        return None
    listed = ", ".join(f"{fake} has {count}" for fake, count in counts.items())
    return f"{frechet[0]['distance']} falls with the number of images, so these values do not compare: {listed}"


def _dimension(values: Features | Statistics) -> int:
    return len(values.mean) if isinstance(values, Statistics) else values.shape[1]


def _notes(side: Side, found: int, dimension: int) -> list[str]:
    ranks = f"the covariance of its {dimension} features has rank {found}"
    if side.count is not None and side.count < ENOUGH:
        return [
            f"{side.name} has {side.count} images, fewer than {ENOUGH:,}: the Fréchet distance is biased upward, and"
            f" compares only with that of as many images ({ranks})"
        ]
    return [f"{side.name}: {ranks}"] if found < dimension else []


def _kernel_distances(
    fakes: Sequence[Features | Statistics], real: Features | Statistics, protocol: Protocol, subset: int | None
) -> list[KernelDistance]:
    """One for each repeat; none if the protocol has none, or if a side is known by its statistics only."""
    size = protocol.subset_size if subset is None else subset
    if size is None or isinstance(real, Statistics):
        return []
    found = []
    for fake in fakes:
        assert not isinstance(fake, Statistics)
        within = min(size, len(fake), len(real)) if subset is None else size
        found.append(kernel_distance(fake, real, subset_size=within))
    return found


def _subset_notes(found: KernelDistance, protocol: Protocol, asked: int | None) -> list[str]:
    if asked is not None or protocol.shrinks_subset or found.subset_size == protocol.subset_size:
        return []
    return [
        f"protocol {protocol.name} takes KID subsets of {protocol.subset_size} images; here they have"
        f" {found.subset_size}, all of the smaller set"
    ]


def _over_repeats(values: Sequence[float]) -> Row:
    if len(values) == 1:
        return {}
    facts: dict[str, Any] = {"repeats": list(values), "mean": float(np.mean(values)), "mean_sd": float(np.std(values))}
    return facts
