"""Adaptive instance normalization: the content's features, with the style's mean and deviation in each channel.

Source: Huang & Belongie (2017), equation 8, and the repository pytorch-AdaIN. As there, a variance is unbiased
(n - 1) and gets 1e-5 before its root, so that a channel that is constant or dead has a small deviation and not none.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

EPSILON = 1e-5
"""Added to each variance."""

Features = Float[Array, "n h w c"]
Channels = Float[Array, "n c"]
"""A number for each image and channel."""


def channel_statistics(features: Features) -> tuple[Channels, Channels]:
    """Mean and deviation of each image's channels over the positions, in float32 or better.

    A single position has no unbiased variance; its deviation is that of a constant channel.
    """
    x = features.astype(jnp.promote_types(features.dtype, jnp.float32))
    mean = x.mean(axis=(1, 2))
    squares = jnp.square(x - mean[:, None, None]).sum(axis=(1, 2))
    variance = squares / max(features.shape[1] * features.shape[2] - 1, 1)
    return mean, jnp.sqrt(variance + EPSILON)


def adain(content: Features, style: Features, alpha: float | Float[Array, ""] = 1.0) -> Features:
    """The content's features with the style's statistics, blended with the content's own: α·adain + (1 - α)·content.

    Args:
        content: (N, H, W, C), of any float type; the result has it, too.
        style: (N, h, w, C); its size may differ.
        alpha: from 0 (the content) to 1.
    """
    return with_statistics(content, *channel_statistics(style), alpha)


def with_statistics(
    content: Features, mean: Channels, deviation: Channels, alpha: float | Float[Array, ""] = 1.0
) -> Features:
    """As `adain`, with the style given by its statistics.

    For several styles at once, give the weighted means of their means and deviations: the result is linear in both, so
    it is the weighted mean of the results, which is how pytorch-AdaIN interpolates.
    """
    own_mean, own_deviation = channel_statistics(content)
    x = content.astype(own_mean.dtype)
    mean, deviation = (jnp.asarray(each, x.dtype) for each in (mean, deviation))
    scale = deviation / own_deviation
    restyled = x * scale[:, None, None] + (mean - own_mean * scale)[:, None, None]
    blend = jnp.asarray(alpha, x.dtype)
    return (blend * restyled + (1 - blend) * x).astype(content.dtype)
