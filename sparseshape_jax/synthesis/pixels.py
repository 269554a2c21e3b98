"""How an image is parameterised, and where it starts.

The reference optimises p with image = low + (high - low) · sigmoid(p), where low and high are the extremes of the
normalised target, and starts from noise over that whole range. We keep the sigmoid but start almost flat: a two-pixel
checkerboard in the start is invisible to the objective and would stay in the image for good.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Bounds = Literal["sigmoid", "clip"]
Start = Literal["flat", "noise"]

FLAT_NOISE = 0.01
"""Standard deviation of the flat start's noise, for images in [0, 1]."""
_EDGE = 1e-6
"""How close to 0 and 1 the sigmoid's inverse is taken."""


def value_range(normalised: Float[Array, "n h w 3"]) -> tuple[Float[Array, "n 1 1 1"], Float[Array, "n 1 1 1"]]:
    """Each image's smallest and largest normalised value, over all channels."""
    return jnp.min(normalised, (1, 2, 3), keepdims=True), jnp.max(normalised, (1, 2, 3), keepdims=True)


def to_normalised(params: Float[Array, "n h w 3"], low: Array, high: Array, bounds: Bounds) -> Float[Array, "n h w 3"]:
    """The normalised image that the params stand for, within [low, high]."""
    if bounds == "sigmoid":
        return low + (high - low) * jax.nn.sigmoid(params)
    return jnp.clip(params, low, high)


def to_params(normalised: Float[Array, "n h w 3"], low: Array, high: Array, bounds: Bounds) -> Float[Array, "n h w 3"]:
    """The params that stand for a normalised image; values beyond [low, high] are moved to its edge."""
    if bounds == "sigmoid":
        share = jnp.clip((normalised - low) / (high - low), _EDGE, 1 - _EDGE)
        return jnp.log(share / (1 - share))
    return jnp.clip(normalised, low, high)


def starting_image(shape: tuple[int, int], start: Start, seed: int) -> Float[np.ndarray, "h w 3"]:
    """Mid-grey with a little normal noise ("flat"), or uniform noise over [0, 1] ("noise"), drawn from `seed`."""
    key = jax.random.key(seed)
    if start == "noise":
        return np.asarray(jax.random.uniform(key, (*shape, 3)))
    return np.asarray(0.5 + FLAT_NOISE * jax.random.normal(key, (*shape, 3)))
