"""Where a batch of images is made: one network and one compiled program for each kind of batch, used again and again.

All images of a batch have the same size and objective; what their Top-K keeps may differ.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float
from PIL import Image
from tqdm import tqdm

from sparseshape_jax import output
from sparseshape_jax.errors import InputError
from sparseshape_jax.parallel import over_devices
from sparseshape_jax.placement import TopK
from sparseshape_jax.synthesis import objective, pictures, pixels
from sparseshape_jax.synthesis.job import DEFAULT_MODEL, Synthesis, read_pixels
from sparseshape_jax.synthesis.lbfgs import lbfgs
from sparseshape_jax.synthesis.minimise import Minimum, Run, adam, minimise
from sparseshape_jax.synthesis.objective import KEEPS, Kind
from sparseshape_jax.synthesis.pixels import Parameterisation
from sparseshape_jax.synthesis.state import State
from sparseshape_jax.weights.load import Loaded, load, stored_architecture

LAYERS = {
    "vgg": ("relu1_1", "pool1", "pool2", "pool3", "pool4"),
    "alexnet": ("relu1", "pool1", "pool2", "relu3", "relu4"),
    "resnet": ("relu1", "layer1", "layer2", "layer3"),
    "squeezenet": ("relu1", "pool1", "pool3", "pool5"),
}
"""Activations matched by default, by how the architecture's name begins; VGG's are the reference's."""

SAVED_EVERY = 25
"""Evaluations between saved states."""


@dataclass(frozen=True, eq=False)
class Task:
    """One image to make."""

    name: str
    target: Float[np.ndarray, "h w 3"]
    """In [0, 1]."""
    kind: Kind
    top_k: TopK
    seed: int
    steps: int
    """Evaluations, at each octave."""
    octaves: int = 1
    """Sizes to go through."""

    @property
    def stem(self) -> str:
        """The result's file name, without its ending."""
        return f"{self.name}_{self.kind}_{self.top_k.keep}-{self.top_k.fraction:g}_seed{self.seed}"

    @property
    def file(self) -> str:
        """The result's file name."""
        return f"{self.stem}.png"


@dataclass(frozen=True)
class Problem:
    """What a batch asks for at one octave."""

    kind: Kind
    top_k: TopK
    start: Float[Array, "n h w 3"]
    """First params."""
    per_image: dict[str, Any]
    """Arrays with the batch as leading axis: `targets` of the terms, `keep`, and the range of values `low`, `high`."""


class Workshop:
    """Makes batches of images as `config` says.

    Raises:
        InputError: unknown model or layer, weights that cannot be read, a bad starting image.
    """

    def __init__(self, config: Synthesis) -> None:
        self.config = config
        self.loaded = _load(config)
        network = self.loaded.model
        family = next((name for name in LAYERS if network.architecture.startswith(name)), "")
        self.layers = config.layers or LAYERS[family]
        network.check_names(self.layers)
        objective.terms_for("texture", self.layers, config.layer_weights)  # refuses bad weights
        self.graphdef, self.state = nnx.split(network)
        self.start = read_pixels(Path(config.start_image), config.size) if config.start_image else None
        self.parameterisation = Parameterisation(config.bounds, config.whitening)
        self.optimiser = lbfgs(history=config.history) if config.optimiser == "lbfgs" else adam()
        # The same function objects for the same kind of batch, so that a compiled program is found again.
        self._statistics = cache(self._statistics_of)
        self._losses = cache(self._losses_of)
        self._value_and_grad = cache(lambda kind, top_k: objective.per_image_value_and_grad(self._losses(kind, top_k)))

    @property
    def facts(self) -> dict[str, Any]:
        """What every result depends on, besides its task."""
        settings = ("pooling", "layer_weights", "start", "bounds", "whitening", "total_variation")
        return {
            "weights": self.loaded.sha256,
            "preprocessing": asdict(self.loaded.preprocessing),
            "layers": self.layers,
            "start image": None if self.start is None else hashlib.sha256(self.start.tobytes()).hexdigest(),
            **{name: getattr(self.config, name) for name in (*settings, "optimiser", "history", "match_histogram")},
        }

    def check(self, tasks: Iterable[Task]) -> None:
        """Raise `InputError` if targets are too small for the layers or unlike the starting image."""
        for (height, width, _), octaves in {(task.target.shape, task.octaves) for task in tasks}:
            factor = 2 ** (octaves - 1)
            smallest = jax.ShapeDtypeStruct((1, height // factor, width // factor, 3), jnp.float32)
            jax.eval_shape(lambda images: self.loaded.model.activations(images, self.layers), smallest)
            if self.start is not None and self.start.shape[:2] != (height, width):
                raise InputError(f"{self.config.start_image} has other proportions than an image to match")

    def make(
        self, tasks: Sequence[Task], folder: Path, state_file: Path, progress: "tqdm[Any]"
    ) -> list[dict[str, Any]]:
        """Make one batch's images in `folder`, going on from `state_file` if it is there; return their summary rows."""
        state = State.read(state_file, state_file.stem, len(tasks))
        progress.update(len(tasks) * state.evaluations)
        if self.config.snapshots and not state.evaluations:
            for stale in [file for task in tasks for file in _snapshots(folder, task).glob("*.png")]:
                stale.unlink()
        result: Minimum | None = None
        while state.octave < tasks[0].octaves:
            problem = self._problem(tasks, state)
            if state.scale is None:
                state.scale = self._scale(problem)
            result = self._minimise(problem, state, tasks, folder, state_file, progress)
            state.advance(result, self._images(result.params, problem))
        assert result is not None
        assert state.images is not None
        rows = []
        for index, (task, image) in enumerate(zip(tasks, state.images, strict=True)):
            if self.config.match_histogram and np.isfinite(image).all():
                image = pictures.match_histogram(image, task.target)
            write_png(folder / task.file, image)
            if self.config.snapshots:
                pictures.write_gif(_snapshots(folder, task), folder / f"{task.stem}.gif")
            losses = np.concatenate([part[index] for part in state.losses])
            rows.append(
                {
                    "image": task.name,
                    "objective": task.kind,
                    "fraction": task.top_k.fraction,
                    "keep": task.top_k.keep,
                    "seed": task.seed,
                    "file": task.file,
                    "losses": losses[np.isfinite(losses)].tolist(),
                    "evaluations": int(state.counts[0, index]),
                    "iterations": int(state.counts[1, index]),
                    "seconds": round(state.seconds / len(tasks), 3),
                    "status": result.status[index].name.lower().replace("_", "-"),
                }
            )
        return rows

    def _minimise(
        self,
        problem: Problem,
        state: State,
        tasks: Sequence[Task],
        folder: Path,
        state_file: Path,
        progress: "tqdm[Any]",
    ) -> Minimum:
        """Minimise at one octave, showing progress and saving the state now and then."""
        began, seen = time.monotonic() - state.seconds, state.evaluations
        before = sum(part.shape[1] for part in state.losses)

        def watch(done: int, run: Run) -> None:
            nonlocal seen
            progress.update(len(tasks) * (before + done - seen))
            seen = before + done
            best = np.mean(np.asarray(run.state.record.best_value))
            progress.set_postfix_str(f"loss {best:.4f} of the start's", refresh=False)
            state.seconds = time.monotonic() - began
            if done % SAVED_EVERY == 0:
                state.pause(run)
                state.write(state_file)
            if self.config.snapshots and done % self.config.snapshots == 0:
                for task, image in zip(tasks, self._images(run.state.record.best_params, problem), strict=True):
                    write_png(_snapshots(folder, task) / f"{state.octave}-{done:06}.png", image)

        # Few enough evaluations between calls that the bar moves and no snapshot is missed.
        usual = 5 if jax.default_backend() == "cpu" else SAVED_EVERY
        result = minimise(
            self._value_and_grad(problem.kind, problem.top_k),
            state.resumed(problem.start, self.optimiser),
            steps=tasks[0].steps,
            optimiser=self.optimiser,
            args=({**problem.per_image, "scale": state.scale},),
            callback=watch,
            every=int(np.gcd(usual, self.config.snapshots)) if self.config.snapshots else usual,
            jit=over_devices,
        )
        progress.update(len(tasks) * (before + tasks[0].steps - seen))  # all may have stopped early
        state.seconds = time.monotonic() - began
        return result

    def _problem(self, tasks: Sequence[Task], state: State) -> Problem:
        """What a batch asks for at the octave that `state` has come to."""
        factor = 2 ** (tasks[0].octaves - 1 - state.octave)
        targets = np.stack([pictures.shrink(task.target, factor) for task in tasks])
        shape = targets.shape[1:3]
        if state.images is not None:
            start = np.stack([pictures.resized(image, shape) for image in state.images])
        elif self.start is not None:
            start = np.stack([pictures.shrink(self.start, factor)] * len(tasks))
        else:
            start = np.stack([pixels.starting_image(shape, self.config.start, task.seed) for task in tasks])
        normalise = self.loaded.preprocessing.normalise
        normalised = normalise(jnp.asarray(targets))
        if self.config.bounds == "sigmoid":
            low, high = pixels.value_range(normalised)
        else:
            low, high = (normalise(jnp.full((len(tasks), 1, 1, 3), value)) for value in (0.0, 1.0))
        kind, top_k = tasks[0].kind, _shared_top_k(tasks)
        keep = jnp.asarray([KEEPS.index(task.top_k.keep) for task in tasks])
        wanted = self._statistics(kind, top_k)(self.state, normalised, keep)
        per_image = {"targets": wanted, "keep": keep, "low": low, "high": high}
        params = self.parameterisation.to_params(normalise(jnp.asarray(start)), low, high)
        return Problem(kind, top_k, params, per_image)

    def _network(self, state: Any) -> Any:
        return nnx.merge(self.graphdef, state, copy=True)

    def _statistics_of(self, kind: Kind, top_k: TopK) -> Callable[..., list[Array]]:
        """The compiled function from normalised images to what their terms want."""
        terms = objective.terms_for(kind, self.layers, self.config.layer_weights)
        return jax.jit(
            lambda state, images, keep: objective.target_statistics(self._network(state), images, terms, top_k, keep)
        )

    def _losses_of(self, kind: Kind, top_k: TopK) -> Callable[..., Float[Array, " n"]]:
        """The function from params to losses in units of each image's `scale`."""
        terms = objective.terms_for(kind, self.layers, self.config.layer_weights)
        smoothness = self.config.total_variation

        def losses(params: Array, per_image: dict[str, Any]) -> Array:
            images = self.parameterisation.to_normalised(params, per_image["low"], per_image["high"])
            # The weights are constants of the program: XLA then turns the kernels over for the backward pass once, when
            # compiling, and not at every evaluation, of which that is a seventh on a CPU.
            arguments = (self._network(self.state), images, per_image["targets"], terms, top_k, per_image["keep"])
            loss = jnp.sum(objective.term_losses(*arguments), axis=1) / per_image["scale"]
            if smoothness:
                loss += smoothness * objective.total_variation(self.loaded.preprocessing.denormalise(images))
            return loss

        return losses

    def _scale(self, problem: Problem) -> Float[np.ndarray, " n"]:
        """Each image's loss at its start, in the reference's units: what its losses are divided by."""
        per_image = {**problem.per_image, "scale": jnp.ones(len(problem.start))}
        first = np.asarray(jax.jit(self._losses(problem.kind, problem.top_k))(problem.start, per_image))
        return np.where(np.isfinite(first) & (first > 0), first, np.float32(1))

    def _images(self, params: Array, problem: Problem) -> Float[np.ndarray, "n h w 3"]:
        low, high = problem.per_image["low"], problem.per_image["high"]
        normalised = self.parameterisation.to_normalised(jnp.asarray(params), low, high)
        return np.clip(np.asarray(self.loaded.preprocessing.denormalise(normalised)), 0, 1)


def write_png(path: Path, image: Float[np.ndarray, "h w 3"]) -> None:
    """Write an image in [0, 1] with 8 bits a channel, all or nothing."""
    with output.replacing(path) as temporary:
        Image.fromarray(np.round(np.nan_to_num(image) * 255).astype(np.uint8)).save(temporary)


def _shared_top_k(tasks: Sequence[Task]) -> TopK:
    """What the Top-K of a batch have in common: everything but `keep`."""
    if all(task.top_k.keep == "all" for task in tasks):
        return TopK(1.0)  # spares the program masks that nobody needs
    first = tasks[0].top_k
    return TopK(first.fraction, scope=first.scope, method=first.method)


def _load(config: Synthesis) -> Loaded:
    model = config.model or (stored_architecture(config.weights) if config.weights else None) or DEFAULT_MODEL
    pooling = config.pooling or ("average" if model.startswith("vgg") else None)
    return load(model, weights=config.weights, trunk_only=True, **({"pooling": pooling} if pooling else {}))


def _snapshots(folder: Path, task: Task) -> Path:
    return folder / "snapshots" / task.stem
