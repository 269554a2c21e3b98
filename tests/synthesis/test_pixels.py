"""Pixels within their bounds, and the images that a synthesis starts from."""

import jax.numpy as jnp
import numpy as np
import pytest

from sparseshape_jax.synthesis import pixels

LOW, HIGH = jnp.full((2, 1, 1, 1), -2.0), jnp.asarray([1.5, 2.5]).reshape(2, 1, 1, 1)
SHARE = jnp.asarray(np.random.default_rng(0).uniform(0.001, 0.999, (2, 4, 5, 3)), jnp.float32)


def test_value_range_is_over_all_channels():
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 5, 3)))
    low, high = pixels.value_range(images)
    assert low.shape == high.shape == (2, 1, 1, 1)
    for index in range(2):
        assert (low[index], high[index]) == (images[index].min(), images[index].max())


@pytest.mark.parametrize("bounds", ["sigmoid", "clip"])
def test_params_stand_for_the_image_they_were_made_from(bounds):
    images = LOW + (HIGH - LOW) * SHARE
    params = pixels.to_params(images, LOW, HIGH, bounds)
    np.testing.assert_allclose(pixels.to_normalised(params, LOW, HIGH, bounds), images, atol=2e-5)


@pytest.mark.parametrize("bounds", ["sigmoid", "clip"])
def test_any_params_stand_for_values_in_range(bounds):
    params = jnp.asarray(np.random.default_rng(0).normal(scale=50, size=(2, 4, 5, 3)), jnp.float32)
    images = pixels.to_normalised(params, LOW, HIGH, bounds)
    assert (images >= LOW).all()
    assert (images <= HIGH).all()


@pytest.mark.parametrize("bounds", ["sigmoid", "clip"])
def test_values_out_of_range_move_to_its_edge(bounds):
    images = jnp.stack([LOW[0] - 1, HIGH[0] + 1, HIGH[0]]).reshape(3, 1, 1, 1)
    low, high = LOW[:1], HIGH[:1]
    params = pixels.to_params(images, low, high, bounds)
    assert np.isfinite(params).all()
    moved = pixels.to_normalised(params, low, high, bounds)
    np.testing.assert_allclose(moved.ravel(), [LOW[0, 0, 0, 0], *[HIGH[0, 0, 0, 0]] * 2], atol=1e-5)


def test_sigmoid_is_the_references():
    """image = low + (high - low) · sigmoid(p)."""
    params = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 5, 3)), jnp.float32)
    expected = np.asarray(LOW) + np.asarray(HIGH - LOW) / (1 + np.exp(-np.asarray(params, np.float64)))
    np.testing.assert_allclose(pixels.to_normalised(params, LOW, HIGH, "sigmoid"), expected, atol=1e-6)


def test_flat_start():
    image = pixels.starting_image((60, 50), "flat", 3)
    assert image.shape == (60, 50, 3)
    assert abs(image.mean() - 0.5) < 0.001
    assert abs(image.std() - pixels.FLAT_NOISE) < 0.001


def test_noise_start_fills_the_range():
    image = pixels.starting_image((60, 50), "noise", 3)
    counts, _ = np.histogram(image, bins=10, range=(0, 1))
    assert counts.sum() == image.size
    assert counts.min() > 0.9 * image.size / 10


@pytest.mark.parametrize("start", ["flat", "noise"])
def test_a_seed_is_one_start(start):
    first, again, other = (pixels.starting_image((8, 8), start, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
