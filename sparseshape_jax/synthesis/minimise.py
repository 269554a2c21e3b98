"""Minimising a batch of images: the driver, its records, and Adam. The optimiser of choice is in `lbfgs.py`.

An optimiser here is an optax transformation on one float array whose `update(gradient, state, params, value=value)`
gives the next point to evaluate as `params + updates`, and whose state has a `record`. So a step is one evaluation of
the batch and one vmapped update. On a CPU the compiled step is called from Python, because XLA's CPU convolutions are
three times slower inside loops; elsewhere many steps are scanned in one program.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from sparseshape_jax.errors import InputError

Array = jax.Array


class Status(IntEnum):
    """How far a minimisation is; a state holds one of the first four."""

    RUNNING = 0
    CONVERGED = 1
    """No component of the gradient is larger than the tolerance."""
    STALLED = 2
    """Nothing better was found, not even from the best point along its steepest descent."""
    NON_FINITE = 3
    """Value or gradient are not finite: at the starting point (L-BFGS), anywhere (Adam)."""
    BUDGET = 4
    """All evaluations are used up (in results only)."""


class Record(NamedTuple):
    """The field `record` of every optimiser's state."""

    status: Array
    evaluations: Array
    iterations: Array
    """Points accepted."""
    best_params: Array
    best_value: Array

    @classmethod
    def begin(cls, params: Array) -> "Record":
        """The record before the first evaluation."""
        zero = jnp.array(0, jnp.int32)
        return cls(zero, zero, zero, params, jnp.full((), jnp.inf, params.dtype))

    def enter(self, params: Array, value: Array, accepted: Array, status: Array) -> "Record":
        """Take in one evaluation; `value` is infinite where it does not count."""
        better = value < self.best_value
        return Record(
            status=status.astype(jnp.int32),
            evaluations=self.evaluations + 1,
            iterations=self.iterations + accepted,
            best_params=jnp.where(better, params, self.best_params),
            best_value=jnp.where(better, value, self.best_value),
        )


class AdamState(NamedTuple):
    """The state of `adam`."""

    record: Record
    moments: optax.OptState


class Run(NamedTuple):
    """A batch of B minimisations on its way: plain arrays, to be saved, and handed to `minimise` to go on."""

    params: Array
    """(B, ...): the points to be evaluated next."""
    state: Any
    """The optimiser's state; every leaf has the leading axis B."""
    losses: np.ndarray
    """(B, evaluations so far); NaN from where an image has stopped."""


@dataclass(frozen=True)
class Minimum:
    """What `minimise` returns for a batch of B."""

    params: Array
    """(B, ...): the best points found."""
    values: np.ndarray
    """(B,): their values; infinite where the very first was not finite."""
    losses: np.ndarray
    """(B, evaluations): the value at each evaluation; NaN from where an image has stopped."""
    evaluations: np.ndarray
    iterations: np.ndarray
    status: tuple[Status, ...]
    run: Run
    """Where to go on with a larger budget."""


donating_jit = functools.partial(jax.jit, donate_argnums=0)


def minimise(
    value_and_grad: Callable[..., tuple[Array, Array]],
    start: Array | Run,
    *,
    steps: int,
    optimiser: optax.GradientTransformationExtraArgs,
    args: tuple[Any, ...] = (),
    callback: Callable[[int, Run], None] | None = None,
    every: int = 25,
    scan: bool | None = None,
    jit: Callable[[Callable[..., Any]], Callable[..., Any]] = donating_jit,
) -> Minimum:
    """Minimise each image of a batch, with at most `steps` evaluations of the whole batch.

    The compiled step is kept and used again when the same function objects `value_and_grad` and `optimiser` come again
    with arrays of the same shapes.

    Args:
        value_and_grad: maps params (B, ...) and `args` to values (B,) and gradients (B, ...), each image on its own.
        start: (B, ...) first points, or a `Run` to go on with: the result is that of a run never interrupted.
        steps: evaluations, those of the `Run` included.
        optimiser: `lbfgs(...)` or `adam(...)`.
        args: arrays for `value_and_grad` (targets), rather than constants in the compiled program.
        callback: called with the evaluations done and the `Run` every `every` evaluations and at the end. The next step
            takes the arrays' memory: copy (`numpy.array`) what is to be kept.
        every: evaluations between callbacks.
        scan: run `every` steps as one device program; the default is to do so except on a CPU.
        jit: compiles (params and state, args) -> (params and state, values), all with leading axis B but `args`.

    Raises:
        InputError: `steps` or `every` below 1.
    """
    if steps < 1 or every < 1:
        raise InputError(f"got steps={steps} and every={every}; both must be at least 1")
    if not isinstance(start, Run):
        start = jnp.asarray(start)
        start = Run(start, jax.vmap(optimiser.init)(start), np.zeros((len(start), 0), start.dtype))
    # Copies, for the steps take their memory.
    params, state = jax.tree.map(jnp.array, (start.params, start.state))
    done = start.losses.shape[1]
    losses = np.full((len(params), max(done, steps)), np.nan, params.dtype)
    losses[:, :done] = start.losses
    scan = jax.default_backend() != "cpu" if scan is None else scan

    running = _any_running(state)
    while running and done < steps:
        length = min(every - done % every, steps - done) if scan else 1
        (params, state), values = _compiled_steps(value_and_grad, optimiser, length, jit)((params, state), args)
        losses[:, done : done + length] = values
        done += length
        running = _any_running(state)
        if callback and (done % every == 0 or done == steps or not running):
            callback(done, Run(params, state, losses[:, :done]))

    run = Run(params, state, losses[:, :done])
    record = state.record
    status = [Status(code) for code in np.asarray(record.status).tolist()]
    return Minimum(
        params=record.best_params,
        values=np.asarray(record.best_value),
        losses=run.losses,
        evaluations=np.asarray(record.evaluations),
        iterations=np.asarray(record.iterations),
        status=tuple(Status.BUDGET if code == Status.RUNNING else code for code in status),
        run=run,
    )


def _any_running(state: Any) -> bool:
    return bool((state.record.status == Status.RUNNING).any())


@functools.lru_cache(maxsize=8)
def _compiled_steps(
    value_and_grad: Callable[..., tuple[Array, Array]],
    optimiser: optax.GradientTransformationExtraArgs,
    length: int,
    jit: Callable[[Callable[..., Any]], Callable[..., Any]],
) -> Callable[..., tuple[Any, Array]]:
    """Compile `length` steps; values come as (B, length)."""

    def step(carry: tuple[Array, Any], args: tuple[Any, ...]) -> tuple[tuple[Array, Any], Array]:
        params, state = carry
        running = state.record.status == Status.RUNNING
        values, gradients = value_and_grad(params, *args)
        update = jax.vmap(lambda gradient, state, params, value: optimiser.update(gradient, state, params, value=value))
        updates, state = update(gradients, state, params, values)
        return (params + updates, state), jnp.where(running, values, jnp.nan)

    def steps(carry: tuple[Array, Any], args: tuple[Any, ...]) -> tuple[tuple[Array, Any], Array]:
        if length == 1:
            carry, values = step(carry, args)
            return carry, values[:, None]
        carry, values = lax.scan(lambda carry, _: step(carry, args), carry, length=length)
        return carry, values.T

    return jit(steps)


def adam(learning_rate: float = 0.05) -> optax.GradientTransformationExtraArgs:
    """Adam (Kingma & Ba, 2015) with the interface of `lbfgs`; a value that is not finite ends the run."""
    inner = optax.adam(learning_rate)

    def init(params: Array) -> AdamState:
        return AdamState(Record.begin(params), inner.init(params))

    def update(
        updates: Array, state: AdamState, params: Array | None = None, *, value: Array, **_: Any
    ) -> tuple[Array, AdamState]:
        assert params is not None
        running = state.record.status == Status.RUNNING
        finite = jnp.isfinite(value) & jnp.isfinite(updates).all()
        status = jnp.where(finite, Status.RUNNING, Status.NON_FINITE)
        record = state.record.enter(params, jnp.where(finite, value, jnp.inf), finite, status)
        step, moments = inner.update(updates, state.moments, params)
        after = jax.tree.map(lambda y, n: jnp.where(running, y, n), AdamState(record, moments), state)
        return jnp.where(running & finite, step, 0), after

    return optax.GradientTransformationExtraArgs(init, update)
