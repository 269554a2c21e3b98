"""How every observer does on one set: accuracy, response entropy and likeness to humans, by condition and overall.

The measures are model-vs-human's; `benchmark` describes them and averages over sets. Human subjects have rows of their
own, and `HUMANS` stands for all of them: their accuracy is that of all their answers pooled, their response entropy is
the mean over subjects, and their consistency is the mean over every pair of different subjects.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from sparseshape_jax.errors import InputError
from sparseshape_jax.observers.consistency import Consistency
from sparseshape_jax.observers.experiments import normalize_condition
from sparseshape_jax.observers.records import Records, is_human
from sparseshape_jax.observers.scores import BOOTSTRAP_SAMPLES
from sparseshape_jax.observers.trials import NOT_SHOWN, BenchmarkSet, Trials, align

HUMANS = "humans"
"""The observer that stands for all human subjects."""
CI95 = (2.5, 97.5)
"""The percentiles that bound a 95 % interval."""


@dataclass(frozen=True)
class Likeness:
    """How alike an observer and human subjects are: means over the pairs; NaN where there is none to compare."""

    pairs: int
    """The number of comparisons that the means are over: one per human, or one per pair of humans."""
    compared: int
    """The number of images in the smallest of these comparisons; 0 without any."""
    accuracy_difference: float
    """The *squared* difference of the accuracies."""
    observed_consistency: float
    error_consistency: float


@dataclass(frozen=True)
class ConditionResult(Likeness):
    """One observer in one condition."""

    dataset: str
    condition: str
    excluded: bool
    """Whether the condition is measured but does not enter the benchmark."""
    observer: str
    n: int
    """The number of trials, of all subjects for `HUMANS`."""
    accuracy: float
    accuracy_ci95: tuple[float, float]
    response_entropy: float
    """In bits, over the 16 categories; an answer that did not come in time counts as a trial and adds no term."""


@dataclass(frozen=True)
class SetResult(Likeness):
    """One observer on a set: the mean over the conditions that enter the benchmark."""

    dataset: str
    observer: str
    n: int
    accuracy: float
    """The fraction of correct answers to all trials of these conditions; NaN if the observer lacks one of them."""
    accuracy_ci95: tuple[float, float]
    lacks: str
    """What the observer did not see and others did, in words; empty if nothing."""


@dataclass(frozen=True)
class PairResult:
    """One observer and one human in one condition, on the images that both saw."""

    dataset: str
    condition: str
    observer: str
    other: str
    consistency: Consistency


@dataclass(frozen=True, eq=False)
class MeasuredSet:
    """All results on one set, and the trials that they are counted from."""

    described: BenchmarkSet
    trials: Trials
    subjects: tuple[str, ...]
    """The humans with whom others are compared: those who saw every condition in `kept`."""
    kept: tuple[str, ...]
    """The conditions that enter the benchmark: not excluded, and seen by a network and a human if the set has both."""
    by_condition: tuple[ConditionResult, ...]
    """The networks in the order of their records, then each human, then `HUMANS`; for each, the conditions in order."""
    overall: tuple[SetResult, ...]
    """The same observers, without those who saw nothing that enters the benchmark."""
    notes: tuple[str, ...]
    """What is missing, one sentence for each thing."""

    @property
    def name(self) -> str:
        """The dataset's name."""
        return self.trials.dataset

    @property
    def networks(self) -> tuple[str, ...]:
        """All observers who are not human."""
        return tuple(observer for observer in self.trials.observers if not is_human(observer))

    def error_consistency(self) -> Float[np.ndarray, "o o"]:
        """Return the error consistency of every two observers, in the order of `trials.observers`.

        It is the mean over the conditions in `kept`, NaN where two observers share no image of one of them.
        """
        kept = [self.trials.conditions.index(condition) for condition in self.kept]
        values = self.trials.comparisons.error_consistency[kept]
        return values.mean(axis=0) if kept else np.full(values.shape[1:], math.nan)

    def pairs(self) -> Iterator[PairResult]:
        """Yield every observer's comparison with every human, and of the humans among each other each pair once."""
        comparisons, observers = self.trials.comparisons, self.trials.observers
        human = self.trials.is_human
        for (first, observer), (second, other) in itertools.product(enumerate(observers), repeat=2):
            if human[second] and (not human[first] or first < second):
                for index, condition in enumerate(self.trials.conditions):
                    if comparisons.n[index, first, second]:
                        between = comparisons.between(first, second, index)
                        yield PairResult(self.name, condition, observer, other, between)


def measure_set(records: Sequence[Records], described: BenchmarkSet, *, seed: int = 0) -> MeasuredSet:
    """Measure all observers of one set. `seed` is that of the bootstrap intervals, which are over trials.

    Raises:
        InputError: as `align`, or an observer is called `humans`.
    """
    trials = align(records, described)
    if HUMANS in trials.observers:
        raise InputError(f"an observer of {trials.dataset!r} is called {HUMANS!r}, which stands for all human subjects")
    measuring = _Measuring(described, trials, seed)
    networks_first = np.argsort(trials.is_human, kind="stable")
    members = [(trials.observers[index], np.array([index])) for index in networks_first]
    if measuring.subjects.any():
        members.append((HUMANS, np.flatnonzero(measuring.subjects)))
    return MeasuredSet(
        described=described,
        trials=trials,
        subjects=measuring.names(measuring.subjects),
        kept=measuring.labels(measuring.kept),
        by_condition=tuple(
            measuring.condition(name, who, index)
            for name, who in members
            for index in range(len(trials.conditions))
            if trials.counts[who, index].any()
        ),
        overall=tuple(
            measuring.overall(name, who) for name, who in members if trials.counts[who][:, measuring.kept].any()
        ),
        notes=tuple(f"{trials.dataset}: {note}" for note in measuring.notes()),
    )


@cache
def accuracy_interval(correct: int, n: int, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the accuracy `correct / n` over `n` trials drawn with replacement."""
    if n == 0:
        return math.nan, math.nan
    samples = np.random.default_rng(seed).binomial(n, correct / n, size=BOOTSTRAP_SAMPLES)
    low, high = np.percentile(samples / n, CI95)
    return float(low), float(high)


class _Measuring:
    """The arithmetic of `measure_set`: masks of the conditions and humans that count, and what is counted with them."""

    def __init__(self, described: BenchmarkSet, trials: Trials, seed: int) -> None:
        self.trials, self.humans, self.seed = trials, described.humans, seed
        saw = trials.counts > 0
        excluded = set(map(normalize_condition, described.excluded))
        self.wanted = [label for label in described.conditions if normalize_condition(label) not in excluded]
        self.excluded = np.array([label not in self.wanted for label in trials.conditions], bool)
        by_group = [saw[group].any(axis=0) for group in (trials.is_human, ~trials.is_human) if group.any()]
        self.kept = np.logical_and.reduce([~self.excluded, *by_group])
        self.subjects = trials.is_human & saw[:, self.kept].all(axis=1) & self.kept.any()

    def names(self, who: Bool[np.ndarray, " o"]) -> tuple[str, ...]:
        return tuple(self.trials.observers[index] for index in np.flatnonzero(who))

    def labels(self, conditions: Bool[np.ndarray, " c"]) -> tuple[str, ...]:
        return tuple(self.trials.conditions[index] for index in np.flatnonzero(conditions))

    def condition(self, name: str, who: Int[np.ndarray, " w"], index: int) -> ConditionResult:
        n, correct = self._count(who, np.array([index]))
        return ConditionResult(
            **self._likeness(who, np.array([index])),
            dataset=self.trials.dataset,
            condition=self.trials.conditions[index],
            excluded=bool(self.excluded[index]),
            observer=name,
            n=n,
            accuracy=correct / n,
            accuracy_ci95=accuracy_interval(correct, n, self.seed),
            response_entropy=fmean(self._entropy(one, index) for one in who if self.trials.counts[one, index]),
        )

    def overall(self, name: str, who: Int[np.ndarray, " w"]) -> SetResult:
        kept = np.flatnonzero(self.kept)
        n, correct = self._count(who, kept)
        whole = bool(self.trials.counts[who][:, kept].all())
        alone = "no second human" if len(who) == 1 else ""
        return SetResult(
            **self._likeness(who, kept),
            dataset=self.trials.dataset,
            observer=name,
            n=n,
            accuracy=correct / n if whole else math.nan,
            accuracy_ci95=accuracy_interval(correct, n, self.seed) if whole else (math.nan, math.nan),
            lacks=alone if name == HUMANS else self._lacks(int(who[0])),
        )

    def notes(self) -> Iterator[str]:
        """Say what is missing: conditions, humans, or images of an observer."""
        trials = self.trials
        if missing := [label for label in self.wanted if label not in self.labels(self.kept)]:
            kept = len(self.wanted) - len(missing)
            yield f"over {kept} of {len(self.wanted)} conditions, without {', '.join(missing)}"
        present = int(trials.is_human.sum())
        if self.humans is not None and 0 < present < self.humans:
            yield f"{present} of {self.humans} humans"
        for index, observer in enumerate(trials.observers):
            if lacks := self._lacks(index):
                out = trials.is_human[index] and not self.subjects[index]
                yield f"{observer} has {lacks}" + (" and is left out" if out else "")

    def _lacks(self, observer: int) -> str:
        """Say which conditions, or else how many images, an observer lacks that humans (without any: others) saw."""
        trials = self.trials
        if without := self.labels(self.kept & (trials.counts[observer] == 0)):
            return f"no {', '.join(without)}"
        others = trials.shown[trials.is_human] if trials.is_human.any() else trials.shown
        wanted = self.kept[trials.condition] & others.any(axis=0)
        seen, total = (trials.shown[observer] & wanted).sum(), wanted.sum()
        if total and not seen:
            return "no image that a human saw"
        return "" if seen == total else f"{seen:,} of {total:,} images"

    def _count(self, who: Int[np.ndarray, " w"], conditions: Int[np.ndarray, " k"]) -> tuple[int, int]:
        here = np.isin(self.trials.condition, conditions)
        return int(self.trials.shown[who][:, here].sum()), int(self.trials.correct[who][:, here].sum())

    def _entropy(self, observer: int, condition: int) -> float:
        answers = self.trials.responses[observer, self.trials.condition == condition]
        # The index 0 is an answer that did not come in time.
        given = np.bincount(answers[answers > 0])
        fractions = given[given > 0] / (answers != NOT_SHOWN).sum()
        return float(np.sum(fractions * -np.log2(fractions)))

    def _likeness(self, who: Int[np.ndarray, " w"], conditions: Int[np.ndarray, " k"]) -> dict[str, Any]:
        """Return the fields of `Likeness`: means over `conditions`, then over the pairs of `who` and other humans."""
        one = np.isin(np.arange(len(self.subjects)), who)
        first, second = np.nonzero(one[:, None] & self.subjects & ~np.eye(len(one), dtype=bool))
        if len(who) > 1:  # each pair once
            first, second = first[first < second], second[first < second]
        comparisons = self.trials.comparisons
        n = comparisons.n[conditions][:, first, second].sum(axis=0)
        first, second, n = first[n > 0], second[n > 0], n[n > 0]

        def mean(measure: Float[np.ndarray, "c o o"]) -> float:
            values = measure[conditions][:, first, second].mean(axis=0)
            return float(values.mean()) if len(values) else math.nan

        return {
            "pairs": len(n),
            "compared": int(n.min()) if len(n) else 0,
            "accuracy_difference": mean(comparisons.accuracy_difference),
            "observed_consistency": mean(comparisons.observed_consistency),
            "error_consistency": mean(comparisons.error_consistency),
        }
