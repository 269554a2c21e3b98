"""The two losses of adaptive instance normalization.

Source: Huang & Belongie (2017), equations 12 and 13, with the mean squared differences of pytorch-AdaIN in place of
the paper's norms. Departure: both can be divided by a scale for each layer, so that layers share the work; 1 is theirs.
"""

from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array, Float

from sparseshape_jax.stylize.statistics import Channels, Features, channel_statistics

Statistics = tuple[Channels, Channels]
"""Means and deviations."""


def content_loss(features: Features, target: Features, scale: float = 1.0) -> Float[Array, ""]:
    """The mean squared difference of features, in units of `scale`²."""
    return jnp.mean(jnp.square((features - target) / scale))


def style_loss(
    features: Mapping[str, Features], targets: Mapping[str, Statistics], scales: Mapping[str, float] | None = None
) -> Float[Array, ""]:
    """The mean squared differences of means and of deviations, summed over the layers in `targets`.

    Args:
        features: of the image, by layer.
        targets: the style's means and deviations, by layer.
        scales: of each layer's features; 1 by default.
    """
    total = jnp.zeros(())
    for layer, (mean, deviation) in targets.items():
        own_mean, own_deviation = channel_statistics(features[layer])
        squares = jnp.mean(jnp.square(own_mean - mean)) + jnp.mean(jnp.square(own_deviation - deviation))
        total += squares / (scales[layer] ** 2 if scales else 1)
    return total
