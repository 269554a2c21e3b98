"""Shape bias from sparse activations: Top-K convolutional networks in JAX, measured, synthesised and trained.

>>> from sparseshape_jax import TopK, keep_top_k
>>> sparse = keep_top_k(activations, 0.2)  # (N, H, W, C): the strongest 20 % of each feature map
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sparseshape_jax.errors import InputError
from sparseshape_jax.placement import TopK

if TYPE_CHECKING:
    from sparseshape_jax.top_k import keep_top_k

__all__ = ["InputError", "TopK", "keep_top_k"]


def __getattr__(name: str) -> Any:
    # Imported on first use, so that `--help` need not wait for JAX.
    if name == "keep_top_k":
        return import_module("sparseshape_jax.top_k").keep_top_k
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
