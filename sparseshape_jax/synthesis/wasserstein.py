"""The Wasserstein-2 distance between activations, taken for normal distributions over the positions.

Source: style-transfer-pytorch (Crowson 2021), `StyleLossW2`: means and covariances of the channels in place of Gram
matrices. The matrix root and its gradient are Newton-Schulz iterations (Lin & Maji, "Improved Bilinear Pooling with
CNNs", BMVC 2017), which are matrix products only, so that accelerators are fast at them.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

ITERATIONS = 12
"""Of Newton-Schulz, for the root and for its gradient."""
RIDGE = 1e-4
"""Added to the diagonal of covariance matrices."""


class Moments(NamedTuple):
    """The channels' distribution over the positions of N activations."""

    mean: Float[Array, "n c"]
    covariance: Float[Array, "n c c"]
    """Biased, with `RIDGE` on the diagonal."""


def moments(activation: Float[Array, "n h w c"]) -> Moments:
    """Means and covariances of the channels."""
    flat = activation.reshape(activation.shape[0], -1, activation.shape[-1])
    mean = jnp.mean(flat, axis=1)
    second = _product(flat.mT, flat) / flat.shape[1]
    ridge = RIDGE * jnp.eye(flat.shape[2], dtype=flat.dtype)
    return Moments(mean, second - mean[:, :, None] * mean[:, None, :] + ridge[None])


def squared_distance(found: Moments, wanted: Moments, wanted_root: Float[Array, "n c c"]) -> Float[Array, " n"]:
    """The squared Wasserstein-2 distance between each two of N distributions, divided by the number of channels.

    Args:
        found: N distributions; gradients go to these.
        wanted: N others.
        wanted_root: the square roots of their covariances.
    """
    means = jnp.mean((found.mean - wanted.mean) ** 2, axis=1)
    cross = square_root(_product(_product(wanted_root, found.covariance), wanted_root))
    return means + jnp.mean(_diagonal(wanted.covariance + found.covariance - 2 * cross), axis=1)


def mean_square(distribution: Moments) -> Float[Array, " n"]:
    """The mean square of each activation, which is its squared distance from zero."""
    return jnp.mean(distribution.mean**2 + _diagonal(distribution.covariance), axis=1)


@jax.custom_vjp
def square_root(matrices: Float[Array, "n c c"]) -> Float[Array, "n c c"]:
    """The square roots of symmetric, positive semidefinite matrices, by `ITERATIONS` of Newton-Schulz."""
    norm, three = _norm(matrices), _three(matrices)

    def iterate(_: Any, pair: tuple[Array, Array]) -> tuple[Array, Array]:
        root, inverse = pair
        step = (three - _product(inverse, root)) / 2
        return _product(root, step), _product(step, inverse)

    root, _ = lax.fori_loop(0, ITERATIONS, iterate, (matrices / norm, three / 3))
    return root * jnp.sqrt(norm)


def _forward(matrices: Array) -> tuple[Array, Array]:
    root = square_root(matrices)
    return root, root


def _backward(root: Array, gradient: Array) -> tuple[Array]:
    """Solve root · x + x · root = gradient, as the upper right part of the sign of [[root, gradient], [0, -root]]."""
    norm, three = _norm(root), _three(root)

    def iterate(_: Any, pair: tuple[Array, Array]) -> tuple[Array, Array]:
        sign, x = pair
        step = three - _product(sign, sign)
        x = (_product(x, step) - _product(sign, _product(sign, x) - _product(x, sign))) / 2
        return _product(sign, step) / 2, x

    _, x = lax.fori_loop(0, ITERATIONS, iterate, (root / norm, gradient / norm))
    return (x / 2,)


square_root.defvjp(_forward, _backward)


def _product(one: Array, other: Array) -> Array:
    return jnp.matmul(one, other, precision=lax.Precision.HIGHEST)


def _norm(matrices: Array) -> Array:
    return jnp.sqrt(jnp.sum(matrices**2, axis=(1, 2), keepdims=True))


def _three(matrices: Array) -> Array:
    """Three times the identity, for each matrix."""
    return jnp.broadcast_to(3 * jnp.eye(matrices.shape[-1], dtype=matrices.dtype), matrices.shape)


def _diagonal(matrices: Array) -> Array:
    return jnp.diagonal(matrices, axis1=1, axis2=2)
