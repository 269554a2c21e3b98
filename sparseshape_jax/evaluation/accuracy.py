"""The job behind `evaluate.py accuracy`: top-1 and top-5 of a network at several sparsities."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from sparseshape_jax import output
from sparseshape_jax.data.images import LabeledImages
from sparseshape_jax.data.loader import Loader
from sparseshape_jax.errors import InputError
from sparseshape_jax.evaluation.classifiers import Classifier, build_classifiers, open_for
from sparseshape_jax.evaluation.config import AccuracyConfig
from sparseshape_jax.evaluation.metrics import Tally
from sparseshape_jax.results import FINGERPRINT, Results, Row, fingerprint

SAVED_EVERY = 30.0
"""Seconds between saved states."""


def run(config: AccuracyConfig) -> list[Row]:
    """Measure, write results.json, summary.csv and config.yaml to `config.out`, and print the table.

    Returns one row per sparsity: model, fraction, keep, trained, top_k, weights, data, n, loss (mean cross-entropy in
    nats), top1, top5 (both fractions of n; top5 is None up to five classes), per_class (top-1 of each class that has
    images), absent (classes that the weights name, without images) and skipped (images that cannot be decoded).

    Raises:
        InputError: bad data, model, weights or output folder. No results are written then.
    """
    classifiers = build_classifiers(config)
    images = open_for(classifiers[0], config.data)
    results = Results(config.out, "evaluate accuracy", config, identity=("model", "fraction", "keep", "data"))
    fingerprints = [_fingerprint(classifier, config, images.signature()) for classifier in classifiers]
    known = {row.get(FINGERPRINT) for row in results.rows} - {None}
    missing = [index for index, found in enumerate(fingerprints) if found not in known]
    new: dict[int, Row] = {}
    state_file = results.state_file(*(fingerprints[index] for index in missing))
    if missing:
        tallies, skipped = _tally([classifiers[index] for index in missing], images, config, state_file)
        for index, tally in zip(missing, tallies, strict=True):
            row = tally.row()
            # Nobody expects a sample of images to show all of ImageNet's classes.
            absent = sorted(set(images.classes) - set(row["per_class"])) if classifiers[index].classes else []
            entries = {"data": config.data, **row, "absent": absent, "skipped": skipped}
            new[index] = {**classifiers[index].entries(), **entries}
    for index, found in enumerate(fingerprints):
        if index in new:
            results.add(new[index], found)
        else:
            results.done(found)
    state_file.unlink(missing_ok=True)
    rows = results.finish(skipped=sorted({name for row in results.asked for name in row["skipped"]}))
    _print_table(config, rows, len(images.classes))
    return rows


def _fingerprint(classifier: Classifier, config: AccuracyConfig, data: str) -> str | None:
    """The fingerprint of all that decides a classifier's row; None if that cannot be known."""
    provenance = classifier.provenance(config.compute_dtype)
    return None if provenance is None else fingerprint({**provenance, "data": data, "skip_bad": config.skip_bad})


def _tally(
    classifiers: Sequence[Classifier], images: LabeledImages, config: AccuracyConfig, state_file: Path
) -> tuple[list[Tally], list[str]]:
    """Show every image to every classifier, starting where `state_file` says that an interrupted run stopped.

    Returns the tallies and the images that could not be decoded.
    """
    tallies = [Tally(images.classes) for _ in classifiers]
    resumable = all(classifier.loaded is not None for classifier in classifiers)
    start, bad = _read_state(state_file, tallies) if resumable else (0, {})
    loader = Loader(images, classifiers[0].preprocessing, config.batch_size, skip_bad=config.skip_bad, start=start)
    loader.bad |= bad
    labels = np.asarray(images.labels)
    saved = time.monotonic()
    with tqdm(total=len(images), initial=start, unit="image") as progress:
        for batch in loader:
            for classifier, tally in zip(classifiers, tallies, strict=True):
                tally.add(classifier.logits(batch.images)[: len(batch.indices)], labels[batch.indices])
            progress.update(len(batch.indices))
            if resumable and time.monotonic() - saved > SAVED_EVERY:
                _write_state(state_file, tallies, int(batch.indices[-1]) + 1, loader.bad)
                saved = time.monotonic()
    if len(loader.bad) == len(images):
        raise InputError(f"none of the {len(images)} images in {images.name} can be decoded")
    return tallies, [images.describe(index) for index in sorted(loader.bad)]


def _write_state(path: Path, tallies: Sequence[Tally], done: int, bad: dict[int, str]) -> None:
    """Save how far the tallies are: all images before `done` are in them, or in `bad`."""
    before = {index: message for index, message in bad.items() if index < done}
    with output.replacing(path) as temporary:
        np.savez(temporary, counts=np.stack([tally.counts for tally in tallies]), done=done, bad=json.dumps(before))


def _read_state(path: Path, tallies: Sequence[Tally]) -> tuple[int, dict[int, str]]:
    """Fill the tallies from a saved state, if there is one; returns how many images are done, and the bad ones."""
    if not path.is_file():
        return 0, {}
    with np.load(path, allow_pickle=False) as file:
        for tally, counts in zip(tallies, file["counts"], strict=True):
            tally.counts[...] = counts
        return int(file["done"]), {int(index): message for index, message in json.loads(str(file["bad"])).items()}


def _print_table(config: AccuracyConfig, rows: Sequence[Row], classes: int) -> None:
    print(f"\n{'model':<24}  keep           top-1   top-5  images")
    for row in rows:
        keep = f"{row['fraction']:.4g}" + (" rest" if row["keep"] == "rest" else "")
        keep += " trained" if row["trained"] else ""
        top5 = "-" if row["top5"] is None else f"{row['top5']:.3f}"
        print(f"{row['model']:<24}  {keep:<12}  {row['top1']:6.3f}  {top5:>6}  {row['n']:6}")
    if absent := rows[0]["absent"]:
        print(f"{len(absent)} of the {classes} classes have no image in {config.data}: {', '.join(absent)}")
    if skipped := rows[0]["skipped"]:
        print(f"{len(skipped)} images could not be decoded and were left out: {', '.join(skipped)}")
    print(f"\nresults are in {config.out}")
