"""Networks with random weights, and a registry of architectures that tests may add to."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from flax import nnx

from sparseshape_jax.models import Network, registry
from sparseshape_jax.weights.load import abstract


def random_network(architecture: str, *, seed: int = 0, gain: float = 1.0, **options: Any) -> Network:
    """A network of a registered architecture in eval mode, with random weights.

    Args:
        architecture: its name.
        seed: see `fill`.
        gain: see `fill`.
        options: as for `models.build`.
    """
    network = fill(abstract(architecture, **options), seed=seed, gain=gain)
    network.eval()
    return network


def fill(network: Network, *, seed: int = 0, gain: float = 1.0) -> Network:
    """Draw the weights of `network`, which may be abstract, from a normal distribution; in place.

    NumPy draws them, because JAX would compile a program for each shape.

    Args:
        network: any network.
        seed: of the weights.
        gain: the standard deviation is gain / sqrt(inputs of a unit), of vectors the gain. 1 roughly keeps the
            activations' scale from layer to layer.
    """
    rng = np.random.default_rng(seed)

    def weights(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        scale = gain / math.sqrt(math.prod(leaf.shape[:-1]))
        return rng.normal(scale=scale, size=leaf.shape).astype(leaf.dtype)

    def statistics(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        return rng.uniform(0.5, 1.5, leaf.shape).astype(leaf.dtype)  # variances must be positive, means may be

    nnx.update(network, jax.tree.map(weights, nnx.state(network, nnx.Param)))
    nnx.update(network, jax.tree.map(statistics, nnx.state(network, nnx.BatchStat)))
    return network


@contextlib.contextmanager
def own_registry() -> Iterator[None]:
    """Forget at the end what the body registers."""
    before = dict(registry._ARCHITECTURES)
    try:
        yield
    finally:
        registry._ARCHITECTURES.clear()
        registry._ARCHITECTURES.update(before)
