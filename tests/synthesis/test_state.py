"""Saved states: what is read back is what was written, and a run resumes from it as if never stopped."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sparseshape_jax.synthesis.optimize.lbfgs import lbfgs
from sparseshape_jax.synthesis.optimize.minimize import Minimizer, Minimum, Run, adam
from sparseshape_jax.synthesis.state import State, delete

CURVATURES = jnp.logspace(0, 2, 6)


@jax.vmap
@jax.value_and_grad
def objective(params):
    return jnp.sum(CURVATURES * params**2) + jnp.sum(jnp.cos(3 * params))


def batch() -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).normal(size=(2, 6)), jnp.float32)


MINIMIZERS = {"lbfgs": Minimizer(objective, lbfgs(history=3)), "adam": Minimizer(objective, adam())}


def run(name: str, start: Any, steps: int, **options: Any) -> Minimum:
    return MINIMIZERS[name].minimize(start, steps=steps, every=1, **options)


@pytest.mark.parametrize("name", MINIMIZERS)
@pytest.mark.parametrize("stop", [1, 7])
def test_a_run_resumes_as_if_never_stopped(tmp_path, name, stop):
    path = tmp_path / "state.npz"
    state = State(np.zeros((2, 2), int))

    def pause(done: int, run: Run) -> None:
        if done == stop:
            state.pause(run)
            state.write(path)

    whole = run(name, batch(), 16, callback=pause)
    read = State.read(path, 2)
    assert read.evaluations == stop
    resumed = run(name, read.resume(batch(), MINIMIZERS[name]), 16)
    for one, other in zip(jax.tree.leaves(whole.run), jax.tree.leaves(resumed.run), strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype
    np.testing.assert_array_equal(whole.params, resumed.params)
    assert whole.status == resumed.status


def test_a_fresh_state_begins_at_the_start(tmp_path):
    state = State.read(tmp_path / "missing.npz", 2)
    assert (state.octave, state.evaluations, state.run, state.scale) == (0, 0, None, None)
    start = batch()
    assert state.resume(start, MINIMIZERS["lbfgs"]) is start


def test_a_state_is_deleted_with_its_unfinished_copies_alone(tmp_path):
    for name in (".state-1.npz", "..state-1.77.partial.npz", ".state-12.npz", "..state-12.77.partial.npz", "x.npz"):
        (tmp_path / name).touch()
    delete(tmp_path / ".state-1.npz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["..state-12.77.partial.npz", ".state-12.npz", "x.npz"]
    delete(tmp_path / "missing.npz")


def test_everything_is_written_and_read(tmp_path):
    rng = np.random.default_rng(0)
    state = State(
        counts=np.array([[40, 12], [30, 9]]),
        octave=12,
        seconds=3.5,
        losses=[rng.random((2, 3), np.float32) for _ in range(12)],
        images=rng.random((2, 4, 4, 3), np.float32),
        scale=rng.random(2, np.float32),
    )
    state.pause(run("lbfgs", batch(), 4).run)
    state.write(tmp_path / "state.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["state.npz"]
    read = State.read(tmp_path / "state.npz", 2)
    assert (read.octave, read.seconds, read.evaluations) == (12, 3.5, 12 * 3 + 4)
    for name in ("counts", "images", "scale", "losses", "run"):
        jax.tree.map(np.testing.assert_array_equal, getattr(read, name), getattr(state, name))
    assert len(read.losses) == 12


def test_octaves_close_with_losses_in_the_references_units(tmp_path: Path):
    state = State(counts=np.array([[5, 5], [2, 2]]), scale=np.array([10.0, 1000.0]))
    result = run("adam", batch(), 4)
    state.pause(result.run)
    state.advance(result, np.ones((2, 4, 4, 3), np.float32))
    assert (state.octave, state.run, state.scale) == (1, None, None)
    np.testing.assert_allclose(state.losses[0], result.losses * [[10.0], [1000.0]])
    np.testing.assert_array_equal(state.counts, np.stack([5 + result.evaluations, 2 + result.iterations]))
    assert state.evaluations == 4
