"""Shape bias from sparse activations: Top-K convolutional networks in JAX, measured, synthesized and trained.

>>> from sparseshape_jax import TopK, keep_top_k, load, place
>>> sparse = keep_top_k(activations, 0.2)  # (N, H, W, C): the strongest 20 % of each feature map
>>> vgg = load("vgg16_lpips")
>>> features = vgg.network.activations(images, ("pool4",), at=place(TopK(0.2), vgg.network))
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sparseshape_jax.errors import InputError
from sparseshape_jax.top_k.spec import TopK

if TYPE_CHECKING:
    from sparseshape_jax.top_k.operator import keep_top_k
    from sparseshape_jax.top_k.placement import place
    from sparseshape_jax.weights.load import load

__all__ = ["InputError", "TopK", "keep_top_k", "load", "place"]

_ON_FIRST_USE = {"keep_top_k": "top_k.operator", "place": "top_k.placement", "load": "weights.load"}


def __getattr__(name: str) -> Any:
    # What needs JAX is imported on first use, so that `--help` does not wait for it.
    if name in _ON_FIRST_USE:
        return getattr(import_module(f"sparseshape_jax.{_ON_FIRST_USE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
