"""The tables of docs/frequency.md, from what configs/frequency/natural.sh and synthetic.sh leave.

    python configs/frequency/tables.py natural results/frequency/natural
    python configs/frequency/tables.py synthetic results/frequency/synthetic

Numbers are means over classes, then over seeds, with the range over seeds.
"""

import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sparseshape_jax.frequency import groups
from sparseshape_jax.stimuli import frequency

KINDS = {"dense": "dense", "topk": "Top-K 20 %"}


def natural(folder: Path) -> None:
    """Rates with each share of the frequencies next to those of random masks, and how far maps agree."""
    rows = json.loads((folder / "compare" / "results.json").read_text())["rows"]
    with (folder / "compare" / "pairs.csv").open(newline="") as file:
        pairs = list(csv.DictReader(file))
    print("| | share | TPR | random | FPR | random | IoU of halves | IoU of seeds | by chance |")
    print("|---|---|---|---|---|---|---|---|---|")
    for share in dict.fromkeys(row["share"] for row in rows):
        for kind, title in KINDS.items():
            own = [row for row in rows if row["share"] == share and row["run"].startswith(kind)]
            cells = [_over_seeds(own, name) for name in ("tpr", "control_tpr", "fpr", "control_fpr", "half_iou")]
            same = [
                pair
                for pair in pairs
                if float(pair["share"]) == share and pair["first"].startswith(kind) and pair["second"].startswith(kind)
            ]
            by_pair: dict[tuple[str, str], list[float]] = {}
            for pair in same:
                by_pair.setdefault((pair["first"], pair["second"]), []).append(float(pair["iou"]))
            cells.append(_with_range([float(np.mean(values)) for values in by_pair.values()]))
            cells.append(_with_range([float(np.mean([float(pair["chance_iou"]) for pair in same]))] if same else []))
            print(f"| {title} | {100 * share:g} % | {' | '.join(cells)} |")
    print()
    for kind, title in KINDS.items():
        own = [row for row in rows if row["run"].startswith(kind)]
        whole = _over_seeds(own, "tpr_unfiltered")
        within = _over_seeds(own, "half_rank_correlation")
        between: dict[tuple[str, str], list[float]] = {}
        for pair in pairs:
            if pair["first"].startswith(kind) and pair["second"].startswith(kind):
                between.setdefault((pair["first"], pair["second"]), []).append(float(pair["rank_correlation"]))
        seeds = _with_range([float(np.mean(values)) for values in between.values()])
        print(f"{title}: accuracy {whole}; rank correlation of maps, halves {within}, seeds {seeds}")


def synthetic(folder: Path) -> None:
    """Accuracy without the planted band and with it alone, and the rank of the planted frequency in the maps."""
    print("| | | c0, c1: whole | without b | only b | c2, c3: whole | without b | only b | ranks |")
    print("|---|---|---|---|---|---|---|---|---|")
    first = total = 0
    for band in range(1, 5):
        for kind, title in KINDS.items():
            runs = sorted(folder.glob(f"syn_{band}_{kind}_?"))
            rows = [
                {**row, "run": run.name}
                for run in runs
                if (run / "bands" / "results.json").is_file()
                for row in json.loads((run / "bands" / "results.json").read_text())["rows"]
                if row["band"] == band
            ]
            cells = [
                _over_seeds([row for row in rows if row["class"] in classes], name)
                for classes in (("c0", "c1"), ("c2", "c3"))
                for name in ("accuracy", "accuracy_without", "accuracy_alone")
            ]
            ranks = [
                rank(run / "dfm", band, label)
                for run in runs
                if (run / "dfm" / "maps.npz").is_file()
                for label in (0, 1)
            ]
            first, total = first + ranks.count(1), total + len(ranks)
            print(f"| Syn_{band} | {title} | {' | '.join(cells)} | {', '.join(map(str, ranks)) or '-'} |")
    print(f"\nthe planted frequency is the first of its class in {first} of {total} maps")


def rank(dfm: Path, band: int, label: int) -> int:
    """The place of the planted frequency among the groups of a class's map, 1 if no loss is higher."""
    with np.load(dfm / "maps.npz", allow_pickle=False) as maps:
        loss, patch = maps["loss"][label], int(maps["patch"])
    size = len(loss)
    planted = frequency.planted(band, label, size)
    assert planted is not None
    own = groups(size, patch).of
    values = np.array([loss[own == group].mean() for group in range(own.max() + 1)])
    return 1 + int(np.sum(values > values[own[planted[0] + size // 2, planted[1] + size // 2]]))


def _over_seeds(rows: Iterable[Mapping[str, Any]], name: str) -> str:
    """The mean of an entry over the classes of each run, over runs, with the range."""
    runs: dict[str, list[float]] = {}
    for row in rows:
        if row[name] is not None:
            runs.setdefault(row["run"], []).append(row[name])
    return _with_range([float(np.mean(values)) for values in runs.values()])


def _with_range(values: Sequence[float]) -> str:
    if not values:
        return "-"
    texts = [f"{value:.2f}".replace("0.", ".", 1) for value in (np.mean(values), min(values), max(values))]
    return texts[0] if len(values) == 1 else f"{texts[0]} ({texts[1]} to {texts[2]})"


if __name__ == "__main__":
    {"natural": natural, "synthetic": synthetic}[sys.argv[1]](Path(sys.argv[2]))
