"""The figures of the human benchmark on out-of-distribution sets.

Accuracy and error consistency against the strength of a distortion, the four numbers of the benchmark, how they hang
together, who errs like whom, and every number against the Top-K fraction. Networks look the same in all of them.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from sparseshape_jax.figures.observers import Look, humans_look, network_looks
from sparseshape_jax.figures.ood_benchmark import accuracy_bars, benchmark_bars, scatter
from sparseshape_jax.figures.ood_conditions import against_condition
from sparseshape_jax.figures.ood_fractions import against_fraction, against_fraction_by_set
from sparseshape_jax.figures.ood_matrices import confusion_matrices, error_consistency_matrices
from sparseshape_jax.figures.save import save
from sparseshape_jax.figures.style import STYLE
from sparseshape_jax.observers.benchmark import Benchmark
from sparseshape_jax.observers.set_results import HUMANS, MeasuredSet


def draw(folder: Path, measured: Sequence[MeasuredSet], result: Benchmark) -> list[Path]:
    """Write the figures into `folder`, each as PNG and PDF, and return the files' paths.

    What there is nothing for is left out: curves without a set of several conditions, likeness to humans without
    humans, the Top-K fraction without a network at several. Observers who have no means are named in the figures of
    the benchmark and have no mark.

    Raises:
        InputError: `folder` cannot be written to.
    """
    looks = observer_looks(measured)
    paths = []
    with rc_context(STYLE):
        # One after the other, because a page of many panels takes much memory.
        for name, figure in _figures(measured, result, looks):
            paths += save(figure, folder / name)
    return paths


def draw_confusion(
    folder: Path,
    measured: Sequence[MeasuredSet],
    observers: Sequence[str] | None = None,
) -> list[Path]:
    """Write a confusion matrix for each set, observer and condition, and response entropy against condition.

    One file, `confusion-SET-OBSERVER`, holds all conditions. `observers` are networks' names or `humans`, who are
    pooled; `None` are all.

    Raises:
        InputError: `folder` cannot be written to.
    """
    looks = observer_looks(measured)
    paths = []
    with rc_context(STYLE):
        if figure := against_condition(measured, looks, "response_entropy"):
            paths += save(figure, folder / "response-entropy-by-condition")
        for one in measured:
            for observer in (HUMANS, *one.networks) if observers is None else observers:
                who = one.subjects if observer == HUMANS else (observer,)
                if who and set(who) <= {*one.trials.observers}:
                    label = looks[observer].label
                    safe = "".join(letter if letter.isalnum() or letter in ".-" else "-" for letter in observer)
                    paths += save(confusion_matrices(one, who, label), folder / f"confusion-{one.name}-{safe}")
    return paths


def observer_looks(measured: Sequence[MeasuredSet]) -> dict[str, Look]:
    """Return how every observer of the sets looks: the humans together, if there are any, and each network."""
    numbers = {len(one.subjects) for one in measured if one.subjects}
    looks = {HUMANS: humans_look(HUMANS, numbers.pop() if len(numbers) == 1 else 0)} if numbers else {}
    return looks | network_looks(name for one in measured for name in one.networks)


def _figures(
    measured: Sequence[MeasuredSet], result: Benchmark, looks: dict[str, Look]
) -> Iterator[tuple[str, Figure]]:
    draws: dict[str, Callable[[], Figure | None]] = {
        "accuracy-by-condition": lambda: against_condition(measured, looks, "accuracy"),
        "error-consistency-by-condition": lambda: against_condition(measured, looks, "error_consistency"),
        "benchmark": lambda: benchmark_bars(result, looks),
        "accuracy-nonparametric": lambda: accuracy_bars(measured, looks),
        "against-ood-accuracy": lambda: scatter(result, looks),
        "error-consistency-matrices": lambda: error_consistency_matrices(measured, looks),
        "benchmark-against-fraction": lambda: against_fraction(result, looks),
        "accuracy-against-fraction": lambda: against_fraction_by_set(measured, looks, "accuracy"),
        "error-consistency-against-fraction": lambda: against_fraction_by_set(measured, looks, "error_consistency"),
    }
    for name, drawn in draws.items():
        if figure := drawn():
            yield name, figure
