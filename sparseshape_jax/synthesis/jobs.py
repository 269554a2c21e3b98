"""The jobs behind `synthesize.py`: from settings to tasks, images and results.

Each image is a row with the fingerprint of all that decides it. A rerun skips images that it would make again and
resumes an unfinished batch from its last saved state. Results of other runs in the same folder stay, with their rows.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from sparseshape_jax import output
from sparseshape_jax.data.decoding import read_image
from sparseshape_jax.errors import InputError
from sparseshape_jax.figures import grid, losses
from sparseshape_jax.models import Network, architecture, architectures
from sparseshape_jax.models.registry import architecture_of
from sparseshape_jax.results import Results, Row, fingerprint
from sparseshape_jax.synthesis import state
from sparseshape_jax.synthesis.batch import Batch
from sparseshape_jax.synthesis.config import (
    DEFAULT_MODEL,
    FigureConfig,
    Kind,
    ReconstructConfig,
    SynthesisConfig,
    TextureConfig,
)
from sparseshape_jax.synthesis.cue_conflict.config import CueConflictConfig
from sparseshape_jax.synthesis.objective import Objective, terms_for
from sparseshape_jax.synthesis.optimize.lbfgs import lbfgs
from sparseshape_jax.synthesis.optimize.minimize import adam
from sparseshape_jax.synthesis.pixels import Parameterization
from sparseshape_jax.synthesis.runner import Runner
from sparseshape_jax.synthesis.targets import match_histogram, read_pixels, read_targets
from sparseshape_jax.synthesis.task import SynthesisTask, batches, shared_top_k
from sparseshape_jax.top_k.options import Keep
from sparseshape_jax.top_k.placement import merge_placement, place
from sparseshape_jax.weights.catalog import CATALOG
from sparseshape_jax.weights.load import Loaded, load, stored_architecture

PANELS: dict[Keep, str] = {"all": "all activations", "top": "Top-K ({:g} %)", "rest": "non-Top-K ({:g} %)"}
"""What the figure's textures and reconstructions keep, from left to right, and how they are titled."""


AnyConfig = TextureConfig | ReconstructConfig | FigureConfig


def texture(config: TextureConfig) -> list[Row]:
    """Synthesize a texture of every image and seed; see `TextureConfig`. Returns the rows of its images (`make`)."""
    return _one_kind(config, "texture", job="texture")


def reconstruct(config: ReconstructConfig) -> list[Row]:
    """Reconstruct every image, for every seed; see `ReconstructConfig`. Returns the rows of its images (`make`)."""
    return _one_kind(config, "reconstruction", job="reconstruct")


def _one_kind(config: TextureConfig | ReconstructConfig, kind: Kind, job: str) -> list[Row]:
    tasks = [
        SynthesisTask(name, pixels, kind, config.topk, seed, config.steps, config.octaves_for(kind))
        for name, pixels in read_targets(config.images, config.size, outside=Path(config.out))
        for seed in config.seeds
    ]
    return _finish(make(tasks, config, job))


def figure(config: FigureConfig) -> list[Row]:
    """Draw the figure, one row per image and seed; see `FigureConfig`. Returns the rows of its images (`make`)."""
    steps: dict[Kind, int] = {"texture": config.texture_steps, "reconstruction": config.reconstruction_steps}
    panels = [
        [
            SynthesisTask(name, pixels, kind, replace(config.topk, keep=keep), seed, count, config.octaves_for(kind))
            for kind, count in steps.items()
            for keep in PANELS
        ]
        for name, pixels in read_targets(config.images, config.size, outside=Path(config.out))
        for seed in config.seeds
    ]
    tasks = [task for row in panels for task in row]
    results = make(tasks, config, "figure")
    images = [[row[0].target, *(np.asarray(read_image(results.folder / task.file)) for task in row)] for row in panels]
    titles = [f"{kind}\n{title.format(100 * config.topk.fraction)}" for kind in steps for title in PANELS.values()]
    drawn = grid.draw(results.figures, images, ["original", *titles])
    rows = _finish(results, drawn)
    print(f"the figure is {drawn[0]}")
    return rows


def make(tasks: Sequence[SynthesisTask], config: AnyConfig, job: str) -> Results:
    """Make every task's image in `config.out`, with a row of results.json for each.

    A row has image, objective, fraction, keep, top_k, seed, file, `losses` (one per evaluation, in the reference's
    units), evaluations, iterations, seconds, status and fingerprint.

    Raises:
        InputError: bad settings, weights or output folder. Nothing is written then.
    """
    loaded = load_network(config)
    layers = layers_to_match(loaded.network, config.layers)
    terms = {task.kind: terms_for(task.kind, layers, config.layer_weights) for task in tasks}
    start_image = read_pixels(Path(config.start_image), config.size) if config.start_image else None
    _check_sizes(tasks, loaded.network, layers)
    _check_proportions(tasks, config.start_image, start_image)
    tasks = [replace(task, begin=config.start if start_image is None else start_image) for task in tasks]

    results = Results(config.out, f"synthesize {job}", config, identity=("file",))
    for row in results.rows:
        if not (results.folder / row.get("file", "")).is_file():
            results.forget(row)
    common = _provenance(config, loaded, start_image)
    prints = {
        task.file: fingerprint({**common, **task.provenance, "terms": [asdict(term) for term in terms[task.kind]]})
        for task in tasks
    }
    missing = [task for task in tasks if results.done(prints[task.file]) is None]
    runners: dict[Objective, Runner] = {}
    with tqdm(total=sum(task.evaluations for task in tasks), unit="evaluation", smoothing=0.05) as progress:
        progress.update(sum(task.evaluations for task in tasks if task not in missing))
        for batch in batches(missing, config.batch_size):
            progress.set_description(f"{batch[0].kind} of {', '.join(dict.fromkeys(task.name for task in batch))}")
            objective = Objective(terms[batch[0].kind], shared_top_k(batch))
            if objective not in runners:
                runners[objective] = _runner(config, loaded, objective)
            state_file = results.state_file(*(prints[task.file] for task in batch))
            made = Batch(batch, runners[objective], config.snapshots).make(results.folder, state_file, progress)
            rows = []
            for task, (image, account) in zip(batch, made, strict=True):
                if config.match_histogram and np.isfinite(image).all():
                    image = match_histogram(image, task.target)
                output.write_image(results.folder / task.file, image)
                top_k = merge_placement(place(replace(task.top_k, after=tuple(dict.fromkeys(layers))), loaded.network))
                row = {**task.entries, "top_k": [spec.to_config() for spec in top_k], **account}
                rows.append((row, prints[task.file]))
            results.add_all(rows)
            state.delete(state_file)
    for task in tasks:
        results.done(prints[task.file])  # brings the rows into the order of the tasks
    return results


def _finish(results: Results, drawn: Sequence[Path] = ()) -> list[Row]:
    """Draw the losses, close the run and say what was made."""
    curves = {Path(row["file"]).stem: row["losses"] for row in results.asked}
    rows = results.finish([*drawn, *losses.draw(results.figures, curves)])
    for row in rows:
        if row["status"] not in ("budget", "converged"):
            print(f"{row['file']}: {row['status']} after {row['evaluations']} evaluations; the best point was kept")
    print(f"{len(rows)} images, their losses and the settings are in {results.folder}")
    return rows


def load_network(config: SynthesisConfig | CueConflictConfig) -> Loaded:
    """The trunk of the network whose activations are matched, with the pools that its architecture is matched with.

    Raises:
        InputError: an unknown model, or weights that cannot be read.
    """
    model = config.model or (stored_architecture(config.weights) if config.weights else None) or DEFAULT_MODEL
    name = CATALOG[model].architecture if model in CATALOG else model
    pooling = config.pooling or (architecture(name).pooling if name in architectures() else None)
    return load(model, weights=config.weights, trunk_only=True, **({"pooling": pooling} if pooling else {}))


def layers_to_match(network: Network, layers: Sequence[str] | None) -> tuple[str, ...]:
    """The activations asked for, or those that the architecture is matched at by default.

    Raises:
        InputError: an unknown activation, or an architecture without a default.
    """
    if layers is not None:
        network.check_names(layers)
        return tuple(layers)
    names = architecture_of(network).match
    if not names:
        raise InputError(
            f"no layers to match are known for {network.architecture};"
            f" name some with --layers, among {', '.join(network.names)}"
        )
    return names


def _runner(config: SynthesisConfig, loaded: Loaded, objective: Objective) -> Runner:
    return Runner(
        loaded.network,
        loaded.preprocessing,
        objective,
        Parameterization(config.bounds, config.whitening),
        lbfgs(history=config.history) if config.optimizer == "lbfgs" else adam(),
        smoothness=config.total_variation,
    )


def _provenance(
    config: SynthesisConfig, loaded: Loaded, start_image: Float[np.ndarray, "h w 3"] | None
) -> dict[str, Any]:
    """What decides every result, apart from its task and terms."""
    settings = ("pooling", "start", "bounds", "whitening", "total_variation", "optimizer", "history", "match_histogram")
    return {
        "weights": loaded.sha256,
        "preprocessing": asdict(loaded.preprocessing),
        "start image": None if start_image is None else hashlib.sha256(start_image.tobytes()).hexdigest(),
        **{name: getattr(config, name) for name in settings},
    }


def _check_sizes(tasks: Sequence[SynthesisTask], network: Network, layers: Sequence[str]) -> None:
    """Raise `InputError` if a target is too small for the layers at its smallest octave."""
    for (height, width, _), octaves in {(task.target.shape, task.octaves) for task in tasks}:
        factor = 2 ** (octaves - 1)
        smallest = jax.ShapeDtypeStruct((1, height // factor, width // factor, 3), jnp.float32)
        jax.eval_shape(lambda images: network.activations(images, layers), smallest)


def _check_proportions(tasks: Sequence[SynthesisTask], name: str | None, start: np.ndarray | None) -> None:
    """Raise `InputError` if the image to start from has other proportions than a target."""
    if start is not None and any(task.target.shape != start.shape for task in tasks):
        raise InputError(f"{name} has other proportions than an image to match")
