"""The job behind `evaluate.py shape-bias`: show the stimuli to a network at several sparsities, count, compare, draw.

Source: Geirhos et al. (2019) for the measurement, Li et al. (2023, section 4.2) for Top-K in it. Each network's
decisions are written in model-vs-human's format, and those of people and other networks are read from it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparseshape_jax import output
from sparseshape_jax.evaluation.classifiers import Classifier, build_classifiers, require_imagenet
from sparseshape_jax.evaluation.config import ShapeBiasConfig
from sparseshape_jax.evaluation.decoded import Decoded
from sparseshape_jax.evaluation.recorded import record_decisions
from sparseshape_jax.figures import shape_bias as figures
from sparseshape_jax.observers import consistency
from sparseshape_jax.observers.decisions import decide
from sparseshape_jax.observers.records import CUE_CONFLICT, Records, read_folders
from sparseshape_jax.observers.scores import Score, flat_row, score
from sparseshape_jax.results import Results
from sparseshape_jax.stimuli.cue_conflict import MAKE_YOUR_OWN, CueConflict
from sparseshape_jax.stimuli.official import official_set


def run(config: ShapeBiasConfig) -> list[Score]:
    """Measure, write everything to `config.out`, print the table, and return the scores in its order.

    A row of results.json has observer and the entries of `Score.row`. Those of the networks that are measured here also
    have trained, top_k, weights, and where the records are: records (a path in the folder) and records_sha256.

    Raises:
        InputError: bad stimuli, model, weights, records or output folder. Nothing is written then.
    """
    others = read_folders(config.records) if config.records else []
    records_only = bool(config.records) and config.model is None and config.weights is None and config.stimuli is None
    measured: list[Records] = []
    skipped: list[str] = []
    scores: list[Score] = []
    if records_only:
        results = _results(config)
    else:
        stimuli = CueConflict(Path(config.stimuli) if config.stimuli is not None else _official())
        classifiers = build_classifiers(config)
        require_imagenet(classifiers[0])
        decoded = Decoded(stimuli, classifiers[0].preprocessing, config.batch_size, skip_bad=config.skip_bad)
        skipped = [stimuli.paths[index].name for index in decoded.bad]
        # A wrong output is refused before anything is written.
        decide(classifiers[0].logits(decoded.batches[0].images)[:1])
        results = _results(config)

        def counted(classifier: Classifier, records: Records) -> Score:
            return score(records, **_labels(classifier), seed=config.seed)

        measured = record_decisions(
            classifiers, stimuli, decoded, results, config.compute_dtype, lambda *found: counted(*found).row()
        )
        scores = [counted(*found) for found in zip(classifiers, measured, strict=True)]
    # Records of this very run may be among those to set next to it.
    names = {records.observer for records in measured}
    others = [records for records in others if records.observer not in names]
    for records in others:
        if records.dataset == CUE_CONFLICT:
            scores.append(score(records, seed=config.seed))
            results.add({"observer": records.observer, **scores[-1].row()}, None)
    observers = measured + others
    pairs = results.folder / "consistency.csv"
    if len(observers) > 1:
        output.write_csv(pairs, consistency.TABLE_COLUMNS, consistency.consistency_table(observers))
    else:
        pairs.unlink(missing_ok=True)
    results.finish(figures.draw(results.figures, scores), skipped=skipped, flat=flat_row)
    print_table(scores)
    if skipped:
        print(f"{len(skipped)} stimuli could not be decoded and were left out: {', '.join(skipped)}")
    print(f"\nrecords, results and figures are in {config.out}")
    return scores


def _official() -> Path:
    return official_set(CUE_CONFLICT, option=f"--stimuli DIR (unpacked); {MAKE_YOUR_OWN}")


def _results(config: ShapeBiasConfig) -> Results:
    return Results(config.out, "evaluate shape-bias", config, identity=("observer",))


def _labels(classifier: Classifier) -> dict[str, Any]:
    return {
        "model": classifier.name + classifier.suffix,
        "fraction": classifier.spec.fraction,
        "keep": classifier.spec.keep,
    }


def print_table(results: Sequence[Score]) -> None:
    """Print one line per observer: shape bias never without the cue accuracy next to it."""
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
