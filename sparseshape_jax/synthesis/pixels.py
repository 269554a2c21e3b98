"""How an image is parameterized, and where it starts.

The reference optimizes p with image = low + (high - low) · sigmoid(p), where low and high are the extremes of the
normalized target, and starts from noise over that whole range. We keep the sigmoid, but:

- p comes from the optimizer's params by a filter that strengthens low spatial frequencies, because natural images are
  strongest there: their amplitudes fall as 1 / frequency (Mordvintsev et al., "Differentiable Image Parameterizations",
  Distill 2018). For L-BFGS that is a preconditioner. It saves more than half of the evaluations.
- The start is almost flat. The objective does not see a two-pixel checkerboard, so one in the start would stay in the
  image for good.
"""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sparseshape_jax.synthesis.config import Bounds, Start

FLAT_NOISE = 0.01
"""Standard deviation of the flat start's noise, for images in [0, 1]."""
_EDGE = 1e-6
"""How close to 0 and 1 the sigmoid's inverse is taken."""


def value_range(normalized: Float[Array, "n h w 3"]) -> tuple[Float[Array, "n 1 1 1"], Float[Array, "n 1 1 1"]]:
    """Each image's smallest and largest normalized value, over all channels."""
    return jnp.min(normalized, (1, 2, 3), keepdims=True), jnp.max(normalized, (1, 2, 3), keepdims=True)


@dataclass(frozen=True)
class Parameterization:
    """Converts between normalized images and the params that an optimizer moves, both (N, h, w, 3)."""

    bounds: Bounds
    """How values stay in range: through a sigmoid, or clipped."""
    whitening: float
    """Params are amplified by frequency to the power of -whitening; 0 leaves them alone, as the reference does."""

    def to_normalized(self, params: Float[Array, "n h w 3"], low: Array, high: Array) -> Float[Array, "n h w 3"]:
        """The normalized image that the params stand for, within [low, high]."""
        unbounded = self._filter(params, 1)
        if self.bounds == "sigmoid":
            return low + (high - low) * jax.nn.sigmoid(unbounded)
        return jnp.clip(unbounded, low, high)

    def to_params(self, normalized: Float[Array, "n h w 3"], low: Array, high: Array) -> Float[Array, "n h w 3"]:
        """The params that stand for a normalized image; values beyond [low, high] are moved to its edge."""
        unbounded = jnp.clip(normalized, low, high)
        if self.bounds == "sigmoid":
            share = jnp.clip((normalized - low) / (high - low), _EDGE, 1 - _EDGE)
            unbounded = jnp.log(share / (1 - share))
        return self._filter(unbounded, -1)

    def _filter(self, images: Float[Array, "n h w c"], direction: Literal[1, -1]) -> Float[Array, "n h w c"]:
        """Amplify each spatial frequency (direction 1), or undo that (-1). White noise keeps its variance."""
        if self.whitening == 0:
            return images
        height, width = images.shape[1:3]
        frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
        gain = np.maximum(frequency, 1 / max(height, width)) ** -self.whitening
        gain = (gain / np.sqrt(np.mean(gain**2))) ** direction
        half = jnp.asarray(gain[None, :, : width // 2 + 1, None], images.dtype)  # of a real image's spectrum
        spectrum = jnp.fft.rfft2(images, axes=(1, 2))
        return jnp.fft.irfft2(spectrum * half.astype(spectrum.dtype), s=(height, width), axes=(1, 2))


def starting_image(shape: tuple[int, int], start: Start, seed: int) -> Float[np.ndarray, "h w 3"]:
    """Mid-gray with a little normal noise ("flat"), or uniform noise over [0, 1] ("noise"), drawn from `seed`."""
    key = jax.random.key(seed)
    if start == "noise":
        return np.asarray(jax.random.uniform(key, (*shape, 3)))
    return np.asarray(0.5 + FLAT_NOISE * jax.random.normal(key, (*shape, 3)))
