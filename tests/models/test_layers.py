"""Pools and batch normalization, against torch's: values, gradients, running statistics."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sparseshape_jax.models.layers import AdaptiveAveragePool, AveragePool, BatchNorm, Conv, Linear, max_pool

SIDES = st.integers(1, 24)


def sample(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def to_torch(torch, x: np.ndarray):
    return torch.from_numpy(np.array(x)).permute(0, 3, 1, 2)


def from_torch(x) -> np.ndarray:
    return x.detach().permute(0, 2, 3, 1).numpy()


def compiled(pool, x: np.ndarray, **options):
    """One compilation per shape, where one per operation would take most of the time."""
    return jax.jit(partial(pool, **options))(x)


def compare_with_gradient(torch, ours, theirs, x: np.ndarray) -> None:
    """The layer's values, and the gradient of a random weighting of them, under `jit`."""
    inputs = to_torch(torch, x).requires_grad_()
    outputs = theirs(inputs)
    expected = from_torch(outputs)
    cotangent = sample(*expected.shape, seed=1)
    (outputs * to_torch(torch, cotangent)).sum().backward()

    def value_and_gradient(x, cotangent):
        y, pullback = jax.vjp(ours, x)
        return y, pullback(cotangent)[0]

    y, gradient = jax.jit(value_and_gradient)(x, cotangent)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, from_torch(inputs.grad), rtol=1e-5, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(SIDES, SIDES, st.integers(1, 4), st.integers(1, 4), st.booleans(), st.data())
def test_max_pool_equals_torch_for_every_size(torch, height, width, window, stride, ceil_mode, data):
    padding = data.draw(st.integers(0, window // 2))
    x = -np.abs(sample(1, height, width, 2))  # negative, so that padding with zeros would show
    try:
        expected = torch.nn.functional.max_pool2d(
            to_torch(torch, x), window, stride, padding=padding, ceil_mode=ceil_mode
        )
    except RuntimeError:  # the image is smaller than the window
        assume(False)
    ours = compiled(max_pool, x, window=window, stride=stride, padding=padding, ceil_mode=ceil_mode)
    np.testing.assert_array_equal(ours, from_torch(expected))


@pytest.mark.parametrize(("height", "width"), [(1, 9), (2, 2), (9, 1)])
def test_an_image_smaller_than_the_window_leaves_nothing(height, width):
    assert 0 in max_pool(jnp.ones((1, height, width, 1)), 3, 2).shape
    assert 0 in AveragePool(3, 2)(jnp.ones((1, height, width, 1))).shape


@settings(max_examples=12, deadline=None)
@given(SIDES, SIDES, st.integers(1, 4), st.integers(1, 4))
def test_average_pool_equals_torch_for_every_size(torch, height, width, window, stride):
    assume(min(height, width) >= window)
    x = sample(1, height, width, 2)
    expected = torch.nn.functional.avg_pool2d(to_torch(torch, x), window, stride)
    ours = compiled(AveragePool(window, stride), x)
    np.testing.assert_allclose(ours, from_torch(expected), rtol=1e-5, atol=1e-6)


@settings(max_examples=12, deadline=None)
@given(SIDES, SIDES, st.sampled_from([1, 2, 6, 7]))
def test_adaptive_pool_equals_torch_for_every_size(torch, height, width, size):
    x = sample(1, height, width, 2)
    expected = torch.nn.functional.adaptive_avg_pool2d(to_torch(torch, x), size)
    ours = compiled(AdaptiveAveragePool(size), x)
    np.testing.assert_allclose(ours, from_torch(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_gradient_of_max_pool(torch, ceil_mode):
    compare_with_gradient(
        torch,
        lambda x: max_pool(x, 3, 2, padding=1, ceil_mode=ceil_mode),
        torch.nn.MaxPool2d(3, 2, padding=1, ceil_mode=ceil_mode),
        sample(2, 10, 9, 3),
    )


@pytest.mark.parametrize(("window", "stride"), [(3, 2), (2, 2), (2, 1), (2, 3)])
def test_gradient_of_max_pool_goes_to_the_first_of_equal_maxima(torch, window, stride):
    equal = np.round(np.maximum(sample(2, 12, 11, 3), 0))
    compare_with_gradient(torch, lambda x: max_pool(x, window, stride), torch.nn.MaxPool2d(window, stride), equal)


def test_gradient_of_average_pool(torch):
    compare_with_gradient(torch, AveragePool(2, 2), torch.nn.AvgPool2d(2), sample(2, 9, 8, 3))


@pytest.mark.parametrize("shape", [(2, 11, 5, 3), (2, 6, 6, 3)])
def test_gradient_of_adaptive_pool(torch, shape):
    compare_with_gradient(torch, AdaptiveAveragePool(6), torch.nn.AdaptiveAvgPool2d(6), sample(*shape))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_pools_keep_the_type(dtype):
    x = jnp.asarray(sample(1, 9, 9, 2), dtype)
    for y in (max_pool(x, 3, 2), AveragePool(3, 2)(x), AdaptiveAveragePool(6)(x)):
        assert y.dtype == dtype
        assert jnp.isfinite(y).all()


class TestBatchNorm:
    def test_train_mode_equals_torch(self, torch):
        """Outputs, gradients, and the running statistics after two steps; their variance is unbiased."""
        theirs = torch.nn.BatchNorm2d(3)
        ours = BatchNorm(3, rngs=nnx.Rngs(0))
        scale, bias = sample(3, seed=2), sample(3, seed=3)
        theirs.load_state_dict({"weight": torch.from_numpy(scale), "bias": torch.from_numpy(bias)}, strict=False)
        ours.scale[...], ours.bias[...] = scale, bias
        for step in range(2):
            x = 3 * sample(2, 3, 4, 3, seed=10 + step) + 1  # 24 values, so that n / (n - 1) shows
            compare_with_gradient(torch, lambda x: nnx.clone(ours)(x), theirs, x)
            ours(x)
            np.testing.assert_allclose(ours.mean[...], theirs.running_mean.numpy(), rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(ours.var[...], theirs.running_var.numpy(), rtol=1e-5)

    def test_eval_mode_equals_torch_and_changes_nothing(self, torch):
        theirs = torch.nn.BatchNorm2d(3).eval()
        ours = BatchNorm(3, rngs=nnx.Rngs(0))
        ours.eval()
        mean, var = sample(3, seed=2), 1 + np.abs(sample(3, seed=3))
        theirs.running_mean.copy_(torch.from_numpy(mean))
        theirs.running_var.copy_(torch.from_numpy(var))
        ours.mean[...], ours.var[...] = mean, var
        x = sample(2, 3, 4, 3)
        np.testing.assert_allclose(ours(x), from_torch(theirs(to_torch(torch, x))), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(ours.mean[...], mean)
        np.testing.assert_array_equal(ours.var[...], var)

    def test_a_mean_far_above_the_deviation_does_not_cancel(self):
        x = sample(4, 8, 8, 2) + 3000
        ours = BatchNorm(2, rngs=nnx.Rngs(0))
        y = ours(x)
        exact = x.astype(np.float64)
        expected = (exact - exact.mean((0, 1, 2))) / np.sqrt(exact.var((0, 1, 2)) + 1e-5)
        np.testing.assert_allclose(y, expected, atol=2e-3)  # float32 resolves 3000 to 2e-4

    def test_a_single_value_has_no_unbiased_variance(self):
        ours = BatchNorm(2, rngs=nnx.Rngs(0))
        ours(jnp.ones((1, 1, 1, 2)))
        np.testing.assert_allclose(ours.var[...], 0.9)

    def test_half_precision_keeps_float32_statistics(self):
        ours = BatchNorm(2, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
        assert ours(jnp.asarray(sample(4, 8, 8, 2), jnp.bfloat16)).dtype == jnp.bfloat16
        assert {variable.dtype for variable in (ours.scale, ours.bias, ours.mean, ours.var)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("height", "width", "side"),
    [(1, 1, 3), (2, 2, 3), (2, 4, 3), (3, 2, 3), (4, 4, 3), (5, 3, 3), (5, 4, 1), (1, 1, 1)],
)
@pytest.mark.parametrize("bias", [False, True])
def test_convolutions_on_small_maps_and_by_single_pixels_equal_torch_with_their_gradients(
    torch, height, width, side, stride, bias
):
    padding = side // 2
    ours = Conv(5, 7, (side, side), strides=stride, padding=padding, use_bias=bias, rngs=nnx.Rngs(0))
    theirs = torch.nn.Conv2d(5, 7, side, stride=stride, padding=padding, bias=bias)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, height, width, 5)).astype(np.float32)
    with torch.no_grad():
        theirs.weight.copy_(torch.from_numpy(np.asarray(ours.kernel[...]).transpose(3, 2, 0, 1).copy()))
        if bias:
            ours.bias[...] = rng.normal(size=7).astype(np.float32)
            theirs.bias.copy_(torch.from_numpy(np.array(ours.bias[...])))
    images = torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).requires_grad_()
    expected = theirs(images)
    weights = rng.normal(size=expected.permute(0, 2, 3, 1).shape).astype(np.float32)
    (expected.permute(0, 2, 3, 1) * torch.from_numpy(weights)).sum().backward()
    graphdef, params = nnx.split(ours)

    def loss(params, x):
        y = nnx.merge(graphdef, params)(x)
        return (y * weights).sum(), y

    (_, got), (gradient, into) = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(params, x)
    close = {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(got, expected.detach().permute(0, 2, 3, 1).numpy(), **close)
    np.testing.assert_allclose(into, images.grad.permute(0, 2, 3, 1).numpy(), **close)
    np.testing.assert_allclose(gradient["kernel"][...].transpose(3, 2, 0, 1), theirs.weight.grad.numpy(), **close)
    if bias:
        np.testing.assert_allclose(gradient["bias"][...], theirs.bias.grad.numpy(), **close)


def test_linear_equals_torch_with_its_gradients(torch):
    ours, theirs = Linear(5, 3, rngs=nnx.Rngs(0)), torch.nn.Linear(5, 3)
    assert ours.kernel.shape == theirs.weight.shape
    x, weights = sample(4, 5), sample(4, 3, seed=1)
    ours.kernel[...], ours.bias[...] = theirs.weight.detach().numpy(), theirs.bias.detach().numpy()
    inputs = torch.from_numpy(x).requires_grad_()
    (theirs(inputs) * torch.from_numpy(weights)).sum().backward()
    graphdef, params = nnx.split(ours)
    gradient, into = jax.grad(lambda params, x: (nnx.merge(graphdef, params)(x) * weights).sum(), (0, 1))(params, x)
    np.testing.assert_allclose(ours(x), theirs(inputs).detach().numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(into, inputs.grad.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient["kernel"][...], theirs.weight.grad.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient["bias"][...], theirs.bias.grad.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("side", "small"), [(2, True), (3, False)])
def test_only_cpus_multiply_patches_and_only_on_small_maps(side, small):
    """With the gradient: nothing of the other branch is left in the program."""
    graphdef, params = nnx.split(Conv(5, 7, (3, 3), padding=1, rngs=nnx.Rngs(0)))
    x = jnp.ones((1, side, side, 5))
    traced = jax.jit(jax.grad(lambda params, x: nnx.merge(graphdef, params)(x).sum(), (0, 1))).trace(params, x)
    for platform in ("cpu", "cuda", "tpu"):
        program = traced.lower(lowering_platforms=(platform,)).as_text()
        patches = small and platform == "cpu"
        assert ("stablehlo.convolution" in program, "stablehlo.dot_general" in program) == (not patches, patches)
    assert ("platform_index" in str(traced.jaxpr)) == small
