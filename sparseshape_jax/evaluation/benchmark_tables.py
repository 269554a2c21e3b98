"""The tables of the human benchmark: benchmark.csv, benchmark.md and what is printed."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from sparseshape_jax import output
from sparseshape_jax.observers.benchmark import Benchmark, BenchmarkRow
from sparseshape_jax.observers.set_results import MeasuredSet

COLUMNS = (
    "group",
    "sets",
    "observer",
    "trials",
    "ood_accuracy",
    "ood_accuracy_ci95_low",
    "ood_accuracy_ci95_high",
    "accuracy_difference",
    "observed_consistency",
    "error_consistency",
    "rank_ood_accuracy",
    "mean_rank",
)


def write_benchmark(folder: Path, groups: Mapping[str, Benchmark]) -> None:
    """Write benchmark.csv, a line for each group of sets and observer, and benchmark.md.

    The Markdown has the two tables of model-vs-human for each group of sets, with the sets that entered above them.
    """
    lines = [
        {
            "group": name,
            "sets": " ".join(found.sets),
            "observer": row.observer,
            "trials": row.n,
            "ood_accuracy": _csv(row.ood_accuracy),
            "ood_accuracy_ci95_low": _csv(row.ood_accuracy_ci95[0]),
            "ood_accuracy_ci95_high": _csv(row.ood_accuracy_ci95[1]),
            "accuracy_difference": _csv(row.accuracy_difference),
            "observed_consistency": _csv(row.observed_consistency),
            "error_consistency": _csv(row.error_consistency),
            "rank_ood_accuracy": "" if row.ranks is None else _csv(row.ranks.ood_accuracy),
            "mean_rank": "" if row.ranks is None else _csv(row.ranks.mean),
        }
        for name, found in groups.items()
        for row in found.rows
    ]
    output.write_csv(folder / "benchmark.csv", COLUMNS, lines)
    output.write_text(folder / "benchmark.md", "\n".join(_markdown(name, found) for name, found in groups.items()))


def _markdown(name: str, found: Benchmark) -> str:
    if not found.rows or not found.sets:
        return f"## {name} sets\n\nNo sets.\n"
    human = [
        f"| {_cell(row.observer)} | {_number(row.accuracy_difference)} | {_number(row.observed_consistency)} |"
        f" {_number(row.error_consistency)} | {_rank(row)} |"
        for row in found.rows
    ]
    by_accuracy = sorted(found.rows, key=lambda row: -row.ood_accuracy if row.ood_accuracy == row.ood_accuracy else 1)
    accuracy = [
        f"| {_cell(row.observer)} | {_number(row.ood_accuracy)} | {_number(row.ood_accuracy_ci95[0])} to"
        f" {_number(row.ood_accuracy_ci95[1])} | {'' if row.ranks is None else f'{row.ranks.ood_accuracy:g}'} |"
        for row in by_accuracy
    ]
    notes = [f"- {note}" for note in found.notes]
    return "\n".join(
        [
            f"## {name} sets",
            "",
            f"Means {found.coverage}: {', '.join(found.sets)}. Ranks are among the networks here.",
            "",
            "### Most human-like behavior",
            "",
            "| observer | accuracy difference (squared) | observed consistency | error consistency | mean rank |",
            "|---|---|---|---|---|",
            *human,
            "",
            "### Highest out-of-distribution accuracy",
            "",
            "| observer | OOD accuracy | 95 % interval | rank |",
            "|---|---|---|---|",
            *accuracy,
            *(["", *notes] if notes else []),
            "",
        ]
    )


def print_benchmark(groups: Mapping[str, Benchmark], measured: Sequence[MeasuredSet]) -> None:
    """Print the table over all sets, or where nothing entered it, the accuracies set by set; and what is missing."""
    found = groups.get("all")
    if found is not None and found.rows and found.sets:
        width = max(len(row.observer) for row in found.rows)
        print(f"\nmeans {found.coverage}: {', '.join(found.sets)}")
        print(f"{'observer':<{width}}  OOD accuracy  accuracy diff.  observed cons.  error cons.  mean rank")
        for row in found.rows:
            print(
                f"{row.observer:<{width}}  {_number(row.ood_accuracy):>12}  {_number(row.accuracy_difference, 4):>14}"
                f"  {_number(row.observed_consistency):>14}  {_number(row.error_consistency):>11}  {_rank(row):>9}"
            )
        for note in found.notes:
            print(f"note: {note}")
    own = [one for one in measured if found is None or one.name not in found.sets]
    for one in own:
        print(f"\n{one.name}:")
        for result in one.overall:
            print(f"  {result.observer:<32} accuracy {_number(result.accuracy)} on {result.n} trials")


def _rank(row: BenchmarkRow) -> str:
    return "" if row.ranks is None or math.isnan(row.ranks.mean) else f"{row.ranks.mean:.3g}"


def _number(value: float, digits: int = 3) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _csv(value: float) -> float | str:
    return "" if math.isnan(value) else value


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
