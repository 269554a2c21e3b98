"""One step of training and one of evaluation, as pure functions of a state.

The network is split once into parameters, batch statistics and the rest (dropout's random state). The rest is not part
of the training state: every step seeds it anew from the run's seed, the step and the device, so that a resumed run
draws what it would have drawn.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Int, UInt8

from sparseshape_jax.data.preprocessing import Preprocessing
from sparseshape_jax.models import Network
from sparseshape_jax.parallel import AXIS
from sparseshape_jax.training.schedules import Annealed

Weights = tuple[Any, Any]
"""Parameters and batch statistics."""


class State(NamedTuple):
    """All that training carries from one step to the next."""

    step: Int[Array, ""]
    weights: Weights
    optimiser: optax.OptState
    average: Weights | None
    """The exponential moving average of `weights`, if one is kept."""

    @property
    def evaluated(self) -> Weights:
        """What evaluation uses: the average where there is one."""
        return self.weights if self.average is None else self.average


class Stepper:
    """The functions that train and evaluate one network; compile them with `parallel.over_all_devices`."""

    def __init__(
        self,
        network: Network,
        preprocessing: Preprocessing,
        transformation: optax.GradientTransformation,
        *,
        label_smoothing: float = 0.0,
        average: float = 0.0,
        seed: int = 0,
    ) -> None:
        network.train()
        split: tuple[Any, ...] = nnx.split(network, nnx.Param, nnx.BatchStat, ...)
        self.graphdef, params, stats, self._rest = split
        self._first: Weights = (params, stats)
        network.eval()
        self._eval_graphdef = nnx.graphdef(network)
        self.preprocessing, self.transformation = preprocessing, transformation
        self.label_smoothing, self.decay = label_smoothing, average
        self.seed = seed

    def start(self) -> State:
        """The state before the first step."""
        optimiser = self.transformation.init(self._first[0])
        return State(jnp.zeros((), jnp.int32), self._first, optimiser, self._first if self.decay else None)

    def network(self, weights: Weights) -> Network:
        """The network with these weights, in eval mode."""
        params, stats = weights
        return nnx.merge(self._eval_graphdef, params, stats, self._rest, copy=True)

    def _loss(self, logits: Float[Array, "n classes"], labels: Int[Array, " n"]) -> Float[Array, " n"]:
        """torch's `cross_entropy(reduction="none", label_smoothing=…)`."""
        targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), self.label_smoothing)
        return optax.softmax_cross_entropy(logits.astype(targets.dtype), targets)

    def _images(self, pixels: UInt8[Array, "n h w 3"]) -> Float[Array, "n h w 3"]:
        return self.preprocessing.normalise(pixels.astype(jnp.result_type(float)) / 255)

    def train(self, at: Mapping[str, Any]) -> Callable[..., tuple[State, dict[str, Array]]]:
        """The function `(state, (pixels, labels), progress) -> (state, metrics)` with Top-K placed as `at` says.

        Metrics are means over the whole batch: `loss`, `accuracy` (of the network in training, before the step),
        and `change`, the global norm of the parameters' change, which is finite only if the step was sound.
        """

        def step(state: State, batch: Any, progress: Array) -> tuple[State, dict[str, Array]]:
            pixels, labels = batch
            params, stats = state.weights
            operators = {name: it.at(progress) if isinstance(it, Annealed) else it for name, it in at.items()}
            key = jax.random.fold_in(jax.random.fold_in(jax.random.key(self.seed), state.step), lax.axis_index(AXIS))

            def loss_of(params: Any) -> tuple[Array, tuple[Array, Any]]:
                network = nnx.merge(self.graphdef, params, stats, _seeded(self._rest, key), copy=True)
                logits = network(self._images(pixels), at=operators)
                hits = jnp.mean(jnp.argmax(logits, -1) == labels)
                return jnp.mean(self._loss(logits, labels)), (hits, nnx.state(network, nnx.BatchStat))

            (loss, (hits, stats)), gradient = jax.value_and_grad(loss_of, has_aux=True)(params)
            # Statistics of the devices' own parts are averaged too, so that the state stays the same everywhere.
            loss, hits, stats, gradient = lax.pmean((loss, hits, stats, gradient), AXIS)
            updates, optimiser = self.transformation.update(gradient, state.optimiser, params)
            weights = (optax.apply_updates(params, updates), stats)
            average = optax.incremental_update(weights, state.average, 1 - self.decay) if self.decay else None
            metrics = {"loss": loss, "accuracy": hits, "change": optax.tree.norm(updates)}
            return State(state.step + 1, weights, optimiser, average), metrics

        return step

    def evaluate(self, at: Mapping[str, Any]) -> Callable[..., dict[str, Array]]:
        """The function `(state, (pixels, labels), progress) -> sums` over the whole batch; labels below 0 are padding.

        The sums: `n`, `loss` (without label smoothing), `top1`, `top5`.
        """

        def step(weights: Weights, batch: Any, progress: Array) -> dict[str, Array]:
            pixels, labels = batch
            operators = {name: it.at(progress) if isinstance(it, Annealed) else it for name, it in at.items()}
            logits = self.network(weights)(self._images(pixels), at=operators).astype(jnp.float32)
            counts = labels >= 0
            truth = jnp.take_along_axis(logits, jnp.maximum(labels, 0)[:, None], axis=-1)
            # Among equals the lower class goes first; what is not a number is never right.
            earlier = (logits == truth) & (jnp.arange(logits.shape[-1]) < labels[:, None])
            rank = jnp.sum(~(logits <= truth) | earlier, axis=-1)
            loss = jax.nn.logsumexp(logits, axis=-1) - truth[:, 0]
            sums = {
                "n": jnp.sum(counts),
                "loss": jnp.sum(jnp.where(counts, loss, 0)),
                "top1": jnp.sum(counts & (rank < 1)),
                "top5": jnp.sum(counts & (rank < 5)),
            }
            return lax.psum(sums, AXIS)

        return step


def _seeded(random_state: Any, key: Array) -> Any:
    """Dropout's random state begun anew from `key`, another one for each layer: keys drawn from it, counts at 0."""
    leaves, tree = jax.tree.flatten(random_state)
    fresh = [
        jax.random.fold_in(key, number) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else jnp.zeros_like(leaf)
        for number, leaf in enumerate(leaves)
    ]
    return jax.tree.unflatten(tree, fresh)
