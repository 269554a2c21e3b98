"""The job behind `synthesize.py cue-conflict`.

Source: Geirhos et al., "ImageNet-trained CNNs are biased towards texture" (2019) for the design of the set, Gatys et
al. (2016) for the objective. Their stimuli are dominated by the style; the shape survives since the optimization starts
from the photograph. Ours starts from the photograph in the texture's colors, and the losses are fractions of the
targets' norm.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from sparseshape_jax import output, parallel
from sparseshape_jax.data.decoding import read_image
from sparseshape_jax.downloads import sha256
from sparseshape_jax.errors import InputError
from sparseshape_jax.results import FINGERPRINT, Results, Row, fingerprint, read_results
from sparseshape_jax.synthesis import state
from sparseshape_jax.synthesis.batch import Batch
from sparseshape_jax.synthesis.cue_conflict.checks import Residuals, residuals
from sparseshape_jax.synthesis.cue_conflict.config import CueConflictConfig
from sparseshape_jax.synthesis.cue_conflict.inspection import inspect, say, write_sources
from sparseshape_jax.synthesis.cue_conflict.plan import FOLDER, Pair, make_plan
from sparseshape_jax.synthesis.cue_conflict.report import finish
from sparseshape_jax.synthesis.cue_conflict.task import CueConflictTask, at_side, sides
from sparseshape_jax.synthesis.jobs import load_network
from sparseshape_jax.synthesis.objective import Objective, nine_point_variation
from sparseshape_jax.synthesis.optimize.lbfgs import lbfgs
from sparseshape_jax.synthesis.pixels import Parameterization
from sparseshape_jax.synthesis.runner import Runner
from sparseshape_jax.synthesis.targets import resize_to
from sparseshape_jax.synthesis.transfer import ContentTerm, StyleTerm
from sparseshape_jax.top_k.spec import TopK
from sparseshape_jax.weights.load import Loaded

SHARDS = "shards"
"""The folder below `out` where each shard has its results."""
DECIDING = (
    *("size", "work_size", "scales_from", "pooling", "content_layer", "style_layers", "content_weight"),
    *("style_weights", "units", "statistics", "start", "steps", "bounds", "whitening", "total_variation", "history"),
)
"""Settings that decide a stimulus, next to its pictures and the network."""


def run(config: CueConflictConfig) -> list[Row]:
    """Make the stimuli of `config`; those that are there already are kept.

    Returns a row for each: file, shape, texture, content, style, residuals, finished, evaluations, iterations, status,
    and sha256, of the file.

    Raises:
        InputError: bad settings, pictures or weights, or a folder that holds a set made with other settings.
    """
    loaded = _load(config)
    inspected = inspect(config, loaded)
    pairs = make_plan(inspected.contents, inspected.styles, config)
    say(config, inspected, pairs)
    (number, parts), out = config.part, Path(config.out)
    prints = _prints(config, loaded, pairs)
    _refuse_other_settings(out, prints)
    output.prepare_folder(out)
    output.write_csv(out / "plan.csv", list(pairs[0].entries), [pair.entries for pair in pairs])
    write_sources(out, inspected)
    if config.dry_run:
        print(f"the plan is {out / 'plan.csv'}")
        return []

    where = out if parts == 1 else out / SHARDS / f"{number}-of-{parts}"
    results = Results(where, "synthesize cue-conflict", config, identity=("file",))
    for folder in (where, results.figures):  # no other process writes there
        _delete_partial(folder, "*")
    for row in results.rows:
        if not (out / row.get("file", "")).is_file():
            results.forget(row)
    if parts == 1:
        _collect(out, results, prints)
    own = pairs[number - 1 :: parts]
    _make(own, config, loaded, results, prints)
    for pair in own:
        results.done(prints[pair.file])  # brings the rows into the order of the plan
    return finish(config, results, own)


def _make(
    pairs: Sequence[Pair], config: CueConflictConfig, loaded: Loaded, results: Results, prints: Mapping[str, str]
) -> None:
    """Make the stimuli that are missing, with a row for each."""
    out = Path(config.out)
    missing = [pair for pair in pairs if results.done(prints[pair.file]) is None]
    objective, fractions = _objectives(config)
    runner, measure = _runner(config, loaded, objective), residuals(loaded, fractions)
    names = [f"{term.source} {term.activation}" for term in fractions.terms]
    evaluations = config.steps * len(sides(config))
    with tqdm(total=evaluations * len(pairs), unit="evaluation", smoothing=0.05) as progress:
        progress.update(evaluations * (len(pairs) - len(missing)))
        for batch in _batches(missing, config):
            progress.set_description(", ".join(pair.stem for pair in batch[:2]) + ("…" if len(batch) > 2 else ""))
            state_file = results.state_file(*(prints[pair.file] for pair in batch))
            made = Batch([CueConflictTask(pair, config) for pair in batch], runner).make(out, state_file, progress)
            for pair, (image, _) in zip(batch, made, strict=True):
                _write(out / pair.file, image, config.size)
            rows = []
            for pair, found, (_, account) in zip(batch, _measure(measure, batch, config), made, strict=True):
                row = {
                    **pair.entries,
                    "residuals": dict(zip(names, found.tolist(), strict=True)),
                    **{name: account[name] for name in ("evaluations", "iterations", "status")},
                    "sha256": sha256(out / pair.file),
                }
                rows.append((row, prints[pair.file]))
            results.add_all(rows)
            state.delete(state_file)


def _load(config: CueConflictConfig) -> Loaded:
    """The network, once it is sure that it has the layers and that the smallest pictures are large enough for them."""
    loaded = load_network(config)
    layers = (config.content_layer, *config.style_layers)
    if absent := [layer for layer in layers if layer not in loaded.network.names]:
        raise InputError(
            f"{loaded.network.architecture} has no activation called {', '.join(absent)}; choose others with"
            f" --content_layer and --style_layers, among {', '.join(loaded.network.names)}"
        )
    smallest = jax.ShapeDtypeStruct((1, sides(config)[0], sides(config)[0], 3), jnp.float32)
    jax.eval_shape(lambda images: loaded.network.activations(images, layers), smallest)
    return loaded


def _objectives(config: CueConflictConfig) -> tuple[Objective, Objective]:
    """What is minimized, and what is reported: fractions of the content and of Gram matrices, unweighted."""
    weights = config.style_weights or (1.0,) * len(config.style_layers)
    if config.units == "fraction":
        weights = tuple(weight / sum(weights) for weight in weights)
    content = ContentTerm(config.content_layer, config.content_weight, config.units)
    style = [
        StyleTerm(layer, weight, config.statistics, config.units)
        for layer, weight in zip(config.style_layers, weights, strict=True)
    ]
    fractions = [StyleTerm(layer) for layer in config.style_layers]
    dense = TopK(1.0)
    return Objective((content, *style), dense), Objective((ContentTerm(config.content_layer), *fractions), dense)


def _runner(config: CueConflictConfig, loaded: Loaded, objective: Objective) -> Runner:
    return Runner(
        loaded.network,
        loaded.preprocessing,
        objective,
        Parameterization(config.bounds, config.whitening),
        lbfgs(history=config.history),
        smoothness=config.total_variation,
        variation=nine_point_variation,
    )


def _batches(pairs: Sequence[Pair], config: CueConflictConfig) -> Iterator[Sequence[Pair]]:
    size = parallel.device_count() if parallel.on_cpu() else config.batch_size
    for first in range(0, len(pairs), size):
        yield pairs[first : first + size]


def _write(path: Path, image: np.ndarray, size: int) -> None:
    _delete_partial(path.parent, path.stem)
    output.write_image(path, image if len(image) == size else resize_to(image, (size, size)))


def _delete_partial(folder: Path, stem: str) -> None:
    """Delete what a run that was killed left half-written."""
    for file in folder.glob(f".{stem}.*.partial*"):
        file.unlink(missing_ok=True)


def _measure(measure: Residuals, batch: Sequence[Pair], config: CueConflictConfig) -> np.ndarray:
    """The residuals (N, terms) of stimuli as they are in their files."""
    stimuli = [np.asarray(read_image(Path(config.out) / pair.file)) for pair in batch]
    contents = [_as_stored(pair.content.pixels, config.size) for pair in batch]
    styles = [_as_stored(pair.style.pixels, config.size) for pair in batch]
    return measure(np.stack(stimuli), np.stack(contents), np.stack(styles))


def _as_stored(image: np.ndarray, size: int) -> np.ndarray:
    return np.round(at_side(image, size) * 255).astype(np.uint8)


def _prints(config: CueConflictConfig, loaded: Loaded, pairs: Sequence[Pair]) -> dict[str, str]:
    common = {
        "weights": loaded.sha256,
        "preprocessing": asdict(loaded.preprocessing),
        "seed": config.seed if config.start == "flat" else None,
        **{name: getattr(config, name) for name in DECIDING},
    }
    return {pair.file: fingerprint([common, pair.file, pair.content.sha256, pair.style.sha256]) for pair in pairs}


def _collect(out: Path, results: Results, prints: Mapping[str, str]) -> None:
    """Take over the rows of stimuli that shards have made."""
    wanted = set(prints.values())
    rows = [
        row
        for folder in sorted((out / SHARDS).glob("*"))
        for row in read_results(folder)["rows"]
        if row.get(FINGERPRINT) in wanted and results.done(row[FINGERPRINT]) is None and (out / row["file"]).is_file()
    ]
    if rows:
        results.add_all((row, row[FINGERPRINT]) for row in rows)


def _refuse_other_settings(out: Path, prints: Mapping[str, str]) -> None:
    """A set is made of one plan with one choice of settings, so that it can be judged as a whole."""
    folders = [out, *sorted((out / SHARDS).glob("*"))]
    others = [
        row for folder in folders for row in read_results(folder)["rows"] if row.get(FINGERPRINT) not in prints.values()
    ]
    strange = [path for path in (out / FOLDER).glob("*/*.png") if path.relative_to(out).as_posix() not in prints]
    if others or strange:
        raise InputError(
            f"{out} holds a set made of other pictures, or with other settings or software; give another --out"
        )
