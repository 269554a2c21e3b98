"""How far two sets of images are apart: FID and KID that say what they measure.

>>> from sparseshape_jax.fid import features, feature_network, frechet_distance, kernel_distance
>>> network = feature_network("vgg16")  # or "inception", with the file of FID's weights
>>> fake, real = features(images, network), features(open_images("jeep"), network)
>>> frechet_distance(fake, real), kernel_distance(fake, real).mean
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparseshape_jax.fid.distance import (
        KernelDistance,
        Statistics,
        frechet_distance,
        kernel_distance,
        rank,
        read_statistics,
    )
    from sparseshape_jax.fid.extract import cached_features, features
    from sparseshape_jax.fid.networks import FeatureNetwork, available_network, feature_network

__all__ = [
    "FeatureNetwork",
    "KernelDistance",
    "Statistics",
    "available_network",
    "cached_features",
    "feature_network",
    "features",
    "frechet_distance",
    "kernel_distance",
    "rank",
    "read_statistics",
]

_DISTANCES = ("KernelDistance", "Statistics", "frechet_distance", "kernel_distance", "rank", "read_statistics")
_ON_FIRST_USE = {
    **dict.fromkeys(_DISTANCES, "distance"),
    **dict.fromkeys(("cached_features", "features"), "extract"),
    **dict.fromkeys(("FeatureNetwork", "available_network", "feature_network"), "networks"),
}


def __getattr__(name: str) -> Any:
    # Settings are part of this package, and import no JAX.
    if name in _ON_FIRST_USE:
        return getattr(import_module(f"sparseshape_jax.fid.{_ON_FIRST_USE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
