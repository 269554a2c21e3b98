"""The recipes of the few-shot goldens (their README describes them), and networks with recipes for weights."""

import zlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import nnx

from sparseshape_jax.few_shot.reference_keys import discriminator_table, generator_table
from sparseshape_jax.models.fastgan import Generator
from sparseshape_jax.models.fastgan_discriminator import Discriminator
from sparseshape_jax.weights import keys
from sparseshape_jax.weights.assign import assign, export

SEEDS = {Generator: 1000, Discriminator: 2000}


def recipe(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    r = np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32)
    x = r.standard_normal(shape)
    if name.endswith(("weight_u", "weight_v")):
        x = x / np.linalg.norm(x)
    elif name.endswith("weight_orig"):
        x = 0.02 * x
    elif name.endswith("weight"):
        x = 1 + 0.1 * x
    elif name.endswith("bias"):
        x = 0.1 * x
    else:
        x = np.full(shape, float(name.endswith("running_var")))
    return x.astype(np.float32)


def random_state(seed: int) -> np.random.RandomState:
    return np.random.RandomState(seed)


def latents(seed: int, count: int, nz: int) -> np.ndarray:
    return random_state(seed).standard_normal((count, nz)).astype(np.float32)


def images(seed: int, count: int, size: int) -> np.ndarray:
    r = random_state(seed)
    coarse, fine = r.uniform(-1, 1, (count, 16, 16, 3)), r.uniform(-1, 1, (count, size, size, 3))
    enlarged = coarse.repeat(size // 16, axis=1).repeat(size // 16, axis=2)
    return (0.7 * enlarged + 0.3 * fine).astype(np.float32)


def table_of(network: Generator | Discriminator) -> keys.KeyTable:
    return generator_table(network) if isinstance(network, Generator) else discriminator_table(network)


def build(kind: type, *arguments: Any, changes: dict[str, np.ndarray] | None = None, **options: Any) -> Any:
    """A network with the recipes' weights, in train mode; `changes` by the reference's names."""
    network = nnx.eval_shape(lambda: kind(*arguments, rngs=nnx.Rngs(0), **options))
    table = table_of(network)
    state = nnx.to_flat_state(nnx.state(network, (nnx.Param, nnx.BatchStat)))
    zeros = {".".join(map(str, path)): np.zeros(leaf.get_value().shape) for path, leaf in state}
    shapes = {name: array.shape for name, array in keys.to_torch(zeros, table).items()}
    arrays = {name: recipe(name, shape, SEEDS[kind]) for name, shape in shapes.items()}
    assign(network, arrays | (changes or {}), table=table)
    return network


def with_prefix(golden: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {key.removeprefix(prefix): array for key, array in golden.items() if key.startswith(prefix)}


def cast(tree: Any, double: bool) -> Any:
    dtype = np.float64 if double else np.float32
    return jax.tree.map(lambda x: x.astype(dtype) if np.issubdtype(x.dtype, np.floating) else x, tree)


class Program:
    """A function of a network and arrays, compiled once. The network's state goes from one call to the next."""

    def __init__(self, network: Any, function: Callable[..., Any], *, double: bool = True) -> None:
        self.double, self.table = double, table_of(network)
        with jax.enable_x64(double):
            self.graphdef, self.params, self.stats = nnx.split(network, nnx.Param, nnx.BatchStat)
            self.params, self.stats = cast((self.params, self.stats), double)

            def call(params: Any, stats: Any, *arguments: Any) -> Any:
                copy = nnx.merge(self.graphdef, params, stats, copy=True)
                return function(copy, *arguments), nnx.state(copy, nnx.BatchStat)

            self.compiled = jax.jit(call)

    def __call__(self, *arguments: Any) -> Any:
        with jax.enable_x64(self.double):
            result, self.stats = self.compiled(self.params, self.stats, *cast(arguments, self.double))
        return jax.tree.map(np.asarray, result)

    def state(self) -> dict[str, np.ndarray]:
        """All arrays by the reference's names."""
        return export(nnx.merge(self.graphdef, self.params, self.stats), self.table)


def by_reference_names(tree: Any, table: keys.KeyTable) -> dict[str, np.ndarray]:
    """A pytree that is like a network's parameters, in the reference's order and layout."""
    flat = {".".join(map(str, path)): np.asarray(leaf.get_value()) for path, leaf in nnx.to_flat_state(tree)}
    return keys.to_torch(flat, table)
