"""Pixels within their bounds, and the images that a synthesis starts from."""

import jax.numpy as jnp
import numpy as np
import pytest

from sparseshape_jax.synthesis import pixels
from sparseshape_jax.synthesis.pixels import Parameterization

LOW, HIGH = jnp.full((2, 1, 1, 1), -2.0), jnp.asarray([1.5, 2.5]).reshape(2, 1, 1, 1)
SHARE = jnp.asarray(np.random.default_rng(0).uniform(0.001, 0.999, (2, 4, 5, 3)), jnp.float32)


def test_value_range_is_over_all_channels():
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 5, 3)))
    low, high = pixels.value_range(images)
    assert low.shape == high.shape == (2, 1, 1, 1)
    for index in range(2):
        assert (low[index], high[index]) == (images[index].min(), images[index].max())


@pytest.mark.parametrize("whitening", [0, 0.5, 1])
@pytest.mark.parametrize("bounds", ["sigmoid", "clip"])
def test_params_stand_for_the_image_they_were_made_from(bounds, whitening):
    images = LOW + (HIGH - LOW) * SHARE
    parameterization = Parameterization(bounds, whitening)
    params = parameterization.to_params(images, LOW, HIGH)
    np.testing.assert_allclose(parameterization.to_normalized(params, LOW, HIGH), images, atol=2e-5)


@pytest.mark.parametrize("whitening", [0, 0.5])
@pytest.mark.parametrize("bounds", ["sigmoid", "clip"])
def test_any_params_stand_for_values_in_range(bounds, whitening):
    params = jnp.asarray(np.random.default_rng(0).normal(scale=50, size=(2, 4, 5, 3)), jnp.float32)
    images = Parameterization(bounds, whitening).to_normalized(params, LOW, HIGH)
    assert (images >= LOW).all()
    assert (images <= HIGH).all()


@pytest.mark.parametrize("bounds", ["sigmoid", "clip"])
def test_values_out_of_range_move_to_its_edge(bounds):
    images = jnp.stack([LOW[0] - 1, HIGH[0] + 1, HIGH[0]]).reshape(3, 1, 1, 1)
    low, high = LOW[:1], HIGH[:1]
    parameterization = Parameterization(bounds, 0.5)
    params = parameterization.to_params(images, low, high)
    assert np.isfinite(params).all()
    moved = parameterization.to_normalized(params, low, high)
    np.testing.assert_allclose(moved.ravel(), [LOW[0, 0, 0, 0], *[HIGH[0, 0, 0, 0]] * 2], atol=1e-5)


def test_sigmoid_without_whitening_is_the_references():
    """image = low + (high - low) · sigmoid(p)."""
    params = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 5, 3)), jnp.float32)
    expected = np.asarray(LOW) + np.asarray(HIGH - LOW) / (1 + np.exp(-np.asarray(params, np.float64)))
    np.testing.assert_allclose(Parameterization("sigmoid", 0).to_normalized(params, LOW, HIGH), expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(24, 24), (24, 31), (33, 16)], ids=str)
@pytest.mark.parametrize("whitening", [0.5, 1])
def test_whitening_weighs_waves_by_their_frequency(shape, whitening):
    """A wave stays that wave; one of twice the frequency comes out 2 ** whitening times weaker."""
    height, width = shape
    y, x = np.mgrid[:height, :width]
    parameterization, wide = Parameterization("clip", whitening), (jnp.array(-1e6), jnp.array(1e6))

    def gain(vertical: int, horizontal: int) -> float:
        wave = np.cos(2 * np.pi * (vertical * y / height + horizontal * x / width) + 0.3)[None, ..., None]
        seen = parameterization.to_normalized(jnp.asarray(np.repeat(wave, 3, axis=3), jnp.float32), *wide)
        ratio = np.vdot(seen[..., 0], wave[..., 0]) / np.vdot(wave, wave)
        np.testing.assert_allclose(seen, np.repeat(ratio * wave, 3, axis=3), atol=1e-5)
        return float(ratio)

    for once, twice in (((1, 1), (2, 2)), ((2, 3), (4, 6)), ((0, 2), (0, 4)), ((3, 0), (6, 0))):
        assert gain(*once) / gain(*twice) == pytest.approx(2**whitening, rel=1e-4)
    assert gain(0, 0) >= gain(1, 1)


def test_whitening_keeps_the_variance_of_white_noise():
    noise = jnp.asarray(np.random.default_rng(0).normal(size=(4, 64, 48, 3)), jnp.float32)
    seen = Parameterization("clip", 0.5).to_normalized(noise, jnp.array(-1e6), jnp.array(1e6))
    assert float(seen.std()) == pytest.approx(1, abs=0.05)


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
