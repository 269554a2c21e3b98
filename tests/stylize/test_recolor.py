"""Recoloring, compared with pytorch-AdaIN's own."""

import numpy as np
import pytest

from sparseshape_jax.stylize.recolor import recolor


@pytest.fixture(scope="module")
def goldens(reference_data):
    with np.load(reference_data / "goldens" / "stylize" / "stylize_reference.npz") as file:
        return {name: file[name] for name in file.files if name.startswith("coral.")}


@pytest.mark.parametrize("case", ["colours", "to_grey", "from_grey"])
def test_recolored_as_the_reference(goldens, case):
    name = f"coral.{case}"
    found = recolor(goldens[f"{name}.source"], goldens[f"{name}.target"])
    assert found.dtype == np.float32
    # The reference computes in float32.
    np.testing.assert_allclose(found, goldens[name], rtol=1e-5)


def test_statistics_of_large_pictures_are_the_targets():
    rng = np.random.default_rng(0)
    mix = rng.uniform(0, 1, (3, 3))
    source, target = rng.uniform(0, 1, (64, 64, 3)), 0.2 + 0.1 * rng.uniform(0, 1, (64, 64, 3)) @ mix
    pixels, others = recolor(source, target).reshape(-1, 3), target.reshape(-1, 3)
    np.testing.assert_allclose(pixels.mean(0), others.mean(0), atol=1e-6)
    np.testing.assert_allclose(np.cov(pixels.T), np.cov(others.T), rtol=0.01)  # the identity's share


def test_own_colors_change_nothing():
    image = np.random.default_rng(1).uniform(0, 1, (8, 9, 3)).astype(np.float32)
    np.testing.assert_allclose(recolor(image, image), image, atol=1e-6)


@pytest.mark.parametrize("color", [(0.0, 0.0, 0.0), (1.0, 0.5, 0.25)])
def test_pictures_of_one_color(color):
    rng = np.random.default_rng(2)
    flat, image = np.full((6, 7, 3), color), rng.uniform(0, 1, (5, 4, 3))
    np.testing.assert_allclose(recolor(image, flat), np.broadcast_to(color, image.shape), atol=1e-4)
    found = recolor(flat, image)
    np.testing.assert_allclose(found, np.broadcast_to(image.mean((0, 1)), flat.shape), atol=1e-6)
