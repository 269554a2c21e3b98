"""The job behind `evaluate.py local-global`: what networks lose with global shape, with texture, and with patches.

Source: Büttner's thesis (2020). We depart from its notebooks in that images are normalized as the weights want it,
every set starts from the same intact images, changed images are never compressed, and an image's variants are averaged
before anything is tested. What the thesis calls accuracy is `probability` here, the mean probability of the true class;
`accuracy` is top-1.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from tqdm import tqdm

from sparseshape_jax import output
from sparseshape_jax.data.images import LabeledImages, seed_of
from sparseshape_jax.data.sample import sample_classes
from sparseshape_jax.errors import InputError
from sparseshape_jax.evaluation import local_global_analysis as analysis
from sparseshape_jax.evaluation.classifiers import Classifier, build_classifiers, open_for
from sparseshape_jax.evaluation.conditions import (
    MEASURES,
    Condition,
    Seen,
    list_conditions,
    make_conditions,
    read_pictures,
    write_pictures,
)
from sparseshape_jax.evaluation.decoded import Decoded
from sparseshape_jax.evaluation.local_global_config import LocalGlobalConfig
from sparseshape_jax.evaluation.observer_names import observer_name
from sparseshape_jax.evaluation.paired_tests import FEWEST
from sparseshape_jax.figures import local_global as figures
from sparseshape_jax.results import Results, Row, fingerprint, read_results
from sparseshape_jax.stimuli.edges import require_opencv

JOB = "evaluate local-global"
PICTURES = "pictures.csv"
SAVED_EVERY = 10.0
"""Seconds between saved states."""
DRAWN = 2
"""Images that are drawn in every condition."""


def run(config: LocalGlobalConfig) -> list[Row]:
    """Measure, write the tables and figures to `config.out`, print the table, and return this run's rows.

    There is one row per observer (a network at one sparsity): observer, model, fraction, keep, top_k, data, n, images
    (their fingerprint), probability of the true class and accuracy on intact images, the mean probability in each
    condition over its variants (such as probability_scrambled_56), and skipped.

    Raises:
        InputError: bad data, model, weights, sizes or output folder, fewer than three images, or another job's or other
            images' results under `beside`. Nothing is written then.
    """
    if config.smoothing == "bilateral":
        require_opencv()
    classifiers = build_classifiers(config)
    conditions = list_conditions(config, classifiers[0].preprocessing.crop)
    every = open_for(classifiers[0], config.data)
    images = sample_classes(every, config.per_class, config.seed, count=config.count)
    decoded = Decoded(images, classifiers[0].preprocessing, config.batch_size, skip_bad=config.skip_bad)
    if len(decoded) < FEWEST:
        raise InputError(f"{config.data} has {len(decoded)} images to show; tests need at least {FEWEST}")
    pixels = decoded.fingerprint([f"{images.key(index)} {images.labels[index]}" for index in range(len(images))])
    beside = [seen for folder in config.beside for seen in _read_beside(Path(folder), pixels, conditions)]
    results = Results(config.out, JOB, config, identity=("observer", "data"))
    prints = [_fingerprint(config, one, pixels, conditions) for one in classifiers]
    known = read_pictures(results.folder / PICTURES)
    names = [observer_name(classifier) for classifier in classifiers]
    done = [results.done(found) is not None and name in known for name, found in zip(names, prints, strict=True)]
    missing = [index for index, one in enumerate(done) if not one]
    if missing:
        state = results.state_file(*(prints[index] for index in missing))
        resumable = all(prints[index] is not None for index in missing)
        values = _measure(
            [classifiers[index] for index in missing], images, decoded, conditions, config, state if resumable else None
        )
        for index, own in zip(missing, values, strict=True):
            labels = [str(images.labels[position]) for position in decoded.shown]
            keys = [images.key(position) for position in decoded.shown]
            known[names[index]] = Seen(names[index], tuple(keys), tuple(labels), conditions, own)
        write_pictures(results.folder / PICTURES, list(known.values()))
        for index in missing:
            results.add(_row(config, classifiers[index], known[names[index]], pixels, decoded.skipped), prints[index])
        state.unlink(missing_ok=True)
    observers = _with_beside([known[name] for name in names], beside)
    curves, interaction = analysis.curves(observers, config.seed), analysis.interaction(observers)
    tables = {"curves": curves, "tests": analysis.tests(observers, config.seed), "interaction": interaction}
    for name, lines in tables.items():
        columns = dict.fromkeys(column for line in lines for column in line)
        output.write_csv(results.folder / f"{name}.csv", list(columns), lines)
    effects = {
        seen.observer: {size: analysis.patch_effects(seen, size) for size in analysis.patch_sizes(seen)}
        for seen in observers
    }
    sheets = _sheets(config, decoded, images, conditions)
    rows = results.finish(figures.draw(results.figures, curves, interaction, effects, sheets), skipped=decoded.skipped)
    _print_table(observers, curves, interaction)
    print(f"\nresults and figures are in {config.out}")
    return rows


def _fingerprint(
    config: LocalGlobalConfig, classifier: Classifier, pixels: str, conditions: Sequence[Condition]
) -> str | None:
    provenance = classifier.provenance(config.compute_dtype)
    if provenance is None:
        return None
    listed = [(found.set, found.size, found.variant) for found in conditions]
    facts = {"conditions": listed, "color": config.color, "smoothing": config.smoothing, "seed": config.seed}
    return fingerprint({**provenance, "data": config.data, "images": pixels, **facts})


def _row(
    config: LocalGlobalConfig, classifier: Classifier, seen: Seen, pixels: str, skipped: Sequence[str]
) -> dict[str, Any]:
    probability = seen.probability().mean(axis=0)
    intact = {"probability": float(probability[0]), "accuracy": float(seen.correct[:, 0].mean())}
    changed = {
        f"probability_{name}_{size}": float(probability[seen.columns(name, size)].mean())
        for name, size in dict.fromkeys((found.set, found.size) for found in seen.conditions[1:])
    }
    entries = {"observer": seen.observer, **classifier.entries(), "data": config.data, "n": len(seen.pictures)}
    return {**entries, "images": pixels, **intact, **changed, "skipped": list(skipped)}


def _measure(
    classifiers: Sequence[Classifier],
    images: LabeledImages,
    decoded: Decoded,
    conditions: Sequence[Condition],
    config: LocalGlobalConfig,
    state: Path | None,
) -> Float[np.ndarray, "observers pictures conditions 5"]:
    """Show every image in every condition to every classifier, from where `state` says that an earlier run was."""
    values = np.zeros((len(classifiers), len(decoded), len(conditions), len(MEASURES)), np.float32)
    start = 0
    if state is not None and state.is_file():
        with np.load(state, allow_pickle=False) as file:
            values, start = file["values"], int(file["done"])
    saved, finished = time.monotonic(), start

    def save() -> None:
        if state is not None:
            with output.replacing(state) as temporary:
                np.savez(temporary, values=values, done=finished)

    pixels = decoded.pixels
    try:
        with tqdm(total=len(decoded), initial=start, unit="image", smoothing=0.1) as progress:
            for row in range(start, len(decoded)):
                index = decoded.shown[row]
                shown = make_conditions(pixels[row], conditions, config, seed_of(images, index, config.seed))
                for own, classifier in zip(values, classifiers, strict=True):
                    own[row] = _values(classifier, shown, int(images.labels[index]), config.batch_size)
                finished = row + 1
                progress.update()
                if time.monotonic() - saved > SAVED_EVERY:
                    save()
                    saved = time.monotonic()
    except KeyboardInterrupt:
        save()
        raise
    return values


def _values(
    classifier: Classifier, shown: UInt8[np.ndarray, "n h w 3"], label: int, batch_size: int
) -> Float[np.ndarray, "n 5"]:
    """The MEASURES of some images with the same label, in batches of one size, so that nothing is compiled twice."""
    found = []
    for start in range(0, len(shown), batch_size):
        batch = shown[start : start + batch_size]
        padded = np.zeros((batch_size, *shown.shape[1:]), np.uint8)
        padded[: len(batch)] = batch
        found.append(classifier.logits(padded)[: len(batch)])
    logits = np.concatenate(found).astype(np.float64)
    if not np.isfinite(logits).all():
        raise InputError(f"{classifier.name} returned logits that are not finite numbers")
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    predicted = logits.argmax(axis=1)
    rows = np.arange(len(logits))
    columns = (logits[:, label], probabilities[:, label], predicted, logits[rows, predicted])
    return np.stack([*columns, probabilities[rows, predicted]], axis=1).astype(np.float32)


def _read_beside(folder: Path, pixels: str, conditions: Sequence[Condition]) -> list[Seen]:
    """The observers of an earlier run on the same images."""
    stored = read_results(folder)
    if stored.get("job") != JOB:
        raise InputError(f"{folder} does not hold results of {JOB}; give another folder with --beside")
    if any(row.get("images") != pixels for row in stored["rows"]):
        raise InputError(f"{folder} was measured on other images; give a run on the same ones with --beside")
    found = read_pictures(folder / PICTURES)
    seen = [found[row["observer"]] for row in stored["rows"] if row.get("observer") in found]
    for one in seen:
        if lacking := [condition for condition in conditions if condition not in one.conditions]:
            raise InputError(
                f"{one.observer} in {folder} has not seen {lacking[0].set} {lacking[0].size} {lacking[0].variant};"
                " run it with the same --sets, --blocks, --patches and --passes"
            )
    return seen


def _with_beside(own: Sequence[Seen], beside: Sequence[Seen]) -> list[Seen]:
    names = {seen.observer for seen in own}
    return [*own, *(seen for seen in beside if seen.observer not in names)]


def _sheets(
    config: LocalGlobalConfig, decoded: Decoded, images: LabeledImages, conditions: Sequence[Condition]
) -> list[list[tuple[tuple[str, int, str], UInt8[np.ndarray, "h w 3"]]]]:
    """The first images in every condition, of single patches in the first."""
    chosen = [found for found in conditions if not found.single or found.variant == "0"]
    first = decoded.batches[0]
    sheets = []
    for index, pixels in list(zip(first.indices.tolist(), first.images, strict=False))[:DRAWN]:
        made = make_conditions(pixels, chosen, config, seed_of(images, index, config.seed))
        sheets.append([((found.set, found.size, found.variant), one) for found, one in zip(chosen, made, strict=True)])
    return sheets


def _print_table(observers: Sequence[Seen], curves: analysis.Rows, interaction: analysis.Rows) -> None:
    """Print the mean probability of the true class, and accuracy, one line per level."""
    rows = {(row["observer"], row["set"], row["size"], row["kind"]): row for row in curves}
    width = max(14, *(len(seen.observer) for seen in observers))
    print("\nmean probability of the true class (accuracy)")
    print(f"{'':<24}" + "".join(f"  {seen.observer:>{width}}" for seen in observers))
    for level in analysis.levels(observers[0]):
        cells = [rows[(seen.observer, *level)] for seen in observers]
        name = f"{level[0]} {level[1]} {level[2]}".strip()
        shown = (f"{cell['probability']:.3f} ({cell['accuracy']:.3f})" for cell in cells)
        print(f"{name:<24}" + "".join(f"  {text:>{width}}" for text in shown))
    for row in interaction:
        if row["r"] is not None:
            size = f"{row['size']} px" if row["size"] != "" else "all sizes"
            print(f"patches of {size}: r {row['r']:.2f} ({row['observer']})")
