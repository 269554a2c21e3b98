"""The blocks that FastGAN's generator and discriminator share."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sparseshape_jax.models.fastgan_options import Excitation
from sparseshape_jax.models.layers import AdaptiveAveragePool, BatchNorm, enlarge
from sparseshape_jax.models.spectral import SpectralConv


def batch_norm(features: int, *, axis_name: str | None, dtype: Any, rngs: nnx.Rngs) -> BatchNorm:
    """Batch normalization as torch has it; its scale starts at N(1, 0.02)."""
    return BatchNorm(features, scale_init=_around_one, axis_name=axis_name, dtype=dtype, rngs=rngs)


def _around_one(key: Any, shape: Any, dtype: Any = jnp.float32, **_: Any) -> Array:
    return 1 + nnx.initializers.normal(0.02)(key, shape, dtype)


def gated_linear_unit(x: Float[Array, "n h w 2c"]) -> Float[Array, "n h w c"]:
    """The first half of the channels times the sigmoid of the second: torch's `functional.glu(x, dim=1)`."""
    values, gates = jnp.split(x, 2, axis=-1)
    return values * nnx.sigmoid(gates)


class Up(nnx.Module):
    """Twice the size, and `features` channels: (N, H, W, C) to (N, 2H, 2W, features)."""

    def __init__(self, inputs: int, features: int, *, axis_name: str | None, dtype: Any, rngs: nnx.Rngs) -> None:
        self.conv = SpectralConv(inputs, 2 * features, 3, padding=1, dtype=dtype, rngs=rngs)
        self.bn = batch_norm(2 * features, axis_name=axis_name, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n H W C"]:
        return gated_linear_unit(self.bn(self.conv(enlarge(x))))


class SkipExcitation(nnx.Module):
    """Multiplies each channel of a big map by a number that a small one decides: skip-layer excitation.

    Liu et al. (2021) end with a sigmoid. The few-shot networks of Li et al. (2023) build it but do not apply it
    ("linear"), so their factors have either sign and no bound.
    """

    def __init__(self, inputs: int, features: int, excitation: Excitation, *, dtype: Any, rngs: nnx.Rngs) -> None:
        self.pool = AdaptiveAveragePool(4)
        self.conv1 = SpectralConv(inputs, features, 4, dtype=dtype, rngs=rngs)
        self.conv2 = SpectralConv(features, features, 1, dtype=dtype, rngs=rngs)
        self.excitation = excitation

    def __call__(self, small: Float[Array, "n h w c"], big: Float[Array, "n H W C"]) -> Float[Array, "n H W C"]:
        factors = self.conv2(nnx.silu(self.conv1(self.pool(small))))
        return big * (nnx.sigmoid(factors) if self.excitation == "sigmoid" else factors)
