"""The job behind `evaluate.py ood`: out-of-distribution sets and the human benchmark, at any sparsity.

Source: Geirhos et al., "Partial success in closing the gap between human and machine vision" (2021), and its code,
model-vs-human. `observers.benchmark` says what is averaged over what, and where we differ. Ours is the keep fraction as
an axis: does Top-K make a network more accurate, or more human?
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sparseshape_jax.errors import InputError
from sparseshape_jax.evaluation.benchmark_tables import print_benchmark, write_benchmark
from sparseshape_jax.evaluation.classifiers import Classifier, build_classifiers, require_imagenet
from sparseshape_jax.evaluation.config import OodConfig
from sparseshape_jax.evaluation.decoded import Decoded
from sparseshape_jax.evaluation.recorded import record_decisions
from sparseshape_jax.figures import ood as figures
from sparseshape_jax.observers.benchmark import Benchmark, benchmark, benchmark_groups, measure_sets
from sparseshape_jax.observers.decisions import decide
from sparseshape_jax.observers.experiments import PUBLISHED_SETS
from sparseshape_jax.observers.records import Records, parse_observer_name, read_folders
from sparseshape_jax.observers.set_results import MeasuredSet, accuracy_interval
from sparseshape_jax.results import Results, Row
from sparseshape_jax.stimuli.experiment_folder import ExperimentFolder, sets_in
from sparseshape_jax.stimuli.official import official_set

SETS = tuple(PUBLISHED_SETS.values())


def run(config: OodConfig) -> list[Row]:
    """Measure, write everything to `config.out`, print the benchmark, and return this run's rows.

    A row is one observer on one set, or (with `condition`) in one of its conditions: observer, set, condition, n,
    accuracy, accuracy_ci95, accuracy_difference (squared), observed_consistency and error_consistency with humans, and
    of networks measured here what they are (model, fraction, keep, top_k, weights) and where their records are. The
    means over a group of sets are rows with the group's name in place of the set's (all, parametric, nonparametric),
    and with sets, how many entered.

    Raises:
        InputError: bad sets, model, weights, records or output folder.
    """
    others = _others(config)
    folders = _folders(config)
    classifiers = build_classifiers(config) if folders else []
    results = Results(config.out, "evaluate ood", config, identity=("observer", "set", "condition"))
    if config.categories is not None:
        return _own_categories(config, folders, classifiers, results)
    if classifiers:
        require_imagenet(classifiers[0])
    records, skipped = _record(config, folders, classifiers, results)
    ours = {(one.observer, one.dataset) for one in records}
    records += [one for one in others if (one.observer, one.dataset) not in ours]
    measured = measure_sets(records, SETS, seed=config.seed)
    groups = {
        name: benchmark(measured, group, seed=config.seed)
        for name, group in benchmark_groups([one for one in SETS if _asked(config, one.name)]).items()
        if group
    }
    results.add_all([*_rows(measured, results), *_means(groups, results)])
    write_benchmark(results.folder, groups)
    drawn = figures.draw(results.figures, measured, groups["all"])
    if config.confusion:
        drawn += figures.draw_confusion(results.figures, measured)
    rows = results.finish(drawn, skipped=skipped, flat=_flat)
    print_benchmark(groups, measured)
    print(f"\nrecords, results, benchmark and figures are in {config.out}")
    return rows


def _asked(config: OodConfig, name: str) -> bool:
    return config.sets is None or name in config.sets


def _others(config: OodConfig) -> list[Records]:
    """The records of other observers on the sets that were asked for.

    Raises:
        InputError: there are none of a set, and no images of it are to be measured.
    """
    read = read_folders(config.records) if config.records else []
    there = dict.fromkeys(one.dataset for one in read)
    if config.data is None and not config.download:
        for name in config.sets or ():
            if name not in there:
                raise InputError(f"there are no records of the set {name}; there are those of {', '.join(there)}")
    return [one for one in read if _asked(config, one.dataset)]


def _folders(config: OodConfig) -> dict[str, Path]:
    """The folder of each set to measure a network on.

    Raises:
        InputError: a set that was asked for is not there.
    """
    root = None if config.data is None else Path(config.data)
    there = {} if root is None else {name: root / name for name in sets_in(root)}
    wanted = config.sets if config.sets is not None else tuple(PUBLISHED_SETS) if config.download else tuple(there)
    found = {}
    for name in wanted:
        if name in there:
            found[name] = there[name]
        elif config.download and name in PUBLISHED_SETS:
            found[name] = official_set(name, option=f"--data DIR with a folder {name}")
        elif root is not None:
            raise InputError(
                f"there is no set {name} in {root}; it has {', '.join(there)}. Published sets come with --download"
            )
    return {name: found[name] for name in (*PUBLISHED_SETS, *found) if name in found}


def _record(
    config: OodConfig, folders: Mapping[str, Path], classifiers: Sequence[Classifier], results: Results
) -> tuple[list[Records], list[str]]:
    """The records of every classifier on every set, and the stimuli that could not be decoded. One set at a time."""
    records: list[Records] = []
    skipped: list[str] = []
    for name, folder in folders.items():
        stimuli = ExperimentFolder(folder)
        decoded = Decoded(stimuli, classifiers[0].preprocessing, config.batch_size, skip_bad=config.skip_bad)
        skipped += decoded.skipped
        records += record_decisions(
            classifiers, stimuli, decoded, results, config.compute_dtype, _whole_set, dataset=name
        )
    return records, skipped


def _whole_set(_: Classifier, records: Records) -> dict[str, Any]:
    return {"set": records.dataset, "condition": None}


def _rows(measured: Sequence[MeasuredSet], results: Results) -> Iterator[tuple[Row, str | None]]:
    """All rows: for each set its observers, and for each of these the conditions."""
    known = {(row["observer"], row["set"]): row for row in _measured_here(results)}
    for one in measured:
        overall = {result.observer: result for result in one.overall}
        names = dict.fromkeys(result.observer for result in one.by_condition)
        for name in names:
            own = known.get((name, one.name), {})
            model, fraction, keep = parse_observer_name(name)
            labels = {"model": model, "fraction": fraction, "keep": keep} | own
            facts = _plain(overall[name]) if name in overall else {}
            yield {"observer": name, "set": one.name, "condition": None, **labels, **facts}, own.get("fingerprint")
            for result in one.by_condition:
                if result.observer == name:
                    entry = {"observer": name, "set": one.name, "condition": result.condition}
                    short = {key: labels.get(key) for key in ("model", "fraction", "keep")}
                    yield entry | short | _plain(result) | {"condition": result.condition}, None


def _measured_here(results: Results) -> list[Row]:
    """The rows of whole sets of networks that were measured in this folder."""
    return [row for row in results.asked if row["condition"] is None]


def _means(groups: Mapping[str, Benchmark], results: Results) -> Iterator[tuple[Row, str | None]]:
    """The benchmark's means over each group of sets."""
    known = {row["observer"]: (row["model"], row["fraction"], row["keep"]) for row in _measured_here(results)}
    for name, found in groups.items():
        for row in found.rows:
            model, fraction, keep = known.get(row.observer) or parse_observer_name(row.observer)
            yield (
                {
                    "observer": row.observer,
                    "set": name,
                    "condition": None,
                    "model": model,
                    "fraction": fraction,
                    "keep": keep,
                    "sets": len(found.sets),
                    "n": row.n,
                    "accuracy": row.ood_accuracy,
                    "accuracy_ci95": list(row.ood_accuracy_ci95),
                    "accuracy_difference": row.accuracy_difference,
                    "observed_consistency": row.observed_consistency,
                    "error_consistency": row.error_consistency,
                },
                None,
            )


def _plain(result: Any) -> dict[str, Any]:
    facts = asdict(result)
    facts.pop("dataset")
    facts.pop("observer")
    return {name: list(value) if isinstance(value, tuple) else value for name, value in facts.items()}


def _flat(row: Row) -> dict[str, Any]:
    """A row as a line of summary.csv, with the interval in two columns."""
    low, high = row.get("accuracy_ci95") or (None, None)
    hidden = ("top_k", "weights", "records_sha256", "accuracy_ci95")
    line = {name: value for name, value in row.items() if name not in hidden}
    return {name: _empty(value) for name, value in line.items()} | {
        "accuracy_ci95_low": _empty(low),
        "accuracy_ci95_high": _empty(high),
    }


def _empty(value: Any) -> Any:
    return "" if value is None or value != value else value


def _own_categories(
    config: OodConfig, folders: Mapping[str, Path], classifiers: Sequence[Classifier], results: Results
) -> list[Row]:
    """Accuracy on sets with other categories than the 16, by condition."""
    assert config.categories is not None
    categories = _read_categories(Path(config.categories), classifiers[0].num_classes)
    names = list(categories)
    for name, folder in folders.items():
        stimuli = ExperimentFolder(folder, names)
        decoded = Decoded(stimuli, classifiers[0].preprocessing, config.batch_size, skip_bad=config.skip_bad)
        truth = np.array([names.index(stimuli.categories[index]) for index in decoded.shown])
        conditions = np.array([stimuli.conditions[index] for index in decoded.shown])
        for classifier in classifiers:
            right = decide(decoded.logits(classifier.logits, lambda _: None), categories) == truth
            for condition in (None, *dict.fromkeys(conditions.tolist())):
                here = right if condition is None else right[conditions == condition]
                row = {"observer": classifier.name + classifier.suffix, "set": name, "condition": condition}
                interval = list(accuracy_interval(int(here.sum()), len(here), config.seed))
                facts = {"n": len(here), "accuracy": float(here.mean()), "accuracy_ci95": interval}
                results.add({**row, **classifier.entries(), **facts}, None)
    rows = results.finish(flat=_flat)
    width = max(len(row["set"]) for row in rows)
    print(f"\n{'set':<{width}}  {'condition':<12}  {'model':<24}  kept   accuracy  images")
    for row in rows:
        condition = "all" if row["condition"] is None else row["condition"]
        print(f"{row['set']:<{width}}  {condition:<12}  {row['model']:<24}  {row['fraction']:<5.4g}", end="")
        print(f"  {row['accuracy']:8.3f}  {row['n']:6}")
    print(f"\nresults are in {config.out}")
    return rows


def _read_categories(path: Path, classes: int) -> dict[str, list[int]]:
    """Categories and the positions of their classes among the logits.

    Raises:
        InputError: no such file, or anything but a mapping from names to lists of positions.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"there is no file {path}; give a YAML file of categories with --categories") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read as YAML ({str(error).splitlines()[0]})") from None
    valid = isinstance(found, dict) and len(found) > 1
    if valid:
        for indices in found.values():
            listed = isinstance(indices, list) and indices and all(isinstance(index, int) for index in indices)
            valid = valid and bool(listed) and all(0 <= index < classes for index in indices)
    if not valid:
        raise InputError(
            f"{path} must map at least two categories to lists of class positions from 0 to {classes - 1},"
            " such as {dog: [151, 152], cat: [281]}"
        )
    return {str(name): indices for name, indices in found.items()}
