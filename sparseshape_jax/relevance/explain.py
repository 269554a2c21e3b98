"""From images and classes to relevance: at the input, at any activation, and layer by layer as an account."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from sparseshape_jax import parallel
from sparseshape_jax.errors import InputError
from sparseshape_jax.models import Network
from sparseshape_jax.models.network import Operator
from sparseshape_jax.preprocessing import TORCHVISION, Preprocessing
from sparseshape_jax.relevance.composite import Composite
from sparseshape_jax.relevance.rules import ACCOUNT
from sparseshape_jax.relevance.twin import Account, call_order, folded_names, make_twin, operator

Start = Callable[[Array], Array]
"""From the last activation (N, …) to the relevance that it starts with, of the same shape."""


@dataclass(frozen=True)
class Explanation:
    """Relevance of some images for one class each, or for k classes each; then all but `logits` have an axis of k after
    the images'."""

    input: Float[np.ndarray, "n ... h w 3"]
    """Of the network's input, in its own order of channels."""
    at: dict[str, Float[np.ndarray, "n ... h w c"]]
    """Of activations, after what is applied there."""
    logits: Float[np.ndarray, "n ..."]
    """The network's last activation."""
    accounts: dict[str, Float[np.ndarray, "n ... 6"]]
    """Of each layer, in the network's order, the entries of `rules.ACCOUNT`."""


class Explainer:
    """Relevance of one network under one composite, batch by batch, over this process's devices.

    Args:
        network: in eval mode.
        composite: the rules.
        preprocessing: says what black and white are, for the rule zbox.
        nonnegative: as for `make_twin`.
    """

    def __init__(
        self,
        network: Network,
        composite: Composite | None = None,
        preprocessing: Preprocessing = TORCHVISION,
        *,
        nonnegative: bool | None = None,
    ) -> None:
        self.network, self.composite = network, composite or Composite()
        self.preprocessing, self.nonnegative = preprocessing, nonnegative
        self._twins: dict[tuple[int, ...], tuple[Any, Any, Any]] = {}
        self._programs: dict[Any, Callable[..., Any]] = {}
        self._shown = folded_names(network)

    def __call__(
        self,
        inputs: Float[np.ndarray, "n h w 3"],
        classes: Int[np.ndarray, "n ..."] | None = None,
        at: Mapping[str, Operator] | None = None,
        names: Iterable[str] = (),
        *,
        start: Start | None = None,
        accounts: bool = False,
    ) -> Explanation:
        """Explain a batch.

        Args:
            inputs: normalized images.
            classes: (N,) the class of each image to explain, or (N, k) several.
            at: what is applied at which activation, such as Top-K.
            names: of the activations whose relevance is wanted.
            start: in place of `classes`: the relevance to start with. Pass the same function each time.
            accounts: whether the layers' accounts are wanted.

        Raises:
            InputError: an unknown name or class, something applied between a convolution and its normalization, no
                classes for a network or a start for a trunk, or as `make_twin`.
        """
        wanted, at = tuple(names), dict(at or {})
        self.network.check_names((*wanted, *at))
        if between := sorted(set(at) & set(self._shown)):
            raise InputError(
                f"relevance sees {', '.join(between)} as one layer with the normalization after it, so nothing can be"
                f" applied between them; apply it after {', '.join(self._shown[name] for name in between)}"
            )
        if start is None and (classes is None or getattr(self.network, "trunk_only", False)):
            raise InputError(
                f"this {self.network.architecture} has no logits to start from; give the relevance of"
                f" {self.network.names[-1]} (start), or a network with its classifier"
                if getattr(self.network, "trunk_only", False)
                else "relevance is that of a class; give one for each image"
            )
        image = tuple(inputs.shape[1:])
        weights = self._twin(image)[1]
        if start is None:
            classes = np.asarray(classes, np.int32)
            count = jax.eval_shape(self.network, jax.ShapeDtypeStruct((1, *image), jnp.result_type(float))).shape[-1]
            if classes.size and (classes.min() < 0 or classes.max() >= count):
                raise InputError(f"there is no class {classes.max()}; the network has {count}, from 0")
        else:
            classes = np.zeros(len(inputs), np.int32)
        key = (image, wanted, tuple(at.items()), start, accounts, classes.ndim)
        if key not in self._programs:
            function = self._function(image, wanted, at, start, accounts)
            self._programs[key] = parallel.map_batch(function, shared=(0,))
        found = self._programs[key](weights, np.asarray(inputs, jnp.result_type(float)), classes)
        own = {name: np.asarray(value) for name, value in found["at"].items()}
        entries = {}
        if accounts:
            order = [".".join(map(str, path)) for path in call_order(self.network, image)]
            entries = {name: np.asarray(found["accounts"][name]) for name in order if name in found["accounts"]}
        return Explanation(np.asarray(found["input"]), own, np.asarray(found["logits"]), entries)

    def _twin(self, image: tuple[int, ...]) -> tuple[Any, Any, Any]:
        if image not in self._twins:
            ends: Any = np.array([0.0, 1.0]).reshape(2, 1, 1, 1).repeat(3, axis=-1)
            black, white = np.asarray(self.preprocessing.normalize(ends)).reshape(2, 3).tolist()
            twin = make_twin(self.network, image, self.composite, low=black, high=white, nonnegative=self.nonnegative)
            graphdef, accounts, *others = nnx.split(twin, Account, ...)
            self._twins[image] = (graphdef, parallel.place_shared(others[0]), accounts)
        return self._twins[image]

    def _function(
        self,
        image: tuple[int, ...],
        names: Sequence[str],
        at: Mapping[str, Operator],
        start: Start | None,
        accounts: bool,
    ) -> Callable[..., dict[str, Any]]:
        graphdef, _, entries = self._twin(image)
        last = self.network.names[-1]
        operators = {name: operator(spec) for name, spec in at.items()}

        def forward(weights: Any, inputs: Array, probes: dict[str, Array], accounts: Any) -> Array:
            def applied(name: str) -> Operator:
                return lambda x: operators.get(name, _same)(x) + probes.get(name, 0)

            twin = nnx.merge(graphdef, accounts, weights, copy=True)
            return twin.activations(inputs, (last,), at={name: applied(name) for name in (*operators, *probes)})[last]

        def explain(weights: Any, inputs: Array, classes: Array) -> dict[str, Any]:
            shapes = jax.eval_shape(lambda x: self.network.activations(x, names, at=at), inputs) if names else {}
            # Relevance at a name is that of zeros which are added there.
            probes = {name: jnp.zeros(shape.shape, inputs.dtype) for name, shape in shapes.items()}
            zeros = jax.tree.map(lambda _: jnp.zeros((len(inputs), len(ACCOUNT)), inputs.dtype), entries)
            logits, back = jax.vjp(lambda *arguments: forward(weights, *arguments), inputs, probes, zeros)

            def one(classes: Array) -> Any:
                if start is not None:
                    return back(start(logits))
                return back(logits * jax.nn.one_hot(classes, logits.shape[-1], dtype=logits.dtype))

            found = one(classes) if classes.ndim == 1 else jax.vmap(one, in_axes=1, out_axes=1)(classes)
            by_layer = {}
            if accounts:
                by_layer = {".".join(map(str, path[:-1])): value[...] for path, value in nnx.to_flat_state(found[2])}
            return {"input": found[0], "at": found[1], "accounts": by_layer, "logits": logits}

        return explain


def _same(x: Array) -> Array:
    return x


def relevance(
    network: Network,
    inputs: Float[np.ndarray, "n h w 3"],
    classes: Int[np.ndarray, "n ..."] | None = None,
    composite: Composite | None = None,
    *,
    at: Mapping[str, Operator] | None = None,
    names: Iterable[str] = (),
    start: Start | None = None,
    preprocessing: Preprocessing = TORCHVISION,
) -> Explanation:
    """Relevance of normalized images; for many batches, keep an `Explainer`. Arguments and errors are its own."""
    return Explainer(network, composite, preprocessing)(inputs, classes, at, names, start=start)


def ledger(
    network: Network,
    inputs: Float[np.ndarray, "n h w 3"],
    classes: Int[np.ndarray, " n"] | None = None,
    composite: Composite | None = None,
    *,
    at: Mapping[str, Operator] | None = None,
    start: Start | None = None,
    preprocessing: Preprocessing = TORCHVISION,
) -> dict[str, dict[str, Float[np.ndarray, " n"]]]:
    """Where the relevance goes: for every layer the entries of `rules.ACCOUNT`, image by image.

    Relevance of the outputs = relevance of the inputs + what the bias, the stabilizer and neurons with an empty
    denominator took. Σ R = logit holds without biases and stabilizers only, and with alphabeta not even then.
    """
    found = Explainer(network, composite, preprocessing)(inputs, classes, at, start=start, accounts=True)
    return {
        name: {entry: account[..., index] for index, entry in enumerate(ACCOUNT)}
        for name, account in found.accounts.items()
    }
