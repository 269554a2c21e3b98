"""L-BFGS against the book written out slowly, against its own conditions, against torch, and in bad weather."""

import functools
from collections.abc import Callable, Iterator
from itertools import pairwise
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from sparseshape_jax.errors import InputError
from sparseshape_jax.synthesis.optimize.lbfgs import lbfgs
from sparseshape_jax.synthesis.optimize.minimize import Minimizer, Minimum, Run, Status

Objective = Callable[..., jax.Array]

C1, C2 = 1e-4, 0.9


def rosenbrock(x: jax.Array) -> jax.Array:
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def quadratic(x: jax.Array) -> jax.Array:
    """Condition number 10⁴."""
    return 0.5 * jnp.sum(jnp.logspace(0, 4, x.size, dtype=x.dtype) * x**2)


def ellipsoid(x: jax.Array, factor: jax.Array) -> jax.Array:
    return 0.5 * jnp.sum((factor @ (x - 1)) ** 2)


def barrier(x: jax.Array) -> jax.Array:
    """Defined for positive x only, and steep at the edge; the minimum is at 1/50."""
    return jnp.sum(50 * x - jnp.log(x))


def sawtooth(x: jax.Array) -> jax.Array:
    """A quadratic with jumps of 1 % that its gradient does not see."""
    return (1 + jnp.sum(jnp.logspace(0, 2, x.size) * x**2)) * (1 + 0.01 * lax.stop_gradient(jnp.sum(1e3 * x) % 1))


def batched(objective: Objective) -> Callable[..., tuple[jax.Array, jax.Array]]:
    return jax.vmap(jax.value_and_grad(objective), in_axes=(0,) if objective is not ellipsoid else (0, None))


PROBLEMS = {
    "rosenbrock 2-D": (rosenbrock, batched(rosenbrock), np.array([-1.2, 1.0])),
    "rosenbrock 10-D": (rosenbrock, batched(rosenbrock), np.tile([-1.2, 1.0], 5)),
    "quadratic": (quadratic, batched(quadratic), np.linspace(-1, 2, 20)),
}
BOOK = {3: lbfgs(history=3, slack=0), 20: lbfgs(history=20, slack=0)}


@functools.cache
def minimizer(value_and_grad: Callable, optimizer: optax.GradientTransformationExtraArgs) -> Minimizer:
    """The same for the same objective and optimizer, so that steps are compiled once."""
    return Minimizer(value_and_grad, optimizer)


def run(
    value_and_grad: Callable,
    start: np.ndarray,
    steps: int,
    optimizer: optax.GradientTransformationExtraArgs,
    *arguments: object,
) -> tuple[Minimum, np.ndarray, np.ndarray]:
    """Minimize one vector in float64; also every point evaluated, and whether it was accepted."""
    points, iterations = [start], [0]

    def watch(done: int, run: Run) -> None:
        points.append(np.array(run.params[0]))
        iterations.append(int(run.state.record.iterations[0]))

    with jax.enable_x64(True):
        first = jnp.asarray(start[None], jnp.float64)
        result = minimizer(value_and_grad, optimizer).minimize(first, *arguments, steps=steps, callback=watch, every=1)
    return result, np.array(points[:-1]), np.diff(iterations) > 0


def evaluations_to(target: float, losses: np.ndarray) -> int:
    return int(np.argmax(losses <= target)) + 1 if (losses <= target).any() else 10**9


def textbook(f: Callable, x: np.ndarray, history: int) -> Iterator[np.ndarray]:
    """Nocedal & Wright's algorithms 7.5, 7.4, 3.5 and 3.6, as they stand; yields every point that it evaluates."""
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    yield x
    value, gradient = f(x)
    while True:
        q, alphas = gradient.copy(), []
        for s, y in reversed(pairs):
            alphas.append(s @ q / (s @ y))
            q -= alphas[-1] * y
        if pairs:
            s, y = pairs[-1]
            q *= s @ y / (y @ y)
        for (s, y), alpha in zip(pairs, reversed(alphas), strict=True):
            q += s * (alpha - y @ q / (s @ y))
        direction = -q
        first = 1.0 if pairs else min(1.0, 1 / np.abs(gradient).sum())
        x_new, value_new, gradient_new = yield from wolfe(f, x, value, gradient, direction, first)
        pairs = [*pairs, (x_new - x, gradient_new - gradient)][-history:]
        x, value, gradient = x_new, value_new, gradient_new


def wolfe(f: Callable, x: np.ndarray, value: float, gradient: np.ndarray, d: np.ndarray, step: float) -> Iterator:
    def phi(step: float) -> tuple:
        v, g = f(x + step * d)
        return step, v, g @ d, g

    def finish(point: tuple) -> tuple:
        return x + point[0] * d, point[1], point[3]

    def too_high(point: tuple) -> bool:
        return point[1] > value + C1 * point[0] * slope

    slope = gradient @ d
    previous = (0.0, value, slope, gradient)
    while True:
        yield x + step * d
        trial = phi(step)
        if too_high(trial) or trial[1] >= previous[1]:
            low, high = previous, trial
            break
        if abs(trial[2]) <= -C2 * slope:
            return finish(trial)
        if trial[2] >= 0:
            low, high = trial, previous
            break
        step = float(np.clip(cubic(previous, trial), step + 0.01 * (step - previous[0]), 10 * step))
        previous = trial
    while True:
        near, far = sorted((low[0], high[0]))
        step = float(np.clip(cubic(low, high), near + 0.1 * (far - near), far - 0.1 * (far - near)))
        yield x + step * d
        trial = phi(step)
        if too_high(trial) or trial[1] >= low[1]:
            high = trial
        else:
            if abs(trial[2]) <= -C2 * slope:
                return finish(trial)
            if trial[2] * (high[0] - low[0]) >= 0:
                high = low
            low = trial


def cubic(a: tuple, b: tuple) -> float:
    """Equation 3.59; these problems never lack a minimum."""
    d1 = a[2] + b[2] - 3 * (a[1] - b[1]) / (a[0] - b[0])
    d2 = np.sign(b[0] - a[0]) * np.sqrt(d1**2 - a[2] * b[2])
    return b[0] - (b[0] - a[0]) * (b[2] + d2 - d1) / (b[2] - a[2] + 2 * d2)


@pytest.mark.parametrize(
    ("name", "history"), [("rosenbrock 2-D", 20), ("rosenbrock 10-D", 3), ("rosenbrock 10-D", 20), ("quadratic", 20)]
)
def test_evaluates_the_same_points_as_the_book(name: str, history: int) -> None:
    objective, value_and_grad, start = PROBLEMS[name]
    result, points, _ = run(value_and_grad, start, 60, BOOK[history])
    with jax.enable_x64(True):
        f = jax.jit(jax.value_and_grad(objective))
        oracle = textbook(lambda x: [np.asarray(part) for part in f(x)], start, history)
        # Down to 10⁻⁹ of the first value: from there on it is rounding errors that are compared.
        few = evaluations_to(1e-9 * result.losses[0, 0], result.losses[0])
        expected = [next(oracle) for _ in range(min(few, 60))]
    assert len(expected) > 20
    np.testing.assert_allclose(points[: len(expected)], expected, rtol=1e-5, atol=1e-7)


ELLIPSOIDS, STRICT = batched(ellipsoid), lbfgs(history=5, slack=0)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), stretch=st.floats(0, 3), distance=st.floats(-2, 2))
def test_accepted_points_meet_the_strong_wolfe_conditions(seed: int, stretch: float, distance: float) -> None:
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(6, 6)) * np.logspace(0, stretch, 6)
    start = 1 + 10**distance * rng.normal(size=6)
    result, points, accepted = run(ELLIPSOIDS, start, 40, STRICT, factor)
    points, accepted = points[: result.evaluations[0]], accepted[: result.evaluations[0]]
    values = result.losses[0, : len(points)]
    gradients = (points - 1) @ factor.T @ factor
    bases = np.flatnonzero(np.append(True, accepted[1:]))
    assert len(bases) > 5
    for old, new in pairwise(bases):
        step = points[new] - points[old]
        before, after = gradients[old] @ step, gradients[new] @ step
        rounding = 1e-14 * values[old]
        assert before < 0
        assert values[new] <= values[old] + C1 * before + rounding
        assert abs(after) <= C2 * abs(before) + rounding


@pytest.mark.parametrize("name", PROBLEMS)
def test_needs_no_more_evaluations_than_torch(name: str, torch: ModuleType) -> None:
    objective, value_and_grad, start = PROBLEMS[name]
    ours = run(value_and_grad, start, 150, BOOK[20])[0].losses[0]
    theirs: list[float] = []
    params = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
    with jax.enable_x64(True):
        f = jax.jit(jax.value_and_grad(objective))

        def closure() -> object:
            value, gradient = f(params.detach().numpy())
            params.grad = torch.tensor(np.asarray(gradient))
            theirs.append(float(value))
            return torch.tensor(theirs[-1])

        options = {"max_iter": 150, "max_eval": 150, "tolerance_grad": 0, "tolerance_change": 0}
        torch.optim.LBFGS([params], history_size=20, line_search_fn="strong_wolfe", **options).step(closure)
    for part in (1e-2, 1e-4, 1e-8):
        target = part * theirs[0]
        assert evaluations_to(target, ours) <= 1.1 * evaluations_to(target, np.array(theirs))


BARRIER = batched(barrier)


def test_a_trial_that_is_not_finite_is_retreated_from() -> None:
    result, _, _ = run(BARRIER, np.array([3.0, 0.5, 0.02, 10.0]), 150, BOOK[20])
    assert np.isnan(result.losses[0, : result.evaluations[0]]).any()
    assert result.status == (Status.CONVERGED,)
    np.testing.assert_allclose(result.params[0], 1 / 50, rtol=1e-6)


def test_infinite_gradients_are_retreated_from() -> None:
    def value_and_grad(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        value, gradient = batched(quadratic)(x)
        return value, jnp.where(x[:, :1] > 1, jnp.inf, gradient)

    result, points, accepted = run(value_and_grad, np.array([-1.0, 1.0]), 80, lbfgs())
    assert not accepted[points[:, 0] > 1].any()
    np.testing.assert_allclose(result.params, 0, atol=1e-6)


def test_a_stall_ends_the_run_after_one_more_try_from_the_best_point() -> None:
    def value_and_grad(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        value, gradient = batched(quadratic)(x)
        # From here on the gradient points the wrong way.
        return value, jnp.where(value[:, None] < 1, -gradient, gradient)

    result, points, _ = run(value_and_grad, np.linspace(-1, 2, 5), 200, lbfgs(patience=10))
    assert result.status == (Status.STALLED,)
    losses = result.losses[0, : result.evaluations[0]]
    best = np.argmin(losses)
    assert len(losses) <= best + 1 + 2 * 10
    assert result.values[0] == losses[best]
    np.testing.assert_array_equal(result.params[0], points[best])
    visits = (points[: len(losses)] == points[best]).all(axis=1).sum()
    assert visits == 2, "the best point is where the second try starts"


def test_slack_looks_past_jumps_that_the_gradient_does_not_see() -> None:
    start = np.linspace(-1, 2, 10)
    stuck, free = (run(batched(sawtooth), start, 60, lbfgs(slack=slack))[0] for slack in (0, 0.03))
    assert free.values[0] < 1.001 < stuck.values[0]


def test_a_start_that_is_not_finite_says_so() -> None:
    result, _, _ = run(BARRIER, np.array([1.0, 1.0, -1.0, 1.0]), 5, BOOK[20])
    assert result.status == (Status.NON_FINITE,)
    assert result.evaluations == 1
    np.testing.assert_array_equal(result.params, [[1.0, 1.0, -1.0, 1.0]])


def test_a_start_at_the_minimum_has_converged() -> None:
    result, _, _ = run(PROBLEMS["quadratic"][1], np.zeros(20), 5, BOOK[20])
    assert result.status == (Status.CONVERGED,)
    assert result.iterations == 0


@pytest.mark.parametrize(
    "wrong", [{"history": 0}, {"patience": 0}, {"slack": -1}, {"slack": float("nan")}, {"c1": 0.9}, {"c2": 1.0}]
)
def test_refuses_settings_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="must be"):
        lbfgs(**wrong)
