"""Minimizing a batch of images: the class that does it, its records, and Adam. L-BFGS is in `lbfgs.py`.

An optimizer here is an optax transformation on one float array whose `update(gradient, state, params, value=value)`
gives the next point to evaluate as `params + updates`, and whose state has a `record`. So a step is one evaluation of
the batch and one vmapped update. Steps run one by one from Python, or many of them in one program (`scan`).
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
    """How far a minimization is; a state holds one of the first four."""

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
    """The field `record` of every optimizer's state."""

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
        """The record after one more evaluation; `value` is infinite if it does not count."""
        better = value < self.best_value
        return Record(
            status=status.astype(jnp.int32),
            evaluations=self.evaluations + 1,
            iterations=self.iterations + accepted.astype(jnp.int32),
            best_params=jnp.where(better, params, self.best_params),
            best_value=jnp.where(better, value, self.best_value),
        )


class AdamState(NamedTuple):
    """The state of `adam`."""

    record: Record
    moments: optax.OptState


class Run(NamedTuple):
    """A batch of B minimizations in progress: plain arrays, to save, or to resume from."""

    params: Array
    """(B, ...): the points to evaluate next."""
    state: Any
    """The optimizer's state; every leaf has the leading axis B."""
    losses: np.ndarray
    """(B, evaluations so far); NaN after an image has stopped."""


@dataclass(frozen=True)
class Minimum:
    """The result of minimizing a batch of B."""

    params: Array
    """(B, ...): the best points found."""
    values: np.ndarray
    """(B,): their values; infinite if the very first was not finite."""
    losses: np.ndarray
    """(B, evaluations): the value at each evaluation; NaN after an image has stopped."""
    evaluations: np.ndarray
    iterations: np.ndarray
    status: tuple[Status, ...]
    run: Run
    """From which to resume with a larger budget."""


donating_jit = functools.partial(jax.jit, donate_argnums=0)

Carry = tuple[Array, Any]
"""Params and the optimizer's state, both with the leading axis B."""


class Minimizer:
    """Minimizes batches of images with one objective and one optimizer, and holds the compiled steps.

    Batches of the same shape share compiled steps. They are freed together with this object.

    Args:
        value_and_grad: maps params (B, ...) and further arrays to values (B,) and gradients (B, ...), each image on its
            own.
        optimizer: `lbfgs(...)` or `adam(...)`.
        scan: run all steps between two callbacks as one device program. Better on accelerators; on a CPU, XLA's
            convolutions are three times slower inside loops.
        compile: compiles (carry, arguments) -> (carry, values), where all arrays have the leading axis B and the
            carry's memory may be reused.
    """

    def __init__(
        self,
        value_and_grad: Callable[..., tuple[Array, Array]],
        optimizer: optax.GradientTransformationExtraArgs,
        *,
        scan: bool = False,
        compile: Callable[[Callable[..., Any]], Callable[..., Any]] = donating_jit,
    ) -> None:
        self.optimizer, self.scan = optimizer, scan
        self._value_and_grad, self._compile = value_and_grad, compile
        self._compiled: dict[int, Callable[..., tuple[Carry, Array]]] = {}

    def begin(self, start: Array) -> Run:
        """The run before its first evaluation, from (B, ...) first points."""
        return Run(start, jax.vmap(self.optimizer.init)(start), np.zeros((len(start), 0), start.dtype))

    def values(self, start: Array, *arguments: Any) -> Array:
        """The (B,) values at (B, ...) points, by the program of one step, which a CPU runs anyway."""
        _, values = self._steps(1)(_copied(self.begin(jnp.asarray(start))), arguments)
        return values[:, 0]

    def minimize(
        self,
        start: Array | np.ndarray | Run,
        *arguments: Any,
        steps: int,
        callback: Callable[[int, Run], None] | None = None,
        every: int = 25,
    ) -> Minimum:
        """Minimize each image of a batch, with at most `steps` evaluations of the whole batch.

        Args:
            start: (B, ...) first points, or a `Run` to resume: the result is that of a run without interruption.
            arguments: the objective's further arrays (targets), rather than constants of the compiled program.
            steps: evaluations, including those of the `Run`.
            callback: called with the evaluations done and the `Run` every `every` evaluations and at the end. The next
                step reuses the arrays' memory: copy (`numpy.array`) what you keep.
            every: evaluations between callbacks.

        Raises:
            InputError: `steps` or `every` below 1.
        """
        if steps < 1 or every < 1:
            raise InputError(f"got steps={steps} and every={every}; both must be at least 1")
        if not isinstance(start, Run):
            start = self.begin(jnp.asarray(start))
        params, state = _copied(start)
        done = start.losses.shape[1]
        losses = np.full((len(params), max(done, steps)), np.nan, params.dtype)
        losses[:, :done] = start.losses

        running = _any_running(state)
        while running and done < steps:
            length = min(every - done % every, steps - done) if self.scan else 1
            (params, state), values = self._steps(length)((params, state), arguments)
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

    def _steps(self, length: int) -> Callable[..., tuple[Carry, Array]]:
        """`length` steps in one program; values come as (B, length)."""
        if length not in self._compiled:
            self._compiled[length] = self._compile(_several_steps(self._value_and_grad, self.optimizer, length))
        return self._compiled[length]


def _copied(run: Run) -> Carry:
    """What the steps carry, in memory of its own, which they reuse."""
    return jnp.array(run.params), jax.tree.map(jnp.array, run.state)


def _several_steps(
    value_and_grad: Callable[..., tuple[Array, Array]],
    optimizer: optax.GradientTransformationExtraArgs,
    length: int,
) -> Callable[..., tuple[Carry, Array]]:
    def step(carry: Carry, arguments: tuple[Any, ...]) -> tuple[Carry, Array]:
        params, state = carry
        running = state.record.status == Status.RUNNING
        values, gradients = value_and_grad(params, *arguments)
        update = jax.vmap(lambda gradient, state, params, value: optimizer.update(gradient, state, params, value=value))
        updates, state = update(gradients, state, params, values)
        return (params + updates, state), jnp.where(running, values, jnp.nan)

    def steps(carry: Carry, arguments: tuple[Any, ...]) -> tuple[Carry, Array]:
        if length == 1:
            carry, values = step(carry, arguments)
            return carry, values[:, None]
        carry, values = lax.scan(lambda carry, _: step(carry, arguments), carry, length=length)
        return carry, values.T

    return steps


def _any_running(state: Any) -> bool:
    return bool((state.record.status == Status.RUNNING).any())


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
        with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integer powers
            step, moments = inner.update(updates, state.moments, params)
        after = jax.tree.map(lambda y, n: jnp.where(running, y, n), AdamState(record, moments), state)
        return jnp.where(running & finite, step, 0), after

    return optax.GradientTransformationExtraArgs(init, update)
