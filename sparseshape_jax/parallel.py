"""Data parallelism by `jax.pmap`: the only module that knows about devices.

`pmap` is what the project was asked for, and it keeps Top-K local to each device (inside `jit` over sharded arrays,
`lax.top_k` gathers the whole batch first). It is in maintenance mode in JAX, so nothing outside this module may depend
on it: callers hand over a function on a batch and get one back.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

Function = Callable[[Any, tuple[Any, Any]], Any]


def over_devices(function: Function) -> Function:
    """Compile `function(carry, (per_image, shared))`, splitting everything but `shared` over the local devices.

    All arrays in `carry`, `per_image` and the result have the batch as their leading axis; images must not depend on
    each other. A batch that does not divide evenly is filled up with copies of its last image, whose results are
    dropped. The carry's memory is reused (donated). With one device this is `jax.jit`.
    """
    devices = jax.local_devices()
    if len(devices) == 1:
        return jax.jit(function, donate_argnums=0)
    mapped = jax.pmap(function, in_axes=(0, (0, None)), devices=devices, donate_argnums=0)
    # One part on each device, where pmap wants them: what comes of its results may lie elsewhere.
    apart = NamedSharding(Mesh(np.asarray(devices), ("device",)), PartitionSpec("device"))
    split = jax.jit(lambda tree: jax.tree.map(lambda array: _split(array, len(devices)), tree), out_shardings=apart)
    merge = jax.jit(lambda tree, batch: jax.tree.map(lambda array: _merge(array, batch), tree), static_argnums=1)

    def call(carry: Any, args: tuple[Any, Any]) -> Any:
        per_image, shared = args
        batch = jax.tree.leaves(carry)[0].shape[0]
        carry, per_image = split((carry, per_image))
        return merge(mapped(carry, (per_image, shared)), batch)

    return call


def _split(array: jax.Array, devices: int) -> jax.Array:
    missing = -array.shape[0] % devices
    filled = jnp.concatenate([array, jnp.repeat(array[-1:], missing, axis=0)])
    return filled.reshape(devices, -1, *array.shape[1:])


def _merge(array: jax.Array, batch: int) -> jax.Array:
    return array.reshape(-1, *array.shape[2:])[:batch]
