"""From a classifier and images to relevance in pixels, by any method."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8

from sparseshape_jax.errors import InputError
from sparseshape_jax.evaluation.classifiers import Classifier
from sparseshape_jax.evaluation.local_global_config import RelevanceConfig
from sparseshape_jax.preprocessing import Preprocessing
from sparseshape_jax.relevance.explain import Explainer
from sparseshape_jax.relevance.gradients import (
    gradient_of,
    gradient_of_function,
    gradient_times_input,
    integrated_gradients,
    smooth_grad,
)
from sparseshape_jax.top_k.placement import place

UNCHANGED = Preprocessing(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
"""What a user's own model wants: pixels in [0, 1]."""


@dataclass(frozen=True)
class Maps:
    """Relevance of a batch of images."""

    maps: Float[np.ndarray, "n h w"]
    """Summed over channels."""
    gap: Float[np.ndarray, " n"] | None = None
    """Of integrated gradients: how far the sum is from what it should be."""
    accounts: dict[str, Float[np.ndarray, "n 6"]] | None = None
    """Of lrp: the account of each layer."""


Explain = Callable[[UInt8[np.ndarray, "n h w 3"], Int[np.ndarray, " n"]], Maps]
"""From images of 8 bits a channel and the class of each to its relevance."""


def explain_with(config: RelevanceConfig, classifier: Classifier) -> Explain:
    """The method of `config` for one classifier.

    Raises:
        InputError: lrp for a user's own model; when called, a model that is not written in JAX, or a layer without a
            rule.
    """
    preprocessing = classifier.preprocessing if classifier.loaded else UNCHANGED

    def normalized(images: UInt8[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "n h w 3"]:
        pixels: Any = images
        return np.asarray(preprocessing.from_bytes(pixels), np.float32)

    if config.method == "lrp":
        if classifier.loaded is None:
            raise InputError(
                f"relevance propagation needs the layers of one of this package's networks, not {classifier.name};"
                " give --method gradient_times_input, integrated_gradients or smooth_grad"
            )
        explainer = Explainer(classifier.loaded.network, config.composite, preprocessing)
        at = place(classifier.specs, classifier.loaded.network)

        def propagate(images: UInt8[np.ndarray, "n h w 3"], classes: Int[np.ndarray, " n"]) -> Maps:
            found = explainer(normalized(images), classes, at, accounts=True)
            return Maps(found.input.sum(axis=-1), accounts=found.accounts)

        return propagate
    if classifier.loaded is None:
        gradient = gradient_of_function(partial(_traced, classifier))
    else:
        gradient = gradient_of(classifier.loaded.network, place(classifier.specs, classifier.loaded.network))
    black, white = (normalized(np.full((1, 1, 1, 3), value, np.uint8)) for value in (0, 255))
    baseline = {"black": black, "gray": (black + white) / 2, "mean": 0.0}[config.baseline]

    def differentiate(images: UInt8[np.ndarray, "n h w 3"], classes: Int[np.ndarray, " n"]) -> Maps:
        inputs = normalized(images)
        if config.method == "gradient_times_input":
            return Maps(gradient_times_input(gradient, inputs, classes).sum(axis=-1))
        if config.method == "integrated_gradients":
            found = integrated_gradients(gradient, inputs, classes, baseline=baseline, steps=config.steps)
            return Maps(found.input.sum(axis=-1), gap=found.gap)
        noise = {"sigma": config.noise, "scale": np.abs(white - black)[0, 0, 0]}
        return Maps(smooth_grad(gradient, inputs, classes, copies=config.steps, seed=config.seed, **noise).sum(axis=-1))

    return differentiate


def _traced(classifier: Classifier, inputs: Any) -> Any:
    assert classifier.own is not None
    try:
        return jnp.asarray(classifier.own(inputs))
    except Exception as error:  # whatever a model of another library makes of JAX's tracers
        raise InputError(
            f"{classifier.name} cannot be differentiated by JAX ({type(error).__name__});"
            " gradients need a model written in JAX"
        ) from None
