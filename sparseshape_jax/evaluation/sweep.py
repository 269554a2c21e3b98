"""The job behind `evaluate.py sweep`: accuracy and shape bias of one network over placements × fractions of Top-K.

Source: the ablations of Li et al. (2023): where Top-K should be placed, and that different categories favor different
sparsity.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from sparseshape_jax.errors import InputError
from sparseshape_jax.evaluation.classifiers import load_network, open_for, require_imagenet
from sparseshape_jax.evaluation.config import SweepConfig, merged
from sparseshape_jax.evaluation.decoded import Decoded, Progress
from sparseshape_jax.evaluation.metrics import Tally, shape_bias_entries
from sparseshape_jax.figures import heat_maps
from sparseshape_jax.models.registry import architecture_of
from sparseshape_jax.observers.records import Records
from sparseshape_jax.observers.scores import score
from sparseshape_jax.predictor import Logits, Predictor
from sparseshape_jax.results import Results, Row, fingerprint, single_values
from sparseshape_jax.stimuli.cue_conflict import CueConflict
from sparseshape_jax.top_k.placement import merge_placement, place
from sparseshape_jax.weights.load import Loaded

DENSE = "dense"
"""The placement of the first row, which is the network without Top-K."""


class Metric(Protocol):
    """What is measured in every cell of the sweep."""

    decoded: Decoded
    fingerprint: str
    """Of the images and what is known of them."""

    def __call__(self, logits: Logits, progress: Progress) -> dict[str, Any]:
        """The entries of a cell's row."""


class AccuracyMetric:
    """Accuracy on labeled images: the entries n, loss, top1, top5, per_class."""

    def __init__(self, source: str, config: SweepConfig, loaded: Loaded) -> None:
        images = open_for(loaded, source)
        self.labels, self.classes = images.labels, images.classes
        self.decoded = Decoded(images, loaded.preprocessing, config.batch_size, skip_bad=config.skip_bad)
        self.fingerprint = self.decoded.fingerprint([self.classes[label] for label in self.labels])

    def __call__(self, logits: Logits, progress: Progress) -> dict[str, Any]:
        tally = Tally(self.classes)
        tally.add(self.decoded.logits(logits, progress), self.labels[self.decoded.shown])
        return tally.row()


class ShapeBiasMetric:
    """Shape bias on cue-conflict stimuli: the entries of `shape_bias_entries`."""

    def __init__(self, source: str, config: SweepConfig, loaded: Loaded) -> None:
        require_imagenet(loaded)
        self.stimuli = CueConflict(Path(source))
        self.decoded = Decoded(self.stimuli, loaded.preprocessing, config.batch_size, skip_bad=config.skip_bad)
        self.fingerprint = self.decoded.fingerprint([self.stimuli.key(index) for index in range(len(self.stimuli))])

    def __call__(self, logits: Logits, progress: Progress) -> dict[str, Any]:
        records = Records(
            observer="",
            images=tuple(self.stimuli.paths[index].name for index in self.decoded.shown),
            categories=tuple(self.stimuli.categories[index] for index in self.decoded.shown),
            responses=self.decoded.decisions(logits, progress),
        )
        return shape_bias_entries(score(records))


def run(config: SweepConfig) -> list[Row]:
    """Measure, write everything to `config.out`, print the table, and return this run's rows of results.json.

    The first row is the network without Top-K (placement "dense", fraction 1), then come the placements, each with all
    fractions. A row has model, placement, fraction, keep and top_k; with `data` n, loss, top1, top5 and per_class; with
    `stimuli` n_stimuli, shape, texture, shape_bias, cue_accuracy and by_category.

    Raises:
        InputError: bad data, stimuli, model, weights, placements or output folder. Nothing is written then.
    """
    if config.model is not None and ":" in config.model:
        raise InputError(f"--model {config.model} has no named activations; a sweep needs a network of the catalog")
    loaded = load_network(config)
    cells = _cells(config, loaded)
    predictor = Predictor(loaded.network, loaded.preprocessing)
    functions = [predictor.logits(at) for _, at in cells]  # compiled when called
    metrics: list[Metric] = []
    if config.stimuli is not None:
        metrics.append(ShapeBiasMetric(config.stimuli, config, loaded))
    if config.data is not None:
        metrics.append(AccuracyMetric(config.data, config, loaded))
    provenance = {
        "model": loaded.name,
        "weights": loaded.sha256,
        "preprocessing": repr(loaded.preprocessing),
        "compute_dtype": config.compute_dtype,
        "images": [metric.fingerprint for metric in metrics],
    }
    results = Results(config.out, "evaluate sweep", config, identity=("model", "placement", "fraction", "keep"))
    images = sum(len(metric.decoded) for metric in metrics)
    with tqdm(total=images * len(cells), unit="image", smoothing=0.1) as progress:
        for (cell, _), logits in zip(cells, functions, strict=True):
            found = fingerprint({**provenance, "placement": cell["placement"], "top_k": cell["top_k"]})
            if results.done(found):
                progress.update(images)
                continue
            progress.set_description(f"{cell['placement']} {cell['fraction']:g}")
            row = dict(cell)
            for metric in metrics:
                row |= metric(logits, progress.update)
            results.add(row, found)
    skipped = [name for metric in metrics for name in metric.decoded.skipped]
    drawn = heat_maps.draw(results.figures, results.asked, loaded.name)
    rows = results.finish(drawn, skipped=skipped, flat=_flat)
    _print_table(rows)
    if skipped:
        print(f"{len(skipped)} images could not be decoded and were left out: {', '.join(skipped)}")
    print(f"\nresults and figures are in {config.out}")
    return rows


def _cells(config: SweepConfig, loaded: Loaded) -> list[tuple[Row, dict[str, Any]]]:
    """For each cell what its row says of it, and what is placed; the dense network first."""
    dense = {"model": loaded.name, "placement": DENSE, "fraction": 1.0, "keep": "all", "top_k": []}
    cells: list[tuple[Row, dict[str, Any]]] = [(dense, {})]
    for placement in placements_of(config, loaded):
        settings = config.settings_at(placement.split("+"), merged(loaded.top_k))
        for fraction in config.fractions:
            at = place([replace(spec, fraction=fraction) for spec in settings], loaded.network)
            top_k = [spec.to_config() for spec in merge_placement(at)]
            row = {"model": loaded.name, "placement": placement, "fraction": fraction, "keep": settings[0].keep}
            cells.append((row | {"top_k": top_k}, dict(at)))
    return cells


def _flat(row: Row) -> Mapping[str, Any]:
    """A row with a column for each class and category."""
    return (
        single_values(row)
        | {f"top1_{name}": value for name, value in row.get("per_class", {}).items()}
        | {f"shape_bias_{name}": counts["shape_bias"] for name, counts in row.get("by_category", {}).items()}
    )


def _print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print one line per cell: shape bias never without the cue accuracy next to it."""
    columns = [name for name in ("top1", "top5", "shape_bias", "cue_accuracy") if name in rows[0]]
    width = max(len(row["placement"]) for row in rows)
    print(f"\n{'placement':<{width}}  keep " + "".join(f"{name.replace('_', ' '):>14}" for name in columns))
    for row in rows:
        values = ("-" if row[name] is None else f"{row[name]:.3f}" for name in columns)
        print(f"{row['placement']:<{width}}  {row['fraction']:<5.4g}" + "".join(f"{value:>14}" for value in values))


def placements_of(config: SweepConfig, loaded: Loaded) -> tuple[str, ...]:
    """The placements of the sweep, their activations in the network's order, each once.

    Raises:
        InputError: an unknown activation, no placement, or none asked for and no preset for the architecture.
    """
    network = loaded.network
    asked = config.placements
    if asked is None:
        preset = architecture_of(network).top_k_after
        asked = (*preset, "+".join(preset)) if preset else ()
        if trained := place(loaded.top_k, network):
            asked += ("+".join(trained),)
        if not asked:
            raise InputError(
                f"there is no Top-K preset for {network.architecture}; name activations with --placements, among"
                f" {', '.join(network.names)}"
            )
    found: dict[str, None] = {}
    for placement in asked:
        names = placement.split("+")
        network.check_names(names)
        found["+".join(name for name in network.names if name in names)] = None
    if not found:
        raise InputError("placements is empty; give activations: --placements pool1 pool1+pool2")
    return tuple(found)
