"""From the authors' checkpoints to the state of a training run, and back."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from sparseshape_jax.errors import InputError
from sparseshape_jax.few_shot.reference_files import COUNTED, Arrays, ReferenceFile, parameter_names
from sparseshape_jax.few_shot.reference_keys import discriminator_table, generator_table, is_numbered
from sparseshape_jax.few_shot.step import GANState, GANStep, Weights
from sparseshape_jax.models.fastgan_options import SIZES
from sparseshape_jax.weights import keys
from sparseshape_jax.weights.assign import assign, export
from sparseshape_jax.weights.keys import KeyTable

SMALLEST = 256
"""Side of the images of the authors' smallest networks, in pixels."""
DISCRIMINATOR_PASSES = 3
"""Of the discriminator in an iteration; its decoders only see the real images."""


def to_state(step: GANStep, file: ReferenceFile) -> GANState:
    """The state after the iteration in a checkpoint; without optimizers or an average in it, new ones.

    Args:
        step: of networks of the same sizes and widths.
        file: the checkpoint.

    Raises:
        InputError: networks of other sizes or widths, or optimizers of other networks.
    """
    first = step.start()
    generator, discriminator = step.generator(*first.generator), step.discriminator(first.discriminator)
    named = generator_table(generator, numbered=is_numbered(file.generator)), discriminator_table(discriminator)
    weights, optimizers = [], []
    for network, arrays, table, stored, optimizer in (
        (generator, file.generator, named[0], file.generator_optimizer, first.generator_optimizer),
        (discriminator, file.discriminator, named[1], file.discriminator_optimizer, first.discriminator_optimizer),
    ):
        assign(network, {k: v for k, v in arrays.items() if not k.endswith(COUNTED)}, table=table)
        weights.append(Weights(nnx.state(network, nnx.Param), nnx.state(network, nnx.BatchStat)))
        if stored is not None:
            optimizer = _from_torch(optimizer, stored, parameter_names(arrays), table)
        optimizers.append(optimizer)
    average = weights[0].params
    if file.average is not None:
        names = parameter_names(file.generator)
        average = _filled(average, dict(zip(names, file.average, strict=True)), named[0])
    done = 0 if file.iteration is None else file.iteration + 1
    return GANState(jnp.asarray(done, jnp.int32), weights[0], weights[1], optimizers[0], optimizers[1], average)


def from_state(step: GANStep, state: GANState, performance: Mapping[str, float] | None = None) -> ReferenceFile:
    """A checkpoint that the authors' code continues from.

    Raises:
        InputError: the images are smaller than the authors' networks make them.
    """
    generator, discriminator = step.generator(*state.generator), step.discriminator(state.discriminator)
    if generator.size < SMALLEST:
        sizes = ", ".join(str(size) for size in SIZES if size >= SMALLEST)
        raise InputError(f"the images have {generator.size} pixels; the authors' networks make {sizes}")
    tables = generator_table(generator), discriminator_table(discriminator)
    done = int(state.step)
    arrays = [
        _with_counts(export(network, table), done, passes)
        for network, table, passes in ((generator, tables[0], 1), (discriminator, tables[1], DISCRIMINATOR_PASSES))
    ]
    rate = step.learning_rate
    return ReferenceFile(
        arrays[0],
        arrays[1],
        list(_to_reference(state.average, tables[0]).values()),
        _to_torch(state.generator_optimizer, tables[0], rate),
        _to_torch(state.discriminator_optimizer, tables[1], rate),
        done - 1,
        performance,
    )


def _with_counts(arrays: Arrays, done: int, passes: int) -> dict[str, np.ndarray]:
    """The arrays, and after each running variance the number of batches seen."""
    counted = {}
    for name, array in arrays.items():
        counted[name] = array
        if name.endswith("running_var"):
            count = done if name.startswith("decoder_") else passes * done
            counted[f"{name.removesuffix('running_var')}{COUNTED}"] = np.asarray(count, np.int64)
    return counted


def _from_torch(
    optimizer: optax.OptState, stored: Mapping[str, Any], names: list[str], table: KeyTable
) -> optax.OptState:
    """Adam's state from torch's. Parameters that had no gradient have none there: their moments are 0."""
    adam, *rest = optimizer
    entries = {names[index]: entry for index, entry in stored["state"].items() if index < len(names)}
    zeros = _to_reference(adam.mu, table)
    moments = [
        _filled(adam.mu, zeros | {name: entry[moment] for name, entry in entries.items()}, table)
        for moment in ("exp_avg", "exp_avg_sq")
    ]
    count = max((int(entry["step"]) for entry in entries.values()), default=0)
    return (adam._replace(count=jnp.asarray(count, jnp.int32), mu=moments[0], nu=moments[1]), *rest)


def _to_torch(optimizer: optax.OptState, table: KeyTable, rate: float) -> dict[str, Any]:
    """torch's `Adam.state_dict()`. Parameters that never had a gradient have no entry, as with torch."""
    adam = optimizer[0]
    first, second = (_to_reference(tree, table) for tree in (adam.mu, adam.nu))
    state = {
        index: {"step": np.asarray(adam.count, np.float32), "exp_avg": first[name], "exp_avg_sq": second[name]}
        for index, name in enumerate(first)
        if adam.count and second[name].any()
    }
    group = {"lr": rate, "betas": (0.5, 0.999), "eps": 1e-8, "weight_decay": 0, "amsgrad": False, "maximize": False}
    group |= {"foreach": None, "capturable": False, "differentiable": False, "fused": None}
    return {"state": state, "param_groups": [group | {"params": list(range(len(first)))}]}


def _to_reference(tree: Any, table: KeyTable) -> dict[str, np.ndarray]:
    """A tree that is like a network's parameters, by the reference's names."""
    flat = {".".join(map(str, path)): np.asarray(leaf.get_value()) for path, leaf in nnx.to_flat_state(tree)}
    return {name: np.array(array, order="C") for name, array in keys.to_torch(flat, table).items()}


def _filled(tree: Any, arrays: Arrays, table: KeyTable) -> Any:
    """A tree like `tree`, with these arrays, by the reference's names."""
    ours = keys.to_ours(arrays, table)
    filled = jax.tree.map(lambda leaf: leaf, tree)
    for path, leaf in nnx.to_flat_state(filled):
        array, before = ours[".".join(map(str, path))], leaf.get_value()
        if array.shape != before.shape:
            raise InputError(f"{'.'.join(map(str, path))} is {array.shape} in the checkpoint, not {before.shape}")
        leaf.set_value(jnp.asarray(array, before.dtype))
    return filled
