"""The human benchmark: networks compared with people on sets of distorted images.

As model-vs-human computes it (Geirhos et al., "Partial success in closing the gap between human and machine vision",
2021). For a network, a human and a condition: the squared difference of their accuracies, observed consistency and
error consistency (`consistency` defines them), averaged over the conditions of a set that are not excluded, then over
humans, then over sets. The humans' row holds the same for every pair of different subjects, each pair once. OOD
accuracy is the fraction of correct answers in these conditions, averaged over sets; the humans' answers are pooled.

Departures: model-vs-human stops where an observer lacks an image or a set. Here two observers are compared on the
images that both saw, and what is missing is named. Every mean of the benchmark is over the same sets: a set that no
network or no human saw enters none of them, and an observer who lacks a set that others have has no means. A human who
lacks a condition that others have is left out of that set.
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from sparseshape_jax.errors import InputError
from sparseshape_jax.observers.experiments import normalize_condition
from sparseshape_jax.observers.records import CUE_CONFLICT, Records
from sparseshape_jax.observers.scores import BOOTSTRAP_SAMPLES
from sparseshape_jax.observers.set_results import CI95, HUMANS, MeasuredSet, SetResult, measure_set
from sparseshape_jax.observers.trials import BenchmarkSet

NO_HUMANS = "there are no records of human subjects, only accuracy is known"


@dataclass(frozen=True)
class Ranks:
    """An observer's ranks among the networks, the best is 1; ties share the mean of their ranks, NaN is no rank."""

    ood_accuracy: float
    """The highest first."""
    accuracy_difference: float
    """The lowest first."""
    observed_consistency: float
    """The highest first."""
    error_consistency: float
    """The highest first."""

    @property
    def mean(self) -> float:
        """The mean of the last three, by which the benchmark is ordered."""
        return fmean((self.accuracy_difference, self.observed_consistency, self.error_consistency))


@dataclass(frozen=True)
class BenchmarkRow:
    """One observer's numbers: means over the sets that entered, NaN where the observer lacks one of them."""

    observer: str
    n: int
    """The number of trials."""
    ood_accuracy: float
    ood_accuracy_ci95: tuple[float, float]
    """The 95 % bootstrap interval over the trials of each set."""
    accuracy_difference: float
    """The *squared* difference."""
    observed_consistency: float
    error_consistency: float
    ranks: Ranks | None
    """`None` for the humans."""
    lacks: tuple[str, ...]
    """What the observer did not see and others did, first the sets; empty if nothing."""


@dataclass(frozen=True)
class Benchmark:
    """The table of the benchmark and what it is over."""

    sets: tuple[str, ...]
    """The sets that entered all means."""
    missing: dict[str, str]
    """The others, and why they did not enter."""
    rows: tuple[BenchmarkRow, ...]
    """The humans first, if there are any, then the networks by their mean rank."""
    notes: tuple[str, ...]
    """Everything that is incomplete, in words, one sentence for each thing."""

    @property
    def coverage(self) -> str:
        """What the means are over: `over 12 of 17 sets`."""
        return f"over {len(self.sets)} of {len(self.sets) + len(self.missing)} sets"


@dataclass(frozen=True)
class UnpublishedSet:
    """A set that is none of the benchmark's, described by its records."""

    name: str
    conditions: tuple[str, ...] = ("0",)
    labels: tuple[str, ...] = ("all images",)
    excluded: tuple[str, ...] = ()
    axis: str = "condition"
    parametric: bool = False
    humans: int | None = None


def measure_sets(records: Sequence[Records], sets: Sequence[BenchmarkSet], *, seed: int = 0) -> list[MeasuredSet]:
    """Measure all observers on each set that has records: the sets of `sets` in their order, then any others.

    Raises:
        InputError: as `measure_set`.
    """
    by_name: dict[str, list[Records]] = {}
    for one in records:
        by_name.setdefault(one.dataset, []).append(one)
    known = {described.name: described for described in sets}
    others = [_describe(name, by_name[name]) for name in by_name if name not in known]
    return [
        measure_set(by_name[described.name], described, seed=seed)
        for described in (*sets, *others)
        if described.name in by_name
    ]


def benchmark_groups(sets: Sequence[BenchmarkSet]) -> dict[str, list[BenchmarkSet]]:
    """Return the sets of the published tables: all, the parametric, and the others without the cue conflicts."""
    return {
        "all": list(sets),
        "parametric": [described for described in sets if described.parametric],
        "nonparametric": [one for one in sets if not one.parametric and one.name != CUE_CONFLICT],
    }


def benchmark(measured: Sequence[MeasuredSet], sets: Sequence[BenchmarkSet], *, seed: int = 0) -> Benchmark:
    """Average over `sets`, of which those in `measured` may be a part; other measured sets are ignored.

    With networks and humans a set enters if both saw it; where there are only networks, or only humans, if they did.
    `seed` is that of the intervals.

    Raises:
        InputError: `sets` is empty.
    """
    if not sets:
        raise InputError("a benchmark needs at least one set")
    found = {one.name: one for one in measured if one.name in {described.name for described in sets}}
    any_networks = any(one.networks for one in found.values())
    any_humans = any(one.trials.is_human.any() for one in found.values())
    missing: dict[str, str] = {}
    for described in sets:
        one = found.get(described.name)
        if one is None:
            missing[described.name] = "no records"
        elif any_networks and not one.networks:
            missing[described.name] = "no network saw it"
        elif any_humans and not one.trials.is_human.any():
            missing[described.name] = "no human saw it"
        elif not one.kept:
            missing[described.name] = "no condition that counts was seen" + (" by both" if any_humans else "")
        elif any_humans and not one.subjects:
            missing[described.name] = "no human saw all of its conditions"
    entered = [found[described.name] for described in sets if described.name not in missing]
    names = dict.fromkeys(name for one in found.values() for name in one.networks)
    rows = [_row(name, entered, seed) for name in names]
    ranked = sorted(_ranked(rows), key=_order)
    if entered and any_humans:
        ranked.insert(0, _row(HUMANS, entered, seed))
    return Benchmark(
        sets=tuple(one.name for one in entered),
        missing=missing,
        rows=tuple(ranked),
        notes=(*(() if any_humans else (NO_HUMANS,)), *_notes(ranked, entered, missing)),
    )


def _describe(name: str, records: Sequence[Records]) -> UnpublishedSet:
    """Describe a set by the conditions that its records name, in the order of their numbers."""
    found = {normalize_condition(condition): condition for one in records for condition in one.conditions if condition}
    if len(found) < 2:
        return UnpublishedSet(name)
    # Splitting at a group leaves the numbers at the odd places.
    parts = {label: re.split(r"(\d+(?:\.\d+)?)", label) for label in found.values()}
    ordered = sorted(parts, key=lambda label: [float(t) if i % 2 else t for i, t in enumerate(parts[label])])
    return UnpublishedSet(name, tuple(ordered), tuple(ordered))


def _row(observer: str, sets: Sequence[MeasuredSet], seed: int) -> BenchmarkRow:
    results = [next((one for one in measured.overall if one.observer == observer), None) for measured in sets]
    present = [result for result in results if result is not None]
    absent = [measured.name for measured, result in zip(sets, results, strict=True) if result is None]

    def mean(number: Callable[[SetResult], float]) -> float:
        return fmean(map(number, present)) if present and not absent else math.nan

    accuracy = mean(lambda result: result.accuracy)
    return BenchmarkRow(
        observer=observer,
        n=sum(result.n for result in present),
        ood_accuracy=accuracy,
        ood_accuracy_ci95=(math.nan, math.nan) if math.isnan(accuracy) else _interval(present, seed),
        accuracy_difference=mean(lambda result: result.accuracy_difference),
        observed_consistency=mean(lambda result: result.observed_consistency),
        error_consistency=mean(lambda result: result.error_consistency),
        ranks=None,
        lacks=(
            *([f"no records of {', '.join(absent)}"] if absent else []),
            *(f"{result.dataset}: {result.lacks}" for result in present if result.lacks),
        ),
    )


def _interval(results: Sequence[SetResult], seed: int) -> tuple[float, float]:
    generator = np.random.default_rng(seed)
    samples = [generator.binomial(one.n, one.accuracy, size=BOOTSTRAP_SAMPLES) / one.n for one in results]
    low, high = np.percentile(np.mean(samples, axis=0), CI95)
    return float(low), float(high)


def _ranked(rows: Sequence[BenchmarkRow]) -> list[BenchmarkRow]:
    numbers = {
        "ood_accuracy": [-row.ood_accuracy for row in rows],
        "accuracy_difference": [row.accuracy_difference for row in rows],
        "observed_consistency": [-row.observed_consistency for row in rows],
        "error_consistency": [-row.error_consistency for row in rows],
    }
    ranks = {name: _ranks(values) for name, values in numbers.items()}
    return [
        replace(row, ranks=Ranks(**{name: values[index] for name, values in ranks.items()}))
        for index, row in enumerate(rows)
    ]


def _ranks(values: Sequence[float]) -> list[float]:
    """Rank in ascending order from 1; equal values share the mean of their ranks, and NaN has none."""
    known = [value for value in values if not math.isnan(value)]
    return [
        math.nan
        if math.isnan(value)
        else sum(other < value for other in known) + (1 + sum(other == value for other in known)) / 2
        for value in values
    ]


def _order(row: BenchmarkRow) -> tuple[float, ...]:
    ranks = (row.ranks.mean, row.ranks.ood_accuracy) if row.ranks else ()
    return tuple(math.inf if math.isnan(rank) else rank for rank in ranks)


def _notes(rows: Sequence[BenchmarkRow], entered: Sequence[MeasuredSet], missing: dict[str, str]) -> Iterator[str]:
    for name, why in missing.items():
        yield f"{name} is left out for all observers: {why}"
    for row in rows:
        numbers = (row.ood_accuracy, row.accuracy_difference, row.observed_consistency, row.error_consistency)
        if row.lacks and any(map(math.isnan, numbers)):
            yield f"{row.observer}: no means over these sets ({'; '.join(row.lacks)})"
    for measured in entered:
        yield from measured.notes
