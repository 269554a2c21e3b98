"""The job behind `evaluate.py frequency compare`: runs of dfm next to each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from sparseshape_jax import output
from sparseshape_jax.errors import InputError
from sparseshape_jax.evaluation.frequency.config import CompareConfig
from sparseshape_jax.evaluation.frequency.dfm import JOB as DFM
from sparseshape_jax.evaluation.frequency.dfm import rank_correlation
from sparseshape_jax.evaluation.frequency.filtered_test import JOB as TEST
from sparseshape_jax.evaluation.frequency.maps_file import Maps, plain_row, read_maps
from sparseshape_jax.figures import frequency_rates as figures
from sparseshape_jax.frequency import intersection_over_union
from sparseshape_jax.results import Results, Row, read_results

JOB = "evaluate frequency compare"
FROM_DFM = ("kept_share", "energy_share", "mean_radius", "half_iou", "half_rank_correlation", "expected_misses")
FROM_TEST = ("tpr", "fpr", "tpr_unfiltered", "fpr_unfiltered", "control_tpr", "control_fpr", "chosen_on")


@dataclass(frozen=True)
class Run:
    """One run of dfm, and its test if there is one."""

    name: str
    maps: Maps
    dfm: dict[tuple[str, float], dict[str, Any]]
    test: dict[tuple[str, float], dict[str, Any]]


def run(config: CompareConfig) -> list[Row]:
    """Compare, write pairs.csv, the table and the figure to `config.out`, print, and return this run's rows.

    A row is one run, class and share, with what dfm and test say of it. A line of pairs.csv is two runs, a class and
    a share: iou (of the masks), chance_iou (of random masks that keep as many), recall (the share of the first mask
    that is in the second: of a screened run next to an exhaustive one, what the screen has found) and rank_correlation
    (Spearman's, of the maps, over what is known of both).

    Raises:
        InputError: a folder without a finished run of dfm, or runs without a common class, share and size.
    """
    runs = [_read(Path(folder)) for folder in config.runs]
    names = [one.name for one in runs]
    if len(set(names)) < len(names):
        runs = [Run(folder, one.maps, one.dfm, one.test) for folder, one in zip(config.runs, runs, strict=True)]
    sizes = {one.maps.loss.shape[-1] for one in runs}
    if len(sizes) > 1:
        raise InputError(f"the runs are of images of {sorted(sizes)} pixels; compare runs of one size")
    classes = [name for name in runs[0].maps.classes.tolist() if all(name in one.maps.classes for one in runs)]
    shares = [share for share in runs[0].maps.shares.tolist() if all(share in one.maps.shares for one in runs)]
    if not classes or not shares:
        raise InputError("the runs have no class, or no share, in common; compare runs on the same classes and --top")
    results = Results(config.out, JOB, config, identity=("run", "class", "share"))
    rows = []
    for one in runs:
        for name in classes:
            for share in shares:
                row = {"run": one.name, "network": one.maps.network, "class": name, "share": share}
                found = one.dfm.get((name, share), {})
                tested = one.test.get((name, share), {})
                row |= {key: found.get(key) for key in FROM_DFM} | {key: tested.get(key) for key in FROM_TEST}
                rows.append((plain_row(row), None))
    results.add_all(rows)
    pairs = [
        plain_row(_pair(one, other, name, share))
        for one, other in combinations(runs, 2)
        for name in classes
        for share in shares
    ]
    if pairs:
        output.write_csv(results.folder / "pairs.csv", list(pairs[0]), pairs)
    drawn = figures.draw_compare(results.figures, results.asked, pairs, [one.name for one in runs], shares)
    made = results.finish(drawn)
    _print(made, pairs, runs, shares, len(classes))
    print(f"\nresults, pairs.csv and the figure are in {config.out}")
    return made


def _read(folder: Path) -> Run:
    own = folder / "dfm" if (folder / "dfm").is_dir() else folder
    maps = read_maps(own)
    test = read_results(folder / "test")
    return Run(
        folder.name,
        maps,
        _by_class_and_share(read_results(own), DFM),
        _by_class_and_share(test, TEST) if own is not folder else {},
    )


def _by_class_and_share(found: dict[str, Any], job: str) -> dict[tuple[str, float], dict[str, Any]]:
    return {(row["class"], row["share"]): row for row in found["rows"]} if found.get("job") == job else {}


def _pair(one: Run, other: Run, name: str, share: float) -> dict[str, Any]:
    first, second = (run.maps.masks[_at(run, name)][run.maps.shares.tolist().index(share)] > 0 for run in (one, other))
    maps = [run.maps.loss[_at(run, name)].ravel() for run in (one, other)]
    p, q = first.mean(), second.mean()
    return {
        "first": one.name,
        "second": other.name,
        "class": name,
        "share": share,
        "iou": intersection_over_union(first, second),
        "chance_iou": p * q / (p + q - p * q),
        "recall": (first & second).sum() / first.sum(),
        "rank_correlation": rank_correlation(*maps),
    }


def _at(run: Run, name: str) -> int:
    return run.maps.classes.tolist().index(name)


def _print(
    rows: Sequence[Row], pairs: Sequence[dict[str, Any]], runs: Sequence[Run], shares: Sequence[float], classes: int
) -> None:
    width = max(16, *(len(one.name) for one in runs)) if len(runs) > 1 else 16
    print(f"\nmeans over {classes} classes")
    print(f"{'run':<{width}} {'share':>6}  kept  energy  radius  half IoU    TPR random    FPR random")
    for one in runs:
        for share in shares:
            own = [row for row in rows if row["run"] == one.name and row["share"] == share]
            columns = ("kept_share", "energy_share", "mean_radius", "half_iou", "tpr", "control_tpr", "fpr")
            values = [_mean([row[key] for row in own]) for key in (*columns, "control_fpr")]
            places = zip((6, 8, 8, 10, 7, 7, 7, 7), (3, 3, 1, 2, 2, 2, 2, 2), values, strict=True)
            line = "".join(f"{'-':>{n}}" if value is None else f"{value:>{n}.{d}f}" for n, d, value in places)
            print(f"{one.name:<{width}} {share:>6.3g}{line}")
    if pairs:
        print(f"\n{'first':<{width}} {'second':<{width}} {'share':>6}   IoU  chance  recall  rank r")
    for first, second in combinations(runs, 2):
        for share in shares:
            own = [p for p in pairs if (p["first"], p["second"], p["share"]) == (first.name, second.name, share)]
            means = [_mean([p[key] for p in own]) for key in ("iou", "chance_iou", "recall", "rank_correlation")]
            line = "".join("       -" if value is None else f"{value:>8.2f}" for value in means)
            print(f"{first.name:<{width}} {second.name:<{width}} {share:>6.3g}{line[2:]}")


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
