"""Making a batch of images of one size: an objective on a network, compiled and minimized. Touches no files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float

from sparseshape_jax import parallel
from sparseshape_jax.models import Network
from sparseshape_jax.preprocessing import Preprocessing
from sparseshape_jax.synthesis import pixels
from sparseshape_jax.synthesis.objective import KEEPS, Objective, per_image_value_and_grad, total_variation
from sparseshape_jax.synthesis.optimize.minimize import Minimizer, Minimum, Run
from sparseshape_jax.synthesis.pixels import Parameterization
from sparseshape_jax.top_k.options import Keep


@dataclass(frozen=True)
class BatchProblem:
    """What is minimized for a batch of N images."""

    start: Float[Array, "n h w 3"]
    """First params."""
    per_image: dict[str, Any]
    """Arrays with the batch as leading axis: `targets` of the terms, `keep`, the range of normalized values from `low`
    to `high`, and `scale`, the unit of the losses."""

    @property
    def scale(self) -> Float[np.ndarray, " n"]:
        """Each image's loss at its start, in the reference's units; minimized losses are divided by it."""
        return self.per_image["scale"]


class Runner:
    """Minimizes one objective over batches of images of any size, split over this process's devices.

    Programs are compiled once for each batch shape. They hold the network's weights as constants, and are freed
    together with this object (with several devices, JAX's own cache of `pmap` keeps them until `jax.clear_caches()`).

    Args:
        network: in eval mode.
        preprocessing: how the network wants its pixels.
        objective: what images must match.
        parameterization: from the optimizer's params to pixels.
        optimizer: `lbfgs(...)` or `adam(...)`.
        smoothness: weight of `variation`, in units of the starting loss.
        variation: what is not smooth in RGB images (N, h, w, 3) in [0, 1].

    Raises:
        InputError: the objective names an activation that the network does not have.
    """

    def __init__(
        self,
        network: Network,
        preprocessing: Preprocessing,
        objective: Objective,
        parameterization: Parameterization,
        optimizer: optax.GradientTransformationExtraArgs,
        *,
        smoothness: float = 0.0,
        variation: Callable[[Float[Array, "n h w 3"]], Float[Array, " n"]] = total_variation,
    ) -> None:
        network.check_names(objective.activations)
        self.preprocessing, self.parameterization = preprocessing, parameterization
        graphdef, constants = nnx.split(network)
        self._state = parallel.place_shared(constants)

        # Functions of local names, not methods: JAX's caches then do not keep this object alive, nor it itself.
        def targets(state: Any, sources: dict[str, Array], keep: Array) -> list[Array]:
            return objective.targets(nnx.merge(graphdef, state, copy=True), sources, keep)

        def losses(params: Array, per_image: dict[str, Any]) -> Array:
            images = parameterization.to_normalized(params, per_image["low"], per_image["high"])
            # The weights are constants of the program: XLA then flips the kernels for the backward pass once, when
            # compiling. On a CPU, doing so at every evaluation would take a seventh of its time.
            constant = nnx.merge(graphdef, constants, copy=True)
            loss = objective.losses(constant, images, per_image["targets"], per_image["keep"]) / per_image["scale"]
            if smoothness:
                loss += smoothness * variation(preprocessing.denormalize(images))
            return loss

        value_and_grad = per_image_value_and_grad(losses)
        # Each device has as many images as in `run`: in a larger batch, targets would be rounded otherwise.
        self._targets, self._losses = parallel.map_batch(targets, shared=(0,)), parallel.map_batch(losses)
        self._value_and_grad = jax.jit(value_and_grad)
        self.minimizer = Minimizer(
            value_and_grad,
            optimizer,
            scan=not parallel.on_cpu(),
            compile=partial(parallel.map_batch, donate=(0,)),
        )

    def problem(
        self,
        sources: Mapping[str, Float[np.ndarray, "n h w 3"]],
        start: Float[np.ndarray, "n h w 3"],
        keep: Sequence[Keep],
        *,
        scale: Float[np.ndarray, " n"] | None = None,
    ) -> BatchProblem:
        """What to minimize for a batch.

        Args:
            sources: RGB images in [0, 1] that the targets come from, by the names that the objective's terms use.
            start: RGB images in [0, 1] to start from.
            keep: what Top-K keeps in each image.
            scale: the unit of each image's losses; by default its loss at the start.

        Raises:
            InputError: images that are too small for the objective's activations.
        """
        normalize = self.preprocessing.normalize
        normalized = {name: normalize(jnp.asarray(images)) for name, images in sources.items()}
        if self.parameterization.bounds == "sigmoid":
            ranges = [pixels.value_range(images) for images in normalized.values()]
            lows, highs = zip(*ranges, strict=True)
            low, high = jnp.min(jnp.stack(lows), axis=0), jnp.max(jnp.stack(highs), axis=0)
        else:
            low, high = (normalize(jnp.full((len(start), 1, 1, 3), value)) for value in (0.0, 1.0))
        indices = jnp.asarray([KEEPS.index(name) for name in keep])
        targets = self._targets(self._state, normalized, indices)
        params = self.parameterization.to_params(normalize(jnp.asarray(start)), low, high)
        per_image = {"targets": targets, "keep": indices, "low": low, "high": high}
        if scale is None:
            first = np.asarray(self.minimizer.values(params, {**per_image, "scale": np.ones(len(start), params.dtype)}))
            scale = np.where(np.isfinite(first) & (first > 0), first, np.float32(1))
        return BatchProblem(params, {**per_image, "scale": scale})

    def run(
        self,
        problem: BatchProblem,
        start: Array | Run | None = None,
        *,
        steps: int,
        callback: Callable[[int, Run], None] | None = None,
        every: int = 25,
    ) -> Minimum:
        """Minimize a batch; losses are in units of the problem's `scale`.

        Args:
            problem: from `problem`.
            start: params to start from in place of the problem's, or a `Run` to resume.
            steps: evaluations of the whole batch, including those of the `Run`.
            callback: called with the evaluations done and the `Run`, as `Minimizer.minimize` says.
            every: evaluations between callbacks.
        """
        start = problem.start if start is None else start
        return self.minimizer.minimize(start, problem.per_image, steps=steps, callback=callback, every=every)

    def losses(self, params: Float[Array, "n h w 3"], problem: BatchProblem) -> Float[Array, " n"]:
        """Each image's loss at `params`, in units of the problem's `scale`."""
        return self._losses(params, problem.per_image)

    def value_and_grad(
        self, params: Float[Array, "n h w 3"], problem: BatchProblem
    ) -> tuple[Float[Array, " n"], Float[Array, "n h w 3"]]:
        """Each image's loss at `params`, as `losses`, and its gradient."""
        return self._value_and_grad(params, problem.per_image)

    def images(self, params: Float[Array, "n h w 3"], problem: BatchProblem) -> Float[np.ndarray, "n h w 3"]:
        """The RGB images in [0, 1] that `params` stand for."""
        low, high = problem.per_image["low"], problem.per_image["high"]
        normalized = self.parameterization.to_normalized(jnp.asarray(params), low, high)
        return np.clip(np.asarray(self.preprocessing.denormalize(normalized)), 0, 1)
