"""The terms of style transfer against values of PyTorch, and against eigenvalues."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from sparseshape_jax.synthesis.objective import Objective, nine_point_variation
from sparseshape_jax.synthesis.targets import scales
from sparseshape_jax.synthesis.transfer import ContentTerm, StyleTerm
from sparseshape_jax.synthesis.wasserstein import moments, square_root, squared_distance
from sparseshape_jax.top_k.spec import TopK
from sparseshape_jax.weights.load import load

STYLE = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
CHANNELS = (64, 128, 256, 512, 512)
DENSE = TopK(1.0)
KEEP = jnp.zeros(1, int)


@pytest.fixture(scope="module")
def goldens(reference_data):
    with np.load(reference_data / "goldens" / "stylize" / "stylize_reference.npz") as file:
        wanted = ("gatys.", "w2.", "tv.", "scales.", "vgg16.content", "vgg16.style")
        return {name: file[name] for name in file.files if name.startswith(wanted)}


@pytest.mark.parametrize("pooling", ["max", "average"])
def test_gatys_losses_and_gradient(goldens, packaged_vgg, pooling):
    loaded = load("vgg16_lpips", trunk_only=True, pooling=pooling)
    terms = [StyleTerm(name, 1000 / c**2, units="absolute") for name, c in zip(STYLE, CHANNELS, strict=True)]
    objective = Objective((*terms, ContentTerm("relu4_2", units="absolute")), DENSE)
    graphdef, state = nnx.split(loaded.network)
    normalize = loaded.preprocessing.normalize
    sources = {
        name: normalize(jnp.asarray(goldens[f"vgg16.{name}"][:1], jnp.float32) / 255) for name in ("content", "style")
    }

    @jax.jit
    def evaluate(state, sources, image):
        network = nnx.merge(graphdef, state, copy=True)
        targets = objective.targets(network, sources, KEEP)

        def loss(image):
            parts = objective.term_losses(network, normalize(image), targets, KEEP)
            return jnp.sum(parts), parts

        return jax.value_and_grad(loss, has_aux=True)(image)

    (loss, parts), gradient = evaluate(state, sources, jnp.asarray(goldens["gatys.image"]))
    np.testing.assert_allclose(parts[0], goldens[f"gatys.{pooling}.parts"], rtol=1e-4)
    np.testing.assert_allclose(loss, goldens[f"gatys.{pooling}.loss"], rtol=1e-4)
    wanted = goldens[f"gatys.{pooling}.grad"]
    np.testing.assert_allclose(gradient, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


def losses(term, found, wanted):
    return term.loss(found, term.target(wanted, DENSE, KEEP), DENSE, KEEP)


losses_of = jax.jit(losses, static_argnums=0)


def test_wasserstein_loss_and_gradient(goldens):
    generated, target = jnp.asarray(goldens["w2.generated"]), jnp.asarray(goldens["w2.target"])
    term = StyleTerm("any", statistics="wasserstein", units="absolute")
    loss, gradient = jax.jit(jax.value_and_grad(lambda found: losses(term, found, target)[0]))(generated)
    np.testing.assert_allclose(loss, goldens["w2.loss"], rtol=1e-4)
    np.testing.assert_allclose(loss, goldens["w2.exact"], rtol=1e-4)
    wanted = goldens["w2.grad"]
    np.testing.assert_allclose(gradient, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


def exact_root(matrices):
    values, vectors = np.linalg.eigh(np.asarray(matrices, np.float64))
    return (vectors * np.sqrt(np.maximum(values, 0))[:, None]) @ vectors.swapaxes(1, 2)


def test_distances_are_those_of_eigenvalues_and_of_each_image_alone():
    rng = np.random.default_rng(0)
    one, other = (rng.normal(size=(3, 6, 7, 5)).astype(np.float32) * scale for scale in (1.0, 0.3))
    found, wanted = (jax.jit(moments)(each) for each in (one, other))
    roots = exact_root(wanted.covariance)
    cross = exact_root(roots @ np.asarray(found.covariance, np.float64) @ roots)
    flat = [np.asarray(each, np.float64).reshape(3, -1, 5) for each in (one, other)]
    expected = ((flat[0].mean(1) - flat[1].mean(1)) ** 2).mean(1)
    for i in range(3):
        both = sum(np.cov(each[i].T, bias=True) + 1e-4 * np.eye(5) for each in flat)
        expected[i] += np.trace(both - 2 * cross[i]) / 5
    distances = jax.jit(squared_distance)(found, wanted, square_root(wanted.covariance))
    np.testing.assert_allclose(distances, expected, rtol=1e-4)


def test_the_roots_gradient_is_that_of_eigenvalues():
    rng = np.random.default_rng(1)
    basis = rng.normal(size=(2, 4, 9))
    matrices = jnp.asarray(basis @ basis.swapaxes(1, 2) / 9, jnp.float32)
    weights = jnp.asarray(rng.normal(size=(2, 4, 4)), jnp.float32)

    def by_eigenvalues(matrices):
        values, vectors = jnp.linalg.eigh(matrices)
        return jnp.sum(weights * ((vectors * jnp.sqrt(values)[:, None]) @ vectors.mT))

    found = jax.jit(jax.grad(lambda matrices: jnp.sum(weights * square_root(matrices))))(matrices)
    expected = jax.jit(jax.grad(by_eigenvalues))(matrices)
    # Only the symmetric part is defined: the eigenvalues are those of a symmetric matrix.
    np.testing.assert_allclose(found + found.mT, expected + expected.mT, rtol=1e-3, atol=1e-4)


def test_nine_point_variation(goldens):
    image = jnp.asarray(goldens["tv.image"])
    loss, gradient = jax.jit(jax.value_and_grad(lambda image: nine_point_variation(image)[0]))(image)
    np.testing.assert_allclose(loss, goldens["tv.loss"], rtol=1e-5)
    np.testing.assert_allclose(gradient, goldens["tv.grad"], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("low", "high"), [(128, 512), (128, 224), (64, 300)])
def test_scales(goldens, low, high):
    assert scales(low, high) == tuple(goldens[f"scales.{low}_{high}"])


@pytest.mark.parametrize(("low", "high"), [(224, 224), (300, 224)])
def test_one_scale(low, high):
    assert scales(low, high) == (high,)


TERMS = (StyleTerm("any"), StyleTerm("any", statistics="wasserstein"), ContentTerm("any"))


@pytest.mark.parametrize("term", TERMS)
@settings(max_examples=10, deadline=None)
@given(scale=st.sampled_from([0.01, 1.0, 30.0]), seed=st.integers(0, 9))
def test_fractions_do_not_depend_on_the_activations_scale(term, scale, seed):
    rng = np.random.default_rng(seed)
    one, other = (10 + rng.normal(size=(2, 5, 6, 3)).astype(np.float32) for _ in range(2))

    scaled = losses_of(term, np.float32(scale) * one, np.float32(scale) * other)
    np.testing.assert_allclose(scaled, losses_of(term, one, other), rtol=0.02, atol=1e-3)
    np.testing.assert_allclose(losses_of(term, np.zeros_like(one), other), 1, rtol=0.01)
    np.testing.assert_allclose(losses_of(term, other, other), 0, atol=1e-4)


@pytest.mark.parametrize("term", TERMS)
def test_nothing_to_match_is_no_loss(term):
    nothing = jnp.zeros((1, 5, 6, 3))
    assert np.isfinite(losses_of(term, nothing, nothing)).all()
