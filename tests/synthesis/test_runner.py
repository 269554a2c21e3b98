"""The runner on networks with random weights: without folders, and without leaving anything behind."""

import gc
import weakref
from typing import Any

import jax
import numpy as np
import pytest
from jax.extend.backend import get_backend
from support.networks import random_network

from sparseshape_jax.errors import InputError
from sparseshape_jax.models import Network
from sparseshape_jax.preprocessing import TORCHVISION
from sparseshape_jax.synthesis.objective import Objective, Term, terms_for
from sparseshape_jax.synthesis.optimize.lbfgs import lbfgs
from sparseshape_jax.synthesis.optimize.minimize import Status
from sparseshape_jax.synthesis.pixels import Parameterization
from sparseshape_jax.synthesis.runner import Runner
from sparseshape_jax.top_k.spec import TopK

TEXTURE = Objective(terms_for("texture", ("relu1", "pool1")), TopK(0.2))
RNG = np.random.default_rng(0)
IMAGES, STARTS = RNG.random((2, 33, 35, 3), np.float32), 0.5 + 0.1 * RNG.normal(size=(2, 33, 35, 3)).astype(np.float32)


def network() -> Network:
    return random_network("squeezenet1_1", trunk_only=True)


def runner(objective: Objective = TEXTURE, bounds: Any = "sigmoid", **options: Any) -> Runner:
    return Runner(network(), TORCHVISION, objective, Parameterization(bounds, 0.5), lbfgs(history=5), **options)


@pytest.fixture(scope="module")
def one() -> Runner:
    """A runner for textures."""
    return runner()


def test_losses_start_at_one_and_fall(one):
    problem = one.problem({"image": IMAGES}, STARTS, ("top", "all"))
    np.testing.assert_allclose(one.losses(problem.start, problem), 1, rtol=1e-6)
    values, gradients = one.value_and_grad(problem.start, problem)
    np.testing.assert_allclose(values, 1, rtol=1e-6)
    assert gradients.shape == problem.start.shape
    result = one.run(problem, steps=15)
    assert result.status == (Status.BUDGET,) * 2
    np.testing.assert_allclose(result.losses[:, 0], 1, rtol=1e-5)
    assert (result.values < 0.7).all()
    np.testing.assert_allclose(one.losses(result.params, problem), result.values, rtol=1e-4)


@pytest.mark.parametrize("bounds", ["sigmoid", "clip"])
def test_images_are_those_that_params_were_made_from(bounds):
    one = runner(bounds=bounds)
    problem = one.problem({"image": IMAGES}, STARTS, ("all", "all"))
    np.testing.assert_allclose(one.images(problem.start, problem), STARTS, atol=1e-4)


def test_resumes_from_a_run(one):
    problem = one.problem({"image": IMAGES}, STARTS, ("top", "rest"))
    whole, half = one.run(problem, steps=8), one.run(problem, steps=4)
    np.testing.assert_array_equal(one.run(problem, half.run, steps=8).losses, whole.losses)


def test_a_given_scale_is_the_unit_of_the_losses(one):
    problem = one.problem({"image": IMAGES}, STARTS, ("top", "all"))
    other = one.problem({"image": IMAGES}, STARTS, ("top", "all"), scale=2 * problem.scale)
    np.testing.assert_allclose(one.losses(problem.start, other), 0.5, rtol=1e-6)


def test_smoothness_is_in_units_of_the_starting_loss(one):
    smooth = runner(smoothness=3.0)
    scale = one.problem({"image": IMAGES}, STARTS, ("all", "all")).scale
    problem = smooth.problem({"image": IMAGES}, STARTS, ("all", "all"), scale=scale)
    down, right = (np.mean(np.diff(STARTS, axis=axis) ** 2, axis=(1, 2, 3)) for axis in (1, 2))
    np.testing.assert_allclose(smooth.losses(problem.start, problem), 1 + 3 * (down + right), rtol=1e-4)


def test_content_and_style_come_from_two_images():
    """At the content image the content's loss is 0, and only the style's is left; sizes differ."""
    content, style = Term("reconstruction", "relu1", source="content"), Term("texture", "pool1", source="style")
    styles = RNG.random((2, 40, 37, 3), np.float32)
    keep = ("all", "all")
    low, high = runner(Objective((style,), TopK(1.0)), "clip"), runner(Objective((content, style), TopK(1.0)), "clip")
    alone = low.problem({"style": styles}, IMAGES, keep)
    both = high.problem({"content": IMAGES, "style": styles}, IMAGES, keep)
    np.testing.assert_allclose(both.scale, alone.scale, rtol=1e-3)
    result = high.run(high.problem({"content": IMAGES, "style": styles}, STARTS, keep), steps=10)
    assert (result.values < 0.9).all()


def test_the_range_of_values_is_that_of_all_sources():
    objective = Objective((Term("texture", "pool1", source="a"), Term("texture", "pool1", source="b")), TopK(1.0))
    one = runner(objective)
    problem = one.problem({"a": 0.5 * IMAGES, "b": 0.5 + 0.5 * IMAGES}, STARTS, ("all", "all"))
    dark, bright = (TORCHVISION.normalize(images) for images in (0.5 * IMAGES, 0.5 + 0.5 * IMAGES))
    np.testing.assert_allclose(problem.per_image["low"].ravel(), dark.min((1, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(problem.per_image["high"].ravel(), bright.max((1, 2, 3)), rtol=1e-6)


def test_unknown_activations_are_named():
    with pytest.raises(InputError, match="squeezenet1_1 has no activation called 'pool9'"):
        runner(Objective(terms_for("texture", ("pool9",)), TopK(0.2)))


def test_programs_and_weights_go_with_the_runner():
    """On one device; with several, JAX's own cache of pmap keeps its programs."""

    def work() -> list[weakref.ref]:
        one = runner()
        problem = one.problem({"image": IMAGES}, STARTS, ("top", "all"))
        one.run(problem, steps=2)
        one.value_and_grad(problem.start, problem)
        return [weakref.ref(one), weakref.ref(one.minimizer)]

    def counts() -> tuple[int, int]:
        gc.collect()
        return len(get_backend().live_executables()), len(jax.live_arrays())

    work()  # compiles what all runners share: NumPy-like functions outside of any program
    before = counts()
    references = work()
    assert counts() == before
    assert [reference() for reference in references] == [None, None]
