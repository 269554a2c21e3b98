"""One step of training a classifier, as a pure function of its state.

The network is split once into parameters, batch statistics and the rest (dropout's random state). The rest is not part
of the training state: every step seeds it from the run's seed, the step and the device, so that a resumed run draws the
same masks.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Int

from sparseshape_jax.classifier.sparsity import Operators
from sparseshape_jax.models import Network
from sparseshape_jax.parallel import AXIS, mean_over_devices
from sparseshape_jax.preprocessing import Preprocessing
from sparseshape_jax.training.schedules import Plateau

Weights = tuple[Any, Any]
"""Parameters and batch statistics."""


class ClassifierState(NamedTuple):
    """Everything that training carries from one step to the next."""

    step: Int[Array, ""]
    weights: Weights
    optimizer: optax.OptState
    average: Weights | None
    """The exponential moving average of `weights`, if one is kept."""
    plateau: Plateau | None = None
    """What scales the learning rate, if its schedule follows the evaluation."""

    @property
    def evaluated(self) -> Weights:
        """What evaluation uses: the average if there is one."""
        return self.weights if self.average is None else self.average


class ClassifierStep:
    """The function that trains one network, to be compiled with `parallel.data_parallel`.

    Args:
        network: with its first weights; left in eval mode.
        preprocessing: how the network wants its pixels.
        optimizer: from gradients to updates.
        label_smoothing: share of the target that is spread over all classes.
        average: decay per step of the moving average of the weights; 0 keeps none.
        seed: of dropout.
        plateau: whether the learning rate's schedule follows the evaluation.
    """

    def __init__(
        self,
        network: Network,
        preprocessing: Preprocessing,
        optimizer: optax.GradientTransformation,
        *,
        label_smoothing: float = 0.0,
        average: float = 0.0,
        seed: int = 0,
        plateau: bool = False,
    ) -> None:
        network.train()
        split: tuple[Any, ...] = nnx.split(network, nnx.Param, nnx.BatchStat, ...)
        self.graphdef, params, stats, self._rest = split
        self._first: Weights = (params, stats)
        network.eval()
        self._eval_graphdef = nnx.graphdef(network)
        self.preprocessing, self.optimizer = preprocessing, optimizer
        self.label_smoothing, self.decay = label_smoothing, average
        self.seed, self.plateau = seed, plateau

    def start(self) -> ClassifierState:
        """The state before the first step."""
        optimizer = self.optimizer.init(self._first[0])
        average = self._first if self.decay else None
        plateau = Plateau.start() if self.plateau else None
        return ClassifierState(jnp.zeros((), jnp.int32), self._first, optimizer, average, plateau)

    def network(self, weights: Weights) -> Network:
        """The network with these weights, in eval mode."""
        params, stats = weights
        return nnx.merge(self._eval_graphdef, params, stats, self._rest, copy=True)

    def _loss(self, logits: Float[Array, "n classes"], labels: Int[Array, " n"]) -> Float[Array, " n"]:
        """torch's `cross_entropy(reduction="none", label_smoothing=…)`."""
        targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), self.label_smoothing)
        return optax.softmax_cross_entropy(logits.astype(targets.dtype), targets)

    def train(self, operators: Operators) -> Callable[..., tuple[ClassifierState, dict[str, Array]]]:
        """The function `(state, (pixels, labels), progress) -> (state, metrics)`.

        Pixels are (N, H, W, 3) bytes, labels (N,) integers. `operators(progress)` is what the network gets as `at`;
        `progress` is a traced scalar.

        Metrics are means over the whole batch: `loss` and `accuracy` (of the network in train mode, before the step),
        and `change`, the global norm of the parameters' change, which is finite only if the step was sound.
        """

        def step(state: ClassifierState, batch: Any, progress: Array) -> tuple[ClassifierState, dict[str, Array]]:
            pixels, labels = batch
            params, stats = state.weights
            key = jax.random.fold_in(jax.random.fold_in(jax.random.key(self.seed), state.step), lax.axis_index(AXIS))

            def loss_of(params: Any) -> tuple[Array, tuple[Array, Any]]:
                network = nnx.merge(self.graphdef, params, stats, _seeded(self._rest, key), copy=True)
                logits = network(self.preprocessing.from_bytes(pixels), at=operators(progress))
                hits = jnp.mean(jnp.argmax(logits, -1) == labels)
                return jnp.mean(self._loss(logits, labels)), (hits, nnx.state(network, nnx.BatchStat))

            (loss, (hits, stats)), gradient = jax.value_and_grad(loss_of, has_aux=True)(params)
            # Statistics of the devices' own parts are averaged too, so that the state stays the same everywhere.
            loss, hits, stats, gradient = mean_over_devices((loss, hits, stats, gradient))
            updates, optimizer = self.optimizer.update(gradient, state.optimizer, params)
            if state.plateau is not None:
                updates = optax.tree.scale(state.plateau.scale, updates)
            weights = (optax.apply_updates(params, updates), stats)
            average = optax.incremental_update(weights, state.average, 1 - self.decay) if self.decay else None
            metrics = {"loss": loss, "accuracy": hits, "change": optax.tree.norm(updates)}
            return ClassifierState(state.step + 1, weights, optimizer, average, state.plateau), metrics

        return step


def _seeded(random_state: Any, key: Array) -> Any:
    """Dropout's random state started anew from `key`: each layer gets a key drawn from it, and its count is 0."""
    leaves, tree = jax.tree.flatten(random_state)
    fresh = [
        jax.random.fold_in(key, number) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else jnp.zeros_like(leaf)
        for number, leaf in enumerate(leaves)
    ]
    return jax.tree.unflatten(tree, fresh)
