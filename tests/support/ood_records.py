"""Records for tests of the human benchmark: the published ones, and small ones made up."""

import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sparseshape_jax.observers.categories import CATEGORIES
from sparseshape_jax.observers.records import Records, read_folders


def published_records(reference_data: Path, folder: Path) -> list[Records]:
    """The records of nine networks and all humans on the 17 sets, unpacked into `folder`."""
    with tarfile.open(reference_data / "data" / "ood-records" / "records-17-sets.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return read_folders([folder])


def answers(observer: str, dataset: str, correct: Mapping[str, Sequence[bool]], *, first: int = 0) -> Records:
    """An observer who was right or wrong as said about images number `first` and up of each condition."""
    trials = [
        (condition, index, CATEGORIES[index % 16], right)
        for condition, given in correct.items()
        for index, right in enumerate(given, start=first)
    ]
    return Records(
        observer=observer,
        images=tuple(f"0001_x_{observer}_{c.replace('_', '')}_{category}{i}.png" for c, i, category, _ in trials),
        categories=tuple(category for *_, category, _ in trials),
        responses=tuple(category if right else None for *_, category, right in trials),
        dataset=dataset,
        conditions=tuple(condition for condition, *_ in trials),
    )


def random_answers(
    observer: str, dataset: str, conditions: Sequence[str], accuracy: float = 0.6, images: int = 32
) -> Records:
    """An observer who was right at random, and wrong in any other way."""
    generator = np.random.default_rng(sum(map(ord, observer + dataset)))
    records = answers(observer, dataset, {c: list(generator.random(images) < accuracy) for c in conditions})
    responses = tuple(one or CATEGORIES[generator.integers(16)] for one in records.responses)
    return Records(observer, records.images, records.categories, responses, dataset, records.conditions)
