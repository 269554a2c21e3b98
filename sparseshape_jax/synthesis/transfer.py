"""The terms of style transfer: the content of one image and the style of another, at named activations.

Source: Gatys et al., "Image Style Transfer Using Convolutional Neural Networks" (2016), as in their
PytorchNeuralStyleTransfer: Gram matrices are divided by H·W, and all squared differences are means over the entries.
We can also express losses as fractions of what the targets are, so that a weight means the same at every activation of
every network.
"""

from dataclasses import dataclass
from typing import Any, Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from sparseshape_jax.synthesis.objective import gram_matrix
from sparseshape_jax.synthesis.wasserstein import mean_square, moments, square_root, squared_distance

Statistics = Literal["gram", "wasserstein"]
Units = Literal["fraction", "absolute"]


@dataclass(frozen=True)
class StyleTerm:
    """weight times the distance between the channels' statistics of an image and of the style, at one activation.

    Top-K does not apply.

    gram: the squared difference of Gram matrices. wasserstein: the squared Wasserstein-2 distance (`wasserstein`).
    """

    activation: str
    weight: float = 1.0
    statistics: Statistics = "gram"
    units: Units = "fraction"
    """A fraction of the distance between the style and nothing (zeros), or the mean over the entries."""
    source: str = "style"
    """The name of the image that the target comes from."""

    def target(self, activation: Float[Array, "n h w c"], *_: Any) -> Any:
        """Gram matrices (N, C, C), divided by C·H·W; or moments, and the roots of the covariances."""
        if self.statistics == "gram":
            return gram_matrix(activation)
        found = moments(activation)
        return found, square_root(found.covariance)

    def loss(self, activation: Float[Array, "n h w c"], target: Any, *_: Any) -> Float[Array, " n"]:
        """Each image's loss."""
        if self.statistics == "gram":
            # The factors C² of Gatys et al.'s Gram matrices and 1 / C² of the mean over their entries cancel.
            distance = jnp.sum((gram_matrix(activation) - target) ** 2, axis=(1, 2))
            whole = jnp.sum(target**2, axis=(1, 2))
        else:
            wanted, root = target
            distance, whole = squared_distance(moments(activation), wanted, root), mean_square(wanted)
        return self.weight * _in_units(distance, whole, self.units)


@dataclass(frozen=True)
class ContentTerm:
    """weight times the squared difference between an image's activation and the content's. Top-K does not apply."""

    activation: str
    weight: float = 1.0
    units: Units = "fraction"
    """A fraction of the content's sum of squares, or the mean over the entries."""
    source: str = "content"
    """The name of the image that the target comes from."""

    def target(self, activation: Float[Array, "n h w c"], *_: Any) -> Array:
        """The activation."""
        return activation

    def loss(self, activation: Float[Array, "n h w c"], target: Array, *_: Any) -> Float[Array, " n"]:
        """Each image's loss."""
        distance = jnp.mean((activation - target) ** 2, axis=(1, 2, 3))
        return self.weight * _in_units(distance, jnp.mean(target**2, axis=(1, 2, 3)), self.units)


def _in_units(distance: Float[Array, " n"], whole: Float[Array, " n"], units: Units) -> Float[Array, " n"]:
    return distance if units == "absolute" else distance / jnp.where(whole > 0, whole, 1)
