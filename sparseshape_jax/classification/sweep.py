"""The job behind `evaluate.py sweep`: accuracy and shape bias of one network over placements × fractions of Top-K.

Source: the ablations of Li et al. (2023): where Top-K should be placed, and that different categories favour different
sparsity.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparseshape_jax import output
from sparseshape_jax.classification.config import Network
from sparseshape_jax.errors import InputError
from sparseshape_jax.placement import PRESETS, TopK, place

if TYPE_CHECKING:
    from sparseshape_jax.weights.load import Loaded

DENSE = "dense"
"""The placement of the first row, which is the network without Top-K."""


@dataclass(frozen=True)
class Sweep(Network):
    """Measure accuracy and shape bias over placements and fractions of Top-K, as heat maps."""

    data: str | None = None
    """Folder of labelled images to measure accuracy on, laid out as for evaluate.py accuracy. All images are kept in
    memory (150 kB each at 224×224), so rather a sample of ImageNet than all of it."""
    stimuli: str | None = None
    """Folder of cue-conflict stimuli, <shape>/<shape>N-<texture>M.png, to measure shape bias on; needs a network for
    ImageNet."""
    placements: tuple[str, ...] | None = None
    """Activations to place Top-K after, together if joined by +: --placements layer2 layer1+layer2. Default: each one
    of the architecture's preset, all of them together, and the placement that the weights were trained with."""
    fractions: tuple[float, ...] = (0.5, 0.3, 0.2, 0.1, 0.05)
    """Keep fractions, below 1; the network without Top-K is always measured, too."""
    skip_bad: bool = False
    """Leave out images that cannot be decoded, and say so at the end, instead of stopping."""
    out: str = "results/sweep"
    """Folder for summary.json, summary.csv, the figures and config.yaml. A run that was stopped goes on from there."""

    def __post_init__(self) -> None:
        if self.topk.after is not None or self.topk.keep == "all" or self.topk.blend == 0:
            raise InputError("a sweep needs a Top-K that changes something, and placements in place of topk.after")
        if not self.fractions or len(set(self.fractions)) < len(self.fractions) or max(self.fractions) >= 1:
            raise InputError(
                f"fractions are {list(self.fractions)}; give some below 1, each once: --fractions [0.2,0.1]"
            )
        for fraction in self.fractions:
            replace(self.topk, fraction=fraction)  # refuses what is no fraction


@dataclass(frozen=True)
class _Cell:
    """One place in the table."""

    placement: str
    spec: TopK | None
    """None for the network without Top-K."""
    facts: Mapping[str, Any]
    """All that decides its row, but for the spec."""

    @property
    def fraction(self) -> float:
        return self.spec.fraction if self.spec else 1.0

    @property
    def fingerprint(self) -> str:
        facts = {**self.facts, "top_k": self.spec and self.spec.to_config()}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def run(config: Sweep) -> list[dict[str, Any]]:
    """Measure, write everything to `config.out`, print the table, and return summary.json's rows.

    The first row is the network without Top-K (placement "dense", fraction 1), then come the placements, each with all
    fractions. A row has placement and fraction; with `data` n, top1, top5 and per_class; with `stimuli` n_stimuli,
    shape, texture, shape_bias, cue_accuracy and by_category; and the fingerprint, by which a rerun knows what is done.

    Raises:
        InputError: bad data, stimuli, model, weights, placements or output folder. Nothing is written then.
    """
    from tqdm import tqdm

    from sparseshape_jax.classification import heat_maps
    from sparseshape_jax.classification.classifier import load_network
    from sparseshape_jax.classification.measure import Programs, measures

    if config.data is None and config.stimuli is None:
        raise InputError("nothing to measure on; give --data DIR (accuracy), --stimuli DIR (shape bias), or both")
    if config.model is not None and ":" in config.model:
        raise InputError(f"--model {config.model} has no named activations; a sweep needs a network of the catalogue")
    loaded = load_network(config)
    common, programs = config.common(loaded.top_k), Programs(loaded)
    specs: list[tuple[str, TopK | None]] = [(DENSE, None)]
    for placement in placements_of(config, loaded):
        at = replace(common, after=tuple(placement.split("+")))
        specs += [(placement, replace(at, fraction=fraction)) for fraction in config.fractions]
    functions = [programs.logits(spec) for _, spec in specs]  # compiled when called
    wanted = measures(config, loaded)
    facts = {
        "weights": loaded.sha256,
        "preprocessing": asdict(loaded.preprocessing),
        "compute_dtype": config.compute_dtype,
        "images": [measure.fingerprint for measure in wanted],
        "versions": {package: version(package) for package in ("sparseshape-jax", "jax", "flax")},
    }
    cells = [_Cell(placement, spec, facts) for placement, spec in specs]
    folder = output.prepare_folder(config.out)
    output.write_config(folder / "config.yaml", config)
    done = _done(folder / "summary.json", cells)
    images = sum(measure.count for measure in wanted)
    with tqdm(total=images * len(cells), unit="image", smoothing=0.1) as progress:
        for cell, logits in zip(cells, functions, strict=True):
            if cell.fingerprint in done:
                progress.update(images)
                continue
            progress.set_description(f"{cell.placement} {cell.fraction:g}")
            row: dict[str, Any] = {"placement": cell.placement, "fraction": cell.fraction}
            for measure in wanted:
                row |= measure(logits, progress.update)
            done[cell.fingerprint] = {**row, "fingerprint": cell.fingerprint}
            output.write_json(folder / "summary.json", _in_order(done, cells))
    rows = _in_order(done, cells)
    output.write_json(folder / "summary.json", rows)
    _write_csv(folder / "summary.csv", rows)
    drawn = heat_maps.draw(folder / "figures", rows, loaded.name)
    ours = {path for name in ("accuracy*", "shape-bias*") for path in (folder / "figures").glob(name)}
    for stale in ours - set(drawn):
        stale.unlink()
    _print_table(rows)
    for measure in wanted:
        if measure.skipped:
            names = ", ".join(measure.skipped)
            print(f"{len(measure.skipped)} {measure.what} could not be decoded and were left out: {names}")
    print(f"\nsummary and figures are in {config.out}")
    return rows


def _done(path: Path, cells: Sequence[_Cell]) -> dict[str, dict[str, Any]]:
    """The rows that an earlier run in the same folder completed for some of the cells, by fingerprint."""
    rows = output.read_json(path)
    known = {row.get("fingerprint"): row for row in rows if isinstance(row, dict)} if isinstance(rows, list) else {}
    return {cell.fingerprint: known[cell.fingerprint] for cell in cells if cell.fingerprint in known}


def _in_order(done: Mapping[str, dict[str, Any]], cells: Sequence[_Cell]) -> list[dict[str, Any]]:
    return [done[cell.fingerprint] for cell in cells if cell.fingerprint in done]


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """The rows, with a column for each class and category."""
    flat = [
        {key: value for key, value in row.items() if key not in ("per_class", "by_category", "fingerprint")}
        | {f"top1_{name}": value for name, value in row.get("per_class", {}).items()}
        | {f"shape_bias_{name}": counts["shape_bias"] for name, counts in row.get("by_category", {}).items()}
        for row in rows
    ]
    output.write_csv(path, list(flat[0]), flat)


def _print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print one line per cell: shape bias never without the cue accuracy beside it."""
    columns = [name for name in ("top1", "top5", "shape_bias", "cue_accuracy") if name in rows[0]]
    width = max(len(row["placement"]) for row in rows)
    print(f"\n{'placement':<{width}}  keep " + "".join(f"{name.replace('_', ' '):>14}" for name in columns))
    for row in rows:
        values = ("-" if row[name] is None else f"{row[name]:.3f}" for name in columns)
        print(f"{row['placement']:<{width}}  {row['fraction']:<5.4g}" + "".join(f"{value:>14}" for value in values))


def placements_of(config: Sweep, loaded: "Loaded") -> tuple[str, ...]:
    """The placements of the sweep, their activations in the network's order, each once."""
    network = loaded.model
    asked = config.placements
    if asked is None:
        preset = PRESETS[network.architecture]
        asked = (*preset, "+".join(preset))
        if loaded.top_k:
            asked += ("+".join(place(loaded.top_k, network)),)
    found: dict[str, None] = {}
    for placement in asked:
        names = placement.split("+")
        network.check_names(names)
        found["+".join(name for name in network.names if name in names)] = None
    found.pop("", None)  # weights that were trained with a Top-K that changes nothing
    if not found:
        raise InputError("placements is empty; give activations: --placements pool1 pool1+pool2")
    return tuple(found)
