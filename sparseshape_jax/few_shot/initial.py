"""The first weights of both networks, drawn with NumPy.

They are distributed as the networks' own initializers draw them. Those are 160 small programs for JAX, or one large
one, which take half a minute of CPU time to compile.
"""

import zlib
from collections.abc import Callable
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np
from flax import nnx

Module = TypeVar("Module", bound=nnx.Module)


def with_first_weights(build: Callable[[nnx.Rngs], Module], seed: int) -> Module:
    """The network that `build` makes: kernels N(0, 0.02), scales N(1, 0.02), u and v random unit vectors.

    Weights are in JAX's default precision: float64 with `jax_enable_x64`. Each array depends on the seed and its name.

    Args:
        build: from the source of weights, which is not drawn from, to the network.
        seed: of the weights.

    Raises:
        InputError: as `build`.
    """
    network = nnx.eval_shape(lambda: build(nnx.Rngs(0)))
    state = nnx.state(network, nnx.Any(nnx.Param, nnx.BatchStat))
    dtype = jnp.result_type(float)
    filled = [
        (
            path,
            variable.replace(
                jnp.asarray(_drawn((type(network).__name__, *path), variable.get_value().shape, seed), dtype)
            ),
        )
        for path, variable in nnx.to_flat_state(state)
    ]
    nnx.update(network, nnx.from_flat_state(filled))
    return network


def _drawn(path: tuple[Any, ...], shape: tuple[int, ...], seed: int) -> np.ndarray:
    name = ".".join(map(str, path))
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    match path[-1]:
        case "kernel":
            return 0.02 * rng.standard_normal(shape)
        case "u" | "v":
            vector = rng.standard_normal(shape)
            return vector / np.linalg.norm(vector)
        case "scale" if "noise" not in name:
            return 1 + 0.02 * rng.standard_normal(shape)
        case "var":
            return np.ones(shape)
        case "scale" | "bias" | "mean":  # the strength of noise begins at 0, too
            return np.zeros(shape)
    raise ValueError(f"nobody knows how {name} begins")
