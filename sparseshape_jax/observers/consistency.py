"""How alike two observers are: accuracy difference, observed consistency and error consistency.

As model-vs-human computes them (Geirhos et al., "Partial success in closing the gap between human and machine vision",
2021; error consistency: Geirhos, Meding & Wichmann 2020). A trial is correct if the response is the record's category,
which for cue-conflict images is the shape; all images count, also those whose shape and texture agree. In datasets with
several conditions each measure is computed per condition and averaged, without the undistorted and the hopeless ones.

Departure: model-vs-human insists that both observers saw exactly the same images; here the images that both saw are
compared, so that a model run on part of the stimuli can be compared with humans. `n` says how many there were.
"""

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from statistics import fmean
from typing import Any

from sparseshape_jax.errors import InputError
from sparseshape_jax.observers.experiments import excluded_conditions, normalize_condition
from sparseshape_jax.observers.records import Records


@dataclass(frozen=True)
class Consistency:
    """How two observers compare on the images that both saw."""

    n: int
    """The number of images."""
    accuracy: float
    other_accuracy: float
    accuracy_difference: float
    """The *squared* difference of the accuracies, in [0, 1]."""
    observed_consistency: float
    """The fraction of images that both got right or both got wrong, in [0, 1]."""
    expected_consistency: float
    """The same for two independent observers with these accuracies."""
    error_consistency: float
    """Cohen's kappa: (observed - expected) / (1 - expected); 0 is chance, 1 the same errors."""


TABLE_COLUMNS = ("dataset", "observer", "other", "pairs", *(field.name for field in fields(Consistency)))
"""The columns of `consistency.csv`."""


def compare(a: Records, b: Records) -> Consistency:
    """Compare two observers on the same dataset, matching trials by stimulus: the image's name without its prefix.

    Conditions are matched where both records name the same ones and ignored otherwise: for the sets without conditions
    humans' records hold 0 and models' nothing.

    Raises:
        InputError: the records are of different datasets or share no image that counts, or one holds an image twice.
    """
    if a.dataset != b.dataset:
        raise InputError(f"{a.observer!r} on {a.dataset!r} cannot be compared with {b.observer!r} on {b.dataset!r}")
    first, second = _correct(a), _correct(b)
    if not first.keys() & second.keys():
        first, second = _correct(a, pooled=True), _correct(b, pooled=True)
    excluded = excluded_conditions(a.dataset)
    pairs = [
        [(answers[stimulus], second[condition][stimulus]) for stimulus in answers if stimulus in second[condition]]
        for condition, answers in first.items()
        if condition in second and condition not in excluded
    ]
    compared = [_compare(trials) for trials in pairs if trials]
    if not compared:
        raise InputError(f"{a.observer!r} and {b.observer!r} saw no image of {a.dataset!r} in common")
    return _mean(compared, n=sum(one.n for one in compared))


def consistency_table(observers: Sequence[Records]) -> list[dict[str, Any]]:
    """Return the rows of `consistency.csv` (`TABLE_COLUMNS`): every pair on every dataset, and the means over humans.

    A row whose `other` is `humans` is the mean over the comparisons of that observer with each human; where `observer`
    is `humans`, too, it is the mean over each human with each other. `pairs` says over how many. Observers who share no
    image give a warning and no row.
    """
    rows: list[dict[str, Any]] = []
    for dataset in dict.fromkeys(records.dataset for records in observers):
        present = [records for records in observers if records.dataset == dataset]
        with_humans: dict[str, list[Consistency]] = {}
        for a, b in itertools.combinations(sorted(present, key=lambda records: records.is_human), 2):
            try:
                result = compare(a, b)
            except InputError as error:
                warnings.warn(str(error), stacklevel=2)
                continue
            rows.append({"dataset": dataset, "observer": a.observer, "other": b.observer, "pairs": 1, **asdict(result)})
            if b.is_human and a.is_human:
                mirrored = replace(result, accuracy=result.other_accuracy, other_accuracy=result.accuracy)
                with_humans.setdefault("humans", []).extend((result, mirrored))
            elif b.is_human:
                with_humans.setdefault(a.observer, []).append(result)
        rows += [
            {
                "dataset": dataset,
                "observer": observer,
                "other": "humans",
                "pairs": len(results),
                **asdict(_mean(results, n=max(one.n for one in results))),
            }
            for observer, results in with_humans.items()
        ]
    return rows


def _correct(records: Records, pooled: bool = False) -> dict[str | None, dict[str, bool]]:
    """Return, for each condition or for all pooled, whether the response to each stimulus was correct."""
    answers: dict[str | None, dict[str, bool]] = {}
    trials = zip(records.conditions, records.stimuli, records.responses, records.categories, strict=True)
    for condition, stimulus, response, category in trials:
        cell = answers.setdefault(None if pooled else normalize_condition(condition), {})
        if stimulus in cell:
            raise InputError(
                f"{records.observer!r} saw {stimulus!r} of {records.dataset!r} twice; trials cannot be matched"
            )
        cell[stimulus] = response == category
    return answers


def _compare(trials: Sequence[tuple[bool, bool]]) -> Consistency:
    n = len(trials)
    first, second = (sum(correct) / n for correct in zip(*trials, strict=True))
    observed = sum(a == b for a, b in trials) / n
    expected = first * second + (1 - first) * (1 - second)
    # Two observers who are always right, or always wrong, agree perfectly although kappa is 0 / 0.
    kappa = 1.0 if observed == 1 else (observed - expected) / (1 - expected)
    return Consistency(n, first, second, (first - second) ** 2, observed, expected, kappa)


def _mean(results: Sequence[Consistency], n: int) -> Consistency:
    names = [field.name for field in fields(Consistency) if field.name != "n"]
    return Consistency(n, **{name: fmean(getattr(one, name) for one in results) for name in names})
