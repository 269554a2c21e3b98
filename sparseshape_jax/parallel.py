"""Devices and processes: the only module that knows about them. Data parallelism is by `jax.pmap`.

`pmap` is what the project was asked for. Since JAX 0.8 it is `jit(shard_map)` underneath, so Top-K stays local to each
device; inside `jit` over sharded arrays, `lax.top_k` would gather the whole batch first. It is in maintenance mode, so
nothing outside this module may depend on it: callers hand over a function on a batch and get one back.
"""

import atexit
import contextlib
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sparseshape_jax.errors import InputError


def map_batch(
    function: Callable[..., Any], *, shared: Sequence[int] = (), donate: Sequence[int] = ()
) -> Callable[..., Any]:
    """Compile `function(*arguments)`, splitting the batch over this process's devices.

    All arrays in the arguments and in the result have the batch as their leading axis; images must not depend on each
    other. A batch that does not divide evenly is filled up with copies of its last image, whose results are dropped.
    With one device this is `jax.jit`. With several, JAX keeps the programs, and arrays that are their constants, until
    `jax.clear_caches()`.

    Args:
        function: what to compile.
        shared: positions of arguments that all images share, without a batch axis. Large ones should be placed by
            `place_shared` once, so that calls do not copy them.
        donate: positions of arguments whose memory the result may reuse.
    """
    devices = jax.local_devices()
    if len(devices) == 1:
        return jax.jit(function, donate_argnums=tuple(donate))
    split = jax.jit(
        lambda tree: jax.tree.map(lambda array: _split(array, len(devices)), tree),
        out_shardings=_one_part_each(devices),
    )
    merge = jax.jit(lambda tree, batch: jax.tree.map(lambda array: _merge(array, batch), tree), static_argnums=1)
    compiled: dict[int, Callable[..., Any]] = {}

    def call(*arguments: Any) -> Any:
        count = len(arguments)
        if count not in compiled:
            axes = tuple(None if position in shared else 0 for position in range(count))
            compiled[count] = jax.pmap(function, in_axes=axes, devices=devices, donate_argnums=tuple(donate))
        batched = [argument for position, argument in enumerate(arguments) if position not in shared]
        parts = iter(split(batched))
        placed = [argument if position in shared else next(parts) for position, argument in enumerate(arguments)]
        return merge(compiled[count](*placed), jax.tree.leaves(batched)[0].shape[0])

    return call


def _one_part_each(devices: Sequence[jax.Device]) -> NamedSharding:
    """One part of the leading axis on each device, where pmap wants it; its results may end up elsewhere."""
    return NamedSharding(Mesh(np.asarray(devices), ("device",)), PartitionSpec("device"))


def place_shared(tree: Any) -> Any:
    """Copy `tree` to every device of this process once, for the `shared` arguments of `map_batch`."""
    devices = jax.local_devices()
    if len(devices) == 1:
        return jax.device_put(tree)  # naming the device would compile programs again for what they return themselves
    return jax.device_put(tree, NamedSharding(Mesh(np.asarray(devices), ("device",)), PartitionSpec()))


def _split(array: jax.Array, devices: int) -> jax.Array:
    missing = -array.shape[0] % devices
    filled = jnp.concatenate([array, jnp.repeat(array[-1:], missing, axis=0)])
    return filled.reshape(devices, -1, *array.shape[1:])


def _merge(array: jax.Array, batch: int) -> jax.Array:
    return array.reshape(-1, *array.shape[2:])[:batch]


AXIS = "devices"
"""The axis that `data_parallel` maps over; what is averaged over it is global."""


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
def abort_together() -> Iterator[None]:
    """If the body raises, exit this process immediately; the others would otherwise wait for it forever.

    Does nothing for a single process.

    Raises:
        InputError: another process was lost.
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


def should_stop(step: int) -> bool:
    """Whether all processes must stop after `step`, because one of them received SIGTERM; each asks after every step.

    JAX catches the signal once the processes are joined, and has them agree on a step that none has passed.
    """
    return multihost_utils.reached_preemption_sync_point(step)


def on_cpu() -> bool:
    """Whether computations run on a CPU by default. Host code may ask; compiled code has `platform_dependent`."""
    return jax.default_backend() == "cpu"


def images_at_once(wanted: int) -> int:
    """How many images to give to one call of `map_batch`: `wanted`, or one for each device on a CPU.

    A CPU gains nothing from larger batches, and in sums over other shapes it rounds otherwise: so what an image becomes
    does not depend on the others.
    """
    return jax.local_device_count() if on_cpu() else wanted


PIXELS_IN_MEMORY = 4 * 224**2
"""How many pixels a CPU gets at once."""


def images_in_memory(count: int, size: Sequence[int]) -> int:
    """How many of `count` images of a `size` to give to one call of `map_batch`, so that none of them is left over.

    All of them; but on a CPU, which gains nothing from large batches of large images, at most `PIXELS_IN_MEMORY` for
    each device. The first maps of VGG16 take 26 MB an image.
    """
    most = max(1, PIXELS_IN_MEMORY // (size[0] * size[1])) * jax.local_device_count()
    if not on_cpu() or count <= most:
        return count
    return next((part for part in range(most, most // 2, -1) if count % part == 0), count)


def memory_ran_out(error: Exception) -> bool:
    """Whether a device had too little memory for a computation that raised `error`."""
    return isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)


def this_process() -> tuple[int, int]:
    """The number of this process and how many there are."""
    return jax.process_index(), jax.process_count()


def sum_over_processes(array: np.ndarray) -> np.ndarray:
    """The sum of an array that every process has, in its own precision; all must call this, with the same shape."""
    if jax.process_count() == 1:
        return array
    # Sent as bytes, because JAX would round float64 to float32.
    parts = multihost_utils.process_allgather(np.frombuffer(array.tobytes(), np.uint8))
    return np.frombuffer(parts.tobytes(), array.dtype).reshape(-1, *array.shape).sum(axis=0)


def hardware() -> dict[str, str]:
    """What computes here, for records: the machine, its CPU cores, and the devices of all processes."""
    kind = jax.devices()[0].device_kind
    return {
        "machine": f"{platform.system()} {platform.machine()}",
        "cores": str(os.cpu_count()),
        "devices": f"{jax.device_count()} × {kind}",
    }


def device_count() -> int:
    """Devices of all processes."""
    return jax.device_count()


def data_parallel(function: Callable[[Any, Any, Any], Any], *, donate: bool = False) -> Callable[..., Any]:
    """Compile `function(state, batch, shared)` for all devices of all processes, which run it in step.

    The state has been through `replicate`. With `donate` accelerators reuse its memory; XLA's CPU backend would copy it
    first, which takes a tenth of a training step or more. Each process gives its part of the batch as arrays (n, …),
    n a multiple of its devices; `shared` is the same for all. Inside, `mean_over_devices` averages. The result has a
    leading axis of devices, for `unreplicate` or another call.
    """
    donated = (0,) if donate and not on_cpu() else ()
    mapped = jax.pmap(function, AXIS, in_axes=(0, 0, None), donate_argnums=donated)
    local = jax.local_device_count()

    def call(state: Any, batch: Any, shared: Any = None) -> Any:
        return mapped(state, jax.tree.map(lambda array: array.reshape(local, -1, *array.shape[1:]), batch), shared)

    return call


def mean_over_devices(tree: Any) -> Any:
    """Inside `data_parallel`: the mean of each array over all devices. For one device XLA would copy the arrays."""
    return tree if lax.axis_size(AXIS) == 1 else lax.pmean(tree, AXIS)


def replicate(tree: Any) -> Any:
    """A copy of `tree`, the same on all processes, for every device."""
    local = jax.local_device_count()
    copies = jax.tree.map(lambda array: np.broadcast_to(array, (local, *np.shape(array))), tree)
    # On the same axis as the steps; from another, they would be compiled once more for what they return themselves.
    return jax.pmap(lambda copy: copy, AXIS)(copies)


def unreplicate(tree: Any) -> Any:
    """The first device's part of a replicated tree, as NumPy arrays."""
    return jax.tree.map(lambda array: np.asarray(array.addressable_data(0)).reshape(array.shape[1:]), tree)
