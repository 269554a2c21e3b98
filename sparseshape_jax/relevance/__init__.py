"""Where in an image the evidence for a class lies: relevance propagation, and gradients.

>>> from sparseshape_jax.relevance import Composite, relevance
>>> found = relevance(vgg.network, images, classes, Composite("epsilon_plus_flat"), names=("pool3",))
>>> found.input, found.at["pool3"], found.logits
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sparseshape_jax.relevance.composite import Composite, Rule

if TYPE_CHECKING:
    from sparseshape_jax.relevance.explain import Explainer, ledger, relevance
    from sparseshape_jax.relevance.gradients import gradient_of, gradient_times_input, integrated_gradients, smooth_grad

__all__ = [
    "Composite",
    "Explainer",
    "Rule",
    "gradient_of",
    "gradient_times_input",
    "integrated_gradients",
    "ledger",
    "relevance",
    "smooth_grad",
]

_ON_FIRST_USE = {
    **dict.fromkeys(("Explainer", "ledger", "relevance"), "explain"),
    **dict.fromkeys(("gradient_of", "gradient_times_input", "integrated_gradients", "smooth_grad"), "gradients"),
}


def __getattr__(name: str) -> Any:
    # Settings hold a Composite, and import no JAX.
    if name in _ON_FIRST_USE:
        return getattr(import_module(f"sparseshape_jax.relevance.{_ON_FIRST_USE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
