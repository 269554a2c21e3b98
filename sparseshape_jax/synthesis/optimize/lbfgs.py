"""L-BFGS with a strong-Wolfe line search as a state machine: one value-and-gradient evaluation per update.

Nocedal & Wright, Numerical Optimization (2006), chapters 3 and 7, in the form of an optax transformation. Every update
either moves the line search or accepts its trial and turns to a new direction. There are no loops: in every phase, an
update is a few matrix-vector products. Under vmap each image can therefore be in a phase of its own.

Departures from the book:

- The two-loop recursion works on the inner products of the history, where its loops are two triangular solves; the
  vectors themselves are read twice per update.
- The line search looks past a rise of `slack` (see `line_search.py`). A Top-K mask changes as the image does: the loss
  then jumps, by a percent or so and mostly upwards, and the gradient knows nothing of it. Searches that insist on a
  decrease get stuck before such jumps; with 3 % slack none does, and Top-K textures end at a quarter lower loss.
- When `patience` evaluations in a row found nothing better by more than rounding error, or the direction does not
  descend, the history is dropped and the run restarts from the best point. If that finds nothing better either, the run
  has stalled. This covers line searches that get stuck and float32's noise floor alike.
- A base point is the evaluated point itself, after rounding, not base + step · direction.
"""

from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.scipy.linalg import solve_triangular

from sparseshape_jax.errors import InputError
from sparseshape_jax.synthesis.optimize import line_search
from sparseshape_jax.synthesis.optimize.minimize import Record, Status

Array = jax.Array
T = TypeVar("T")


class History(NamedTuple):
    """The curvature pairs' inner products: s are the steps between base points, y the gradient's changes on them."""

    stored: Array
    cursor: Array
    """Place of the next pair."""
    s_y: Array
    """(size, size): s_i · y_j for i no younger than j, by age, newest last; the identity where there is no pair."""
    y_y: Array


class LBFGSState(NamedTuple):
    """The state of `lbfgs`; `search` runs from `base` along `direction`."""

    record: Record
    starting: Array
    """The next evaluation is a base point, with no line search in progress."""
    search: line_search.Search
    base: Array
    base_gradient: Array
    direction: Array
    history: History
    pairs: Array
    """(2 · size, n): s and y in turn; a ring, where a new pair replaces the oldest."""
    mark: Array
    """The best value when it last fell by more than rounding error."""
    idle: Array
    """Evaluations since then."""
    restarted: Array
    """The history has been dropped since then."""


def lbfgs(
    *,
    history: int = 50,
    slack: float = 0.03,
    patience: int = 20,
    gradient_tolerance: float = 1e-9,
    c1: float = 1e-4,
    c2: float = 0.9,
) -> optax.GradientTransformationExtraArgs:
    """L-BFGS on one float array of any shape: `params + updates` is the next point to evaluate.

    Call `update(gradient, state, params, value=value)` with value and gradient at `params`. Scale the objective to
    about 1 at the start: the tolerance is absolute, and the first step is min(1, 1 / |gradient|_1).

    Args:
        history: curvature pairs kept; they take 2 · history times the memory of the params.
        slack: relative rise of the value that a step may bring, at least rounding error; 0 suits smooth objectives.
        patience: evaluations without improvement after which the run restarts from the best point, or ends.
        gradient_tolerance: converged when no component of the gradient is larger.
        c1: sufficient decrease constant of the Wolfe conditions.
        c2: curvature constant of the Wolfe conditions.

    Raises:
        InputError: an argument is out of range.
    """
    if history < 1 or patience < 1 or not slack >= 0 or not gradient_tolerance >= 0 or not 0 < c1 < c2 < 1:
        raise InputError(
            f"L-BFGS got {history=}, {patience=}, {slack=}, {gradient_tolerance=}, {c1=}, {c2=}; "
            "history and patience must be at least 1, slack and tolerance at least 0, and 0 < c1 < c2 < 1"
        )

    def init(params: Array) -> LBFGSState:
        zero, flat = jnp.zeros((), params.dtype), jnp.zeros(params.size, params.dtype)
        return LBFGSState(
            record=Record.begin(params),
            starting=jnp.array(True),
            search=line_search.begin(zero, zero, zero),
            base=flat,
            base_gradient=flat,
            direction=flat,
            history=_no_history(history, params.dtype),
            pairs=jnp.zeros((2 * history, params.size), params.dtype),
            mark=jnp.full((), jnp.finfo(params.dtype).max, params.dtype),
            idle=jnp.array(0, jnp.int32),
            restarted=jnp.array(False),
        )

    def update(
        updates: Array, state: LBFGSState, params: Array | None = None, *, value: Array, **_: Any
    ) -> tuple[Array, LBFGSState]:
        assert params is not None
        point, gradient = params.ravel(), updates.ravel()
        running = state.record.status == Status.RUNNING
        finite = jnp.isfinite(value) & jnp.isfinite(gradient).all()
        value = jnp.where(finite, value, jnp.inf)

        slope = _dot(gradient, state.direction)
        search, accepted = line_search.advance(state.search, value, slope, c1=c1, c2=c2, slack=slack)
        accepted &= running & ~state.starting
        moved = accepted | state.starting
        s, y = point - state.base, gradient - state.base_gradient
        known, pairs = _remember(state.history, state.pairs, s, y, accepted)
        descent = _direction(known, pairs, gradient)
        slope = _dot(gradient, descent)

        improved = value < state.mark - line_search.rounding_error(state.mark)
        idle = jnp.where(improved, 0, state.idle + 1)
        stuck = (idle >= patience) | (moved & ~(slope < 0))
        status = jnp.where(stuck & state.restarted & ~improved, Status.STALLED, Status.RUNNING)
        status = jnp.where(moved & (jnp.abs(gradient).max() <= gradient_tolerance), Status.CONVERGED, status)
        status = jnp.where(state.starting & ~finite, Status.NON_FINITE, status)
        record = state.record.enter(params, value, accepted, status)

        first_step = jnp.where(known.stored == 0, jnp.minimum(1, 1 / jnp.abs(gradient).sum()), 1)
        after = LBFGSState(
            record=record,
            starting=stuck,
            search=_where(moved, line_search.begin(value, slope, first_step), search),
            base=jnp.where(moved, point, state.base),
            base_gradient=jnp.where(moved, gradient, state.base_gradient),
            direction=jnp.where(moved, descent, state.direction),
            history=_where(stuck, _no_history(history, value.dtype), known),
            pairs=pairs,
            mark=jnp.where(improved, value, state.mark),
            idle=jnp.where(stuck, 0, idle),
            restarted=stuck | (state.restarted & ~improved),
        )
        target = jnp.where(stuck, record.best_params.ravel(), after.base + after.search.step * after.direction)
        step = jnp.where(running & (status == Status.RUNNING), target - point, 0)
        # A stopped image keeps its state. Its pairs have not changed; choosing between them would copy all of them.
        kept = _where(running, after._replace(pairs=idle), state._replace(pairs=idle))
        return step.reshape(params.shape), kept._replace(pairs=pairs)

    return optax.GradientTransformationExtraArgs(init, update)


def _no_history(size: int, dtype: Any) -> History:
    zero, identity = jnp.array(0, jnp.int32), jnp.eye(size, dtype=dtype)
    return History(stored=zero, cursor=zero, s_y=identity, y_y=identity)


def _remember(history: History, pairs: Array, s: Array, y: Array, accepted: Array) -> tuple[History, Array]:
    """Store the pair if its step was accepted and found positive curvature."""
    size = len(history.s_y)
    keep = accepted & (_dot(s, y) > jnp.finfo(s.dtype).eps * jnp.sqrt(_dot(s, s) * _dot(y, y)))
    # Written in place whether kept or not: a choice between two histories would copy all of it.
    row = 2 * history.cursor
    pair = jnp.where(keep, jnp.stack([s, y]), lax.dynamic_slice_in_dim(pairs, row, 2))
    pairs = lax.dynamic_update_slice_in_dim(pairs, pair, row, axis=0)

    after = history._replace(
        stored=jnp.minimum(history.stored + 1, size),
        cursor=(history.cursor + 1) % size,
    )
    s_y, y_y = _products(after, pairs, y)
    after = after._replace(
        s_y=_shifted(history.s_y, s_y),
        y_y=_shifted(history.y_y, y_y).at[-1].set(y_y),
    )
    return _where(keep, after, history), pairs


def _direction(history: History, pairs: Array, gradient: Array) -> Array:
    """Return -H · gradient, with N&W's equation 7.24 for H.

    On the inner products, the two loops of algorithm 7.4 are back and forward substitution: `alpha` is the book's,
    `rest` its alpha - beta.
    """
    size = len(history.s_y)
    s_g, y_g = _products(history, pairs, gradient)
    scale = history.s_y[-1, -1] / history.y_y[-1, -1]
    alpha = solve_triangular(history.s_y, s_g)
    y_r = scale * (y_g - jnp.dot(history.y_y, alpha, precision="highest"))
    rest = solve_triangular(history.s_y, jnp.diag(history.s_y) * alpha - y_r, trans="T")
    weights = jnp.stack([-rest, scale * alpha], axis=1)[(jnp.arange(size, dtype=jnp.int32) - history.cursor) % size]
    return jnp.dot(weights.ravel(), pairs, precision="highest") - scale * gradient


def _products(history: History, pairs: Array, vector: Array) -> tuple[Array, Array]:
    """The inner products of every s and every y with `vector`, by age, newest last; 0 where there is no pair."""
    size = len(history.s_y)
    age = jnp.arange(size, dtype=jnp.int32)
    products = jnp.dot(pairs, vector, precision="highest").reshape(size, 2)[(history.cursor + age) % size]
    products = jnp.where((age >= size - history.stored)[:, None], products, 0)
    return products[:, 0], products[:, 1]


def _shifted(matrix: Array, column: Array) -> Array:
    """Drop the oldest pair's row and column; append the newest's column, and zeros for its row."""
    return jnp.concatenate([jnp.pad(matrix[1:, 1:], ((0, 1), (0, 0))), column[:, None]], axis=1)


def _dot(a: Array, b: Array) -> Array:
    return jnp.vdot(a, b, precision="highest")


def _where(condition: Array, yes: T, no: T) -> T:
    return jax.tree.map(lambda y, n: jnp.where(condition, y, n), yes, no)
