"""Spectral normalization against torch's older `spectral_norm`: values, gradients, u and v, passes in both modes."""

import jax
import numpy as np
import pytest
from flax import nnx
from support.fastgan_goldens import cast

from sparseshape_jax.models.spectral import SpectralConv, SpectralFromVector, converge


def check(torch, theirs, ours, x, to_torch, from_torch):
    normalized = torch.nn.utils.spectral_norm(theirs.double(), dim=1 if theirs.transposed else 0)
    with jax.enable_x64(True):
        graphdef, params, stats = nnx.split(ours, nnx.Param, nnx.BatchStat)
        params, stats = cast((params, stats), True)
        kernel = np.asarray(params["kernel"].get_value()).transpose(3, 2, 0, 1)
        with torch.no_grad():
            normalized.weight_orig.copy_(torch.from_numpy(kernel.copy()))
            for name in "uv":
                vector = np.array(stats[name].get_value())
                getattr(normalized, f"weight_{name}").copy_(torch.from_numpy(vector))
        for passes in range(3):
            if passes == 2:
                normalized.eval()
                ours.eval()
                graphdef = nnx.graphdef(ours)
            images = to_torch(x).requires_grad_()
            expected = from_torch(normalized(images))
            normalized.zero_grad()
            (expected**2).sum().backward()

            def total(params, x, graphdef=graphdef, stats=stats):
                layer = nnx.merge(graphdef, params, stats, copy=True)
                y = layer(x)
                return (y**2).sum(), (y, nnx.state(layer, nnx.BatchStat))

            gradients, (found, stats) = jax.grad(total, (0, 1), has_aux=True)(params, x)
            np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-10)
            np.testing.assert_allclose(gradients[1], from_torch(images.grad).numpy(), atol=1e-9)
            kernel = np.asarray(gradients[0]["kernel"].get_value()).transpose(3, 2, 0, 1)
            np.testing.assert_allclose(kernel, normalized.weight_orig.grad.numpy(), atol=1e-9)
            for name in "uv":
                vector = getattr(normalized, f"weight_{name}").numpy()
                np.testing.assert_allclose(stats[name].get_value(), vector, atol=1e-12)


@pytest.mark.parametrize(
    ("taps", "stride", "padding", "side"), [(3, 1, 1, 6), (4, 2, 1, 6), (4, 1, 0, 4), (1, 1, 0, 3)]
)
def test_convolutions(torch, taps, stride, padding, side):
    theirs = torch.nn.Conv2d(3, 5, taps, stride, padding, bias=False)
    ours = SpectralConv(3, 5, taps, stride=stride, padding=padding, rngs=nnx.Rngs(0))
    x = np.random.default_rng(0).normal(size=(2, side, side, 3))
    check(
        torch,
        theirs,
        ours,
        x,
        lambda x: torch.from_numpy(x.transpose(0, 3, 1, 2).copy()),
        lambda y: y.permute(0, 2, 3, 1),
    )


def test_from_a_vector(torch):
    theirs = torch.nn.ConvTranspose2d(6, 5, 4, bias=False)
    ours = SpectralFromVector(6, 5, 4, rngs=nnx.Rngs(0))
    x = np.random.default_rng(0).normal(size=(2, 6))

    def from_torch(y):
        return y.permute(0, 2, 3, 1) if y.shape[2] == 4 else y[:, :, 0, 0]

    check(torch, theirs, ours, x, lambda x: torch.from_numpy(x[:, :, None, None].copy()), from_torch)


def test_converged_vectors_give_the_largest_singular_value():
    layer = SpectralConv(4, 6, 3, rngs=nnx.Rngs(0))
    layer.eval()
    converge(layer, 300)
    matrix = np.asarray(layer.matrix())
    largest = np.linalg.svd(matrix, compute_uv=False)[0]
    np.testing.assert_allclose(layer.u[...] @ matrix @ layer.v[...], largest, rtol=1e-4)
