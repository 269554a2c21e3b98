"""Minimizing batches: chunks, interruptions, images that stop, and Adam."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sparseshape_jax.errors import InputError
from sparseshape_jax.synthesis.optimize.lbfgs import lbfgs
from sparseshape_jax.synthesis.optimize.minimize import Minimizer, Run, Status, adam


def valley(x: jax.Array, weight: jax.Array) -> jax.Array:
    """Rosenbrock's function of the columns of (2, 3) images; not a number where any pixel is."""
    return jnp.mean(weight.astype(x.dtype) * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2)


value_and_grad = jax.vmap(jax.value_and_grad(valley), in_axes=(0, None))

STARTS = np.random.default_rng(1).normal(size=(4, 2, 3)).astype(np.float32)
OPTIMIZERS = {"lbfgs": lbfgs(history=4), "adam": adam(0.1)}
MINIMIZERS = {
    (name, scan): Minimizer(value_and_grad, optimizer, scan=scan)
    for name, optimizer in OPTIMIZERS.items()
    for scan in (False, True)
}
WEIGHT = np.float32(30)


def solve(start: Any, steps: int = 45, *, name: str = "lbfgs", scan: bool = False, **options: Any) -> Any:
    return MINIMIZERS[name, scan].minimize(start, WEIGHT, steps=steps, **options)


def test_a_batch_does_what_each_image_does_alone() -> None:
    with jax.enable_x64(True):
        starts = STARTS.astype(np.float64)
        together = solve(starts)
        alone = [solve(start[None]) for start in starts]
    np.testing.assert_allclose(together.losses, np.concatenate([one.losses for one in alone]), rtol=1e-6)
    np.testing.assert_array_equal(together.iterations, [one.iterations[0] for one in alone])
    assert len(set(together.iterations.tolist())) > 1, "the images should differ in when their searches end"


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_scanned_chunks_do_what_single_steps_do(name: str) -> None:
    with jax.enable_x64(True):
        starts = STARTS.astype(np.float64)
        one, many = (solve(starts, name=name, scan=scan, every=15) for scan in (False, True))
    np.testing.assert_allclose(one.losses, many.losses, rtol=1e-6)
    np.testing.assert_allclose(one.params, many.params, rtol=1e-6)


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_interrupted_run_ends_like_one_that_was_not(name: str, scan: bool, tmp_path: Path) -> None:
    options: dict[str, Any] = {"name": name, "every": 9, "scan": scan}
    whole = solve(STARTS, **options)

    class Killed(Exception):
        pass

    def save(done: int, run: Run) -> None:
        if done == 18:
            np.savez(tmp_path / "run.npz", *jax.tree.leaves(run))
            raise Killed

    with pytest.raises(Killed):
        solve(STARTS, callback=save, **options)
    with np.load(tmp_path / "run.npz") as file:
        leaves = list(file.values())
    rest = solve(jax.tree.unflatten(jax.tree.structure(whole.run), leaves), **options)
    jax.tree.map(np.testing.assert_array_equal, whole.run, rest.run)
    np.testing.assert_array_equal(whole.params, rest.params)
    assert whole.status == rest.status


def test_a_finished_run_resumes_with_a_larger_budget() -> None:
    first = solve(STARTS, steps=10)
    assert first.status == (Status.BUDGET,) * 4
    more = solve(first.run, steps=25)
    np.testing.assert_array_equal(more.losses, solve(STARTS, steps=25).losses)
    same = solve(first.run, steps=10)
    np.testing.assert_array_equal(same.losses, first.losses)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_nan_image_stops_alone(name: str) -> None:
    spoilt = STARTS.copy()
    spoilt[2, 0, 0] = np.nan
    well, ill = (solve(starts, name=name) for starts in (STARTS, spoilt))
    others = [0, 1, 3]
    np.testing.assert_array_equal(well.losses[others], ill.losses[others])
    np.testing.assert_array_equal(well.params[np.array(others)], ill.params[np.array(others)])
    assert ill.status[2] == Status.NON_FINITE
    assert ill.evaluations.tolist() == [45, 45, 1, 45]
    assert np.isnan(ill.losses[2]).all()


def test_an_image_that_has_stopped_stays_as_it_is() -> None:
    seen = []
    # The third image starts at the minimum, the second in the course of converging.
    starts = np.stack([STARTS[0], 1 + 1e-3 * STARTS[1], np.ones((2, 3))]).astype(np.float32)
    minimizer = Minimizer(value_and_grad, lbfgs(gradient_tolerance=1e-4))
    result = minimizer.minimize(
        starts, WEIGHT, steps=45, every=1, callback=lambda done, run: seen.append(np.array(run.params))
    )
    first, second, third = result.evaluations
    assert third == 1 < second < first
    assert result.status == (Status.CONVERGED,) * 3
    assert result.losses.shape == (3, first), "nothing is evaluated when all have stopped"
    assert np.isnan(result.losses[1, second:]).all()
    assert np.isfinite(result.losses[1, :second]).all()
    np.testing.assert_array_equal([params[2] for params in seen], [starts[2]] * len(seen))
    np.testing.assert_array_equal([params[1] for params in seen[second - 1 :]], [seen[-1][1]] * (first - second + 1))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_best_point_is_kept_not_the_last(name: str) -> None:
    minimizer = Minimizer(value_and_grad, adam(1.0) if name == "adam" else OPTIMIZERS[name])
    points = [STARTS]
    result = minimizer.minimize(
        STARTS, WEIGHT, steps=20, every=1, callback=lambda done, run: points.append(np.array(run.params))
    )
    best = np.argmin(result.losses, axis=1)
    np.testing.assert_array_equal(result.values, result.losses.min(axis=1))
    np.testing.assert_array_equal(result.params, [points[step][image] for image, step in enumerate(best)])


def test_adam_is_optax_adam() -> None:
    optimizer = optax.adam(0.1)
    params, losses = jnp.asarray(STARTS), []
    state = optimizer.init(params)
    for _ in range(10):
        values, gradients = value_and_grad(params, WEIGHT)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(gradients, state)
        params += updates
        losses.append(values)
    result = solve(STARTS, 10, name="adam")
    np.testing.assert_allclose(result.losses.T, losses, rtol=1e-5)
    assert result.evaluations.tolist() == result.iterations.tolist() == [10] * 4


def test_callbacks_come_every_so_often_and_at_the_end() -> None:
    calls: list[tuple[int, tuple[int, ...]]] = []
    solve(STARTS, 25, every=10, callback=lambda done, run: calls.append((done, run.losses.shape)))
    assert calls == [(10, (4, 10)), (20, (4, 20)), (25, (4, 25))]
    calls.clear()
    solve(np.ones_like(STARTS), 25, every=10, callback=lambda done, run: calls.append((done, run.losses.shape)))
    assert calls == [(1, (4, 1))]


def test_the_start_is_left_alone() -> None:
    start = jnp.asarray(STARTS)
    result = solve(start, 3)
    solve(result.run, 6)
    np.testing.assert_array_equal(start, STARTS)
    assert np.isfinite(result.run.params).all()


def test_steps_are_compiled_once_for_each_shape() -> None:
    compiled: list[int] = []

    def counting(points: jax.Array) -> tuple[jax.Array, jax.Array]:
        compiled.append(len(points))
        return value_and_grad(points, WEIGHT)

    minimizer = Minimizer(counting, lbfgs(history=2))
    for _ in range(2):
        for count in (4, 3):
            minimizer.minimize(STARTS[:count], steps=3)
    assert compiled == [4, 3]


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"every": 0}])
def test_refuses_an_empty_budget(wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match="at least 1"):
        solve(STARTS, **wrong)
