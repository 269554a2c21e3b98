"""The trials of one set in one table: what each observer answered to each image, and how alike every two observers are.

The measures are those of `consistency`, for all pairs of observers and all conditions at once. Trials are matched by
condition and stimulus (the image's name without its prefix), so observers need not have seen the same images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float, Int

from sparseshape_jax.errors import InputError
from sparseshape_jax.observers.categories import CATEGORIES
from sparseshape_jax.observers.consistency import Consistency
from sparseshape_jax.observers.experiments import normalize_condition
from sparseshape_jax.observers.records import Records, is_human

RESPONSES: tuple[str | None, ...] = (None, *CATEGORIES)
"""All answers; `None` is an answer that did not come in time."""
NOT_SHOWN = -1
"""Takes the place of an answer where an observer did not see the image."""


class BenchmarkSet(Protocol):
    """What has to be known of a set of stimuli to measure it; a `PublishedSet` has all of it."""

    @property
    def name(self) -> str:
        """The dataset's name in records."""

    @property
    def conditions(self) -> Sequence[str]:
        """All conditions in the order of figures; a set with a single one counts as a set without conditions."""

    @property
    def excluded(self) -> Sequence[str]:
        """Conditions that are measured but do not enter the benchmark."""

    @property
    def labels(self) -> Sequence[str]:
        """What figures call each condition."""

    @property
    def axis(self) -> str:
        """What figures call the axis of conditions; matplotlib's mathtext."""

    @property
    def parametric(self) -> bool:
        """Whether the set has one distortion at several strengths."""

    @property
    def humans(self) -> int | None:
        """How many human subjects took part; `None` where that is unknown."""


@dataclass(frozen=True, eq=False)
class Trials:
    """The answers of `o` observers to `t` images of one set."""

    dataset: str
    observers: tuple[str, ...]
    conditions: tuple[str, ...]
    """The conditions that someone saw, in the set's order and spelling."""
    condition: Int[np.ndarray, " t"]
    """The condition of each image, an index into `conditions`."""
    categories: Int[np.ndarray, " t"]
    """The correct answer to each image, an index into `RESPONSES`."""
    responses: Int[np.ndarray, "o t"]
    """The answers, indices into `RESPONSES`; `NOT_SHOWN` where the observer did not see the image."""

    @cached_property
    def is_human(self) -> Bool[np.ndarray, " o"]:
        """Which observers are human subjects."""
        return np.array([is_human(observer) for observer in self.observers], bool)

    @cached_property
    def shown(self) -> Bool[np.ndarray, "o t"]:
        """Which images each observer saw."""
        return self.responses != NOT_SHOWN

    @cached_property
    def correct(self) -> Bool[np.ndarray, "o t"]:
        """Which answers are correct. An answer that did not come in time is wrong."""
        return self.responses == self.categories

    @cached_property
    def counts(self) -> Int[np.ndarray, "o c"]:
        """How many images of each condition each observer saw."""
        one_hot = self.condition[:, None] == np.arange(len(self.conditions))
        return self.shown.astype(np.int64) @ one_hot.astype(np.int64)

    @cached_property
    def comparisons(self) -> "Comparisons":
        """How every two observers compare in each condition."""
        return _compare(self)


@dataclass(frozen=True, eq=False)
class Comparisons:
    """How every two observers compare in each condition, on the images that both saw; NaN where there is none.

    All arrays have the shape (conditions, observers, observers) and all but `accuracy` are symmetric. `Consistency`
    describes the numbers.
    """

    n: Int[np.ndarray, "c o o"]
    accuracy: Float[np.ndarray, "c o o"]
    """The accuracy of the first observer on what the second saw, too."""
    accuracy_difference: Float[np.ndarray, "c o o"]
    observed_consistency: Float[np.ndarray, "c o o"]
    expected_consistency: Float[np.ndarray, "c o o"]
    error_consistency: Float[np.ndarray, "c o o"]

    def between(self, first: int, second: int, condition: int) -> Consistency:
        """Return how two observers compare in one condition; all three are indices."""
        at = condition, first, second
        return Consistency(
            n=int(self.n[at]),
            accuracy=float(self.accuracy[at]),
            other_accuracy=float(self.accuracy[condition, second, first]),
            accuracy_difference=float(self.accuracy_difference[at]),
            observed_consistency=float(self.observed_consistency[at]),
            expected_consistency=float(self.expected_consistency[at]),
            error_consistency=float(self.error_consistency[at]),
        )


def align(records: Sequence[Records], described: BenchmarkSet) -> Trials:
    """Put the records of one set, one of each observer, into one table.

    Conditions are recognized in any spelling (0.60 is 0.6). Where the set has only one, what records say of it is
    ignored: for the sets without conditions humans' records hold 0 and networks' nothing.

    Raises:
        InputError: an observer comes twice or saw an image twice, a condition is none of the set's, two observers
            disagree about the category of an image, or a record is of another set.
    """
    order = {normalize_condition(condition): index for index, condition in enumerate(described.conditions)}
    rows: dict[tuple[int, str], int] = {}
    categories: list[str] = []
    answers: dict[str, dict[int, str | None]] = {}
    for one in records:
        if one.dataset != described.name:
            raise InputError(f"{one.observer!r} on {one.dataset!r}: only records of {described.name!r} belong here")
        if one.observer in answers:
            raise InputError(f"there are two records of {one.observer!r} on {one.dataset!r}; give each observer once")
        indices = {condition: _index(condition, order, one, described) for condition in set(one.conditions)}
        given = answers[one.observer] = {}
        trials = zip(one.conditions, one.stimuli, one.categories, one.responses, strict=True)
        for condition, stimulus, category, response in trials:
            row = rows.setdefault((indices[condition], stimulus), len(rows))
            if row == len(categories):
                categories.append(category)
            if row in given:
                raise InputError(
                    f"{one.observer!r} saw {stimulus!r} of {one.dataset!r} twice; trials cannot be matched"
                )
            if categories[row] != category:
                raise InputError(
                    f"{stimulus!r} of {one.dataset!r} shows {category!r} in the records of {one.observer!r} and "
                    f"{categories[row]!r} in others; images of one set need different names"
                )
            given[row] = response
    number: dict[str | None, int] = {response: index for index, response in enumerate(RESPONSES)}
    responses = np.full((len(answers), len(rows)), NOT_SHOWN, np.int8)
    for observer, given in enumerate(answers.values()):
        responses[observer, list(given)] = [number[response] for response in given.values()]
    present, condition_of = np.unique([index for index, _ in rows], return_inverse=True)
    return Trials(
        dataset=described.name,
        observers=tuple(answers),
        conditions=tuple(described.conditions[index] for index in present),
        condition=condition_of,
        categories=np.array([number[category] for category in categories], np.int8),
        responses=responses,
    )


def _index(condition: str | None, order: dict[str | None, int], records: Records, described: BenchmarkSet) -> int:
    if len(order) == 1:
        return 0
    index = order.get(normalize_condition(condition))
    if index is None:
        raise InputError(
            f"{records.observer!r} on {records.dataset!r}: the condition {condition or 'NaN'!r} is unknown; "
            f"it must be one of {', '.join(described.conditions)}"
        )
    return index


def _compare(trials: Trials) -> Comparisons:
    """Count the four cells of every pair's contingency table by matrix products, exactly, and compute the measures."""
    shape = (len(trials.conditions), len(trials.observers), len(trials.observers))
    n, first, both = (np.zeros(shape, np.int64) for _ in range(3))
    for index in range(shape[0]):
        here = trials.condition == index
        shown, correct = (part[:, here].astype(np.float64) for part in (trials.shown, trials.correct))
        n[index], first[index], both[index] = shown @ shown.T, correct @ shown.T, correct @ correct.T
    second = first.transpose(0, 2, 1)
    agreed = n - first - second + 2 * both
    nan = np.full(shape, np.nan)
    a, b, observed = (np.divide(count, n, out=nan.copy(), where=n > 0) for count in (first, second, agreed))
    expected = a * b + (1 - a) * (1 - b)
    # Two observers who are always right, or always wrong, agree perfectly although kappa is 0 / 0.
    kappa = np.where(n > 0, 1.0, np.nan)
    np.divide(observed - expected, 1 - expected, out=kappa, where=agreed < n)
    return Comparisons(n, a, (a - b) ** 2, observed, expected, kappa)


def confusion_matrix(
    trials: Trials, observers: Sequence[str], condition: str | None = None
) -> Float[np.ndarray, "17 16"]:
    """Return how often each answer (rows, `RESPONSES`) was given to each category (columns, `CATEGORIES`).

    Each column holds fractions that sum to 1, or NaN if no image of the category was shown. Several observers are
    pooled, and so are all conditions if `condition` is `None`.
    """
    here = np.ones(len(trials.condition), bool)
    if condition is not None:
        here = trials.condition == trials.conditions.index(condition)
    counts = np.zeros((len(RESPONSES), len(RESPONSES)))
    for observer in observers:
        shown = here & trials.shown[trials.observers.index(observer)]
        np.add.at(counts, (trials.responses[trials.observers.index(observer), shown], trials.categories[shown]), 1)
    counts = counts[:, 1:]
    totals = counts.sum(axis=0)
    return np.divide(counts, totals, out=np.full_like(counts, np.nan), where=totals > 0)
