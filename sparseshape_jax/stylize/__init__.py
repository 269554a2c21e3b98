"""Style transfer that needs one pass: photographs in the style of other images.

>>> from sparseshape_jax.stylize import load_stylizer, procedural_style
>>> stylizer = load_stylizer("adain")
>>> images = stylizer(contents, styles, alpha=0.5)           # (N, H, W, 3) in [0, 1], and so are the styles
>>> images = stylizer(contents, [these, those], weights=[1, 3])  # a mixture of two
"""

from importlib import import_module
from typing import Any

__all__ = ["load_stylizer", "procedural_style"]

_ON_FIRST_USE = {"load_stylizer": "load", "procedural_style": "procedural"}


def __getattr__(name: str) -> Any:
    # The room holds settings, which import no JAX.
    if name in _ON_FIRST_USE:
        return getattr(import_module(f"sparseshape_jax.stylize.{_ON_FIRST_USE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
