"""Data parallelism by `jax.pmap`: the only module that knows about devices.

`pmap` is what the project was asked for, and it keeps Top-K local to each device (inside `jit` over sharded arrays,
`lax.top_k` gathers the whole batch first). It is in maintenance mode in JAX, so nothing outside this module may depend
on it: callers hand over a function on a batch and get one back.
"""

import atexit
import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sparseshape_jax.errors import InputError

Function = Callable[[Any, Any], Any]


def over_devices(function: Function) -> Function:
    """Compile `function(carry, args)`, splitting the batch over the local devices.

    All arrays in `carry`, `args` and the result have the batch as their leading axis; images must not depend on each
    other. A batch that does not divide evenly is filled up with copies of its last image, whose results are
    dropped. The carry's memory is reused (donated). With one device this is `jax.jit`.
    """
    devices = jax.local_devices()
    if len(devices) == 1:
        return jax.jit(function, donate_argnums=0)
    mapped = jax.pmap(function, devices=devices, donate_argnums=0)
    # One part on each device, where pmap wants them: what comes of its results may lie elsewhere.
    apart = NamedSharding(Mesh(np.asarray(devices), ("device",)), PartitionSpec("device"))
    split = jax.jit(lambda tree: jax.tree.map(lambda array: _split(array, len(devices)), tree), out_shardings=apart)
    merge = jax.jit(lambda tree, batch: jax.tree.map(lambda array: _merge(array, batch), tree), static_argnums=1)

    def call(carry: Any, args: Any) -> Any:
        batch = jax.tree.leaves(carry)[0].shape[0]
        return merge(mapped(*split((carry, args))), batch)

    return call


def _split(array: jax.Array, devices: int) -> jax.Array:
    missing = -array.shape[0] % devices
    filled = jnp.concatenate([array, jnp.repeat(array[-1:], missing, axis=0)])
    return filled.reshape(devices, -1, *array.shape[1:])


def _merge(array: jax.Array, batch: int) -> jax.Array:
    return array.reshape(-1, *array.shape[2:])[:batch]


AXIS = "devices"
"""The axis that `over_all_devices` maps over; what is averaged over it is global."""


def start_processes(
    *, coordinator: str | None = None, processes: int | None = None, process: int | None = None
) -> None:
    """Join the other processes of a run on several machines; call before anything else touches a device.

    With nothing given, the addresses come from the environment that Slurm, Open MPI or a TPU pod sets.

    Raises:
        InputError: the environment says nothing, or the others cannot be reached.
    """
    try:
        jax.distributed.initialize(coordinator, num_processes=processes, process_id=process)
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"cannot join the other processes ({str(error).splitlines()[0]}); outside Slurm, Open MPI and TPU pods give"
            " --distributed.coordinator HOST:PORT --distributed.processes N --distributed.process 0…N-1"
        ) from None


@contextlib.contextmanager
def one_for_all() -> Iterator[None]:
    """What fails in here ends this process at once, and so the run: the others wait for it in the next step.

    Python's usual end would have JAX wait for them. Does nothing for a single process.

    Raises:
        InputError: another process has gone.
    """
    try:
        yield
    except Exception as error:
        if jax.process_count() == 1:
            raise
        lost = isinstance(error, jax.errors.JaxRuntimeError)
        atexit.register(_leave, 2 if lost or isinstance(error, InputError) else 1)  # before JAX's, which came earlier
        if lost:
            reason = str(error).splitlines()[0]
            raise InputError(f"another process of this run failed or was lost; see what it said ({reason})") from None
        raise


def _leave(status: int) -> None:
    if jax.process_index() == 0:
        time.sleep(3)  # the others cannot outlive this one: let them say what they have to say
    sys.stdout.flush()
    os._exit(status)


def processes_stop(step: int) -> bool:
    """Whether all processes stop after so many steps, because one has got SIGTERM; each must ask after every step.

    JAX catches the signal once the processes are joined, and has them agree on a step that none has passed.
    """
    return multihost_utils.reached_preemption_sync_point(step)


def this_process() -> tuple[int, int]:
    """The number of this process and how many there are."""
    return jax.process_index(), jax.process_count()


def device_count() -> int:
    """Devices of all processes."""
    return jax.device_count()


def over_all_devices(function: Callable[[Any, Any, Any], Any], *, donate: bool = False) -> Callable[..., Any]:
    """Compile `function(state, batch, shared)` for all devices of all processes, which run it in step.

    The state has been through `replicate`; with `donate` its memory is reused. Each process gives its part of the batch
    as arrays (n, …), n a multiple of its devices; `shared` is the same for all. Inside, `lax.pmean(x, AXIS)` averages
    over all devices. The result has a leading axis of devices, for `first` or another call.
    """
    mapped = jax.pmap(function, AXIS, in_axes=(0, 0, None), donate_argnums=(0,) if donate else ())
    local = jax.local_device_count()

    def call(state: Any, batch: Any, shared: Any = None) -> Any:
        return mapped(state, jax.tree.map(lambda array: array.reshape(local, -1, *array.shape[1:]), batch), shared)

    return call


def replicate(tree: Any) -> Any:
    """A copy of `tree`, the same on all processes, for every device."""
    local = jax.local_device_count()
    copies = jax.tree.map(lambda array: np.broadcast_to(array, (local, *np.shape(array))), tree)
    # On the same axis as the steps; from another, they would be compiled once more for what they return themselves.
    return jax.pmap(lambda copy: copy, AXIS)(copies)


def first(tree: Any) -> Any:
    """The first device's part of a replicated tree, as NumPy arrays."""
    return jax.tree.map(lambda array: np.asarray(array.addressable_data(0)).reshape(array.shape[1:]), tree)
