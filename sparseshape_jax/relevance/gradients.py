"""Attribution by gradients, for any network: gradient × input, integrated gradients, SmoothGrad."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from sparseshape_jax import parallel
from sparseshape_jax.errors import InputError
from sparseshape_jax.models import Network
from sparseshape_jax.models.network import Operator

Inputs = Float[np.ndarray, "n h w 3"]
Gradient = Callable[[Inputs, Int[np.ndarray, " n"]], tuple[Inputs, Float[np.ndarray, " n"]]]
"""From normalized images and a class for each to the gradient of its logit, and the logit."""


def gradient_of(network: Network, at: Mapping[str, Operator] | None = None) -> Gradient:
    """The gradient of a network in eval mode, compiled once, over this process's devices.

    Raises:
        InputError: a network without logits, or an activation that it does not have.
    """
    if getattr(network, "trunk_only", False):
        raise InputError(f"this {network.architecture} has no logits; give a network with its classifier")
    at = dict(at or {})
    network.check_names(at)
    graphdef, weights = nnx.split(network)

    def forward(weights: Any, inputs: Array) -> Array:
        return nnx.merge(graphdef, weights, copy=True)(inputs, at=at)

    return _compiled(forward, parallel.place_shared(weights))


def gradient_of_function(function: Callable[[Array], Array]) -> Gradient:
    """The gradient of a function in JAX from images (N, H, W, 3) to logits (N, classes)."""
    return _compiled(lambda _, inputs: function(inputs), ())


def _compiled(forward: Callable[[Any, Array], Array], weights: Any) -> Gradient:
    def logit(inputs: Array, weights: Any, classes: Array) -> tuple[Array, Array]:
        found = jnp.take_along_axis(forward(weights, inputs), classes[:, None], axis=1)[:, 0]
        return found.sum(), found

    def explain(weights: Any, inputs: Array, classes: Array) -> tuple[Array, Array]:
        return jax.grad(logit, has_aux=True)(inputs, weights, classes)

    program = parallel.map_batch(explain, shared=(0,))

    def call(inputs: Inputs, classes: Int[np.ndarray, " n"]) -> tuple[Inputs, Float[np.ndarray, " n"]]:
        found, logits = program(weights, np.asarray(inputs, jnp.result_type(float)), np.asarray(classes, np.int32))
        return np.asarray(found), np.asarray(logits)

    return call


def gradient_times_input(gradient: Gradient, inputs: Inputs, classes: Int[np.ndarray, " n"]) -> Inputs:
    """x · ∂logit/∂x; on ReLU networks, relevance by the epsilon rule with ε 0."""
    return inputs * gradient(inputs, classes)[0]


@dataclass(frozen=True)
class Integrated:
    """Integrated gradients, and how far their sum is from what it should be."""

    input: Inputs
    gap: Float[np.ndarray, " n"]
    """Σ attribution − (logit of the image − logit of the baseline): 0 with infinitely many steps."""


def integrated_gradients(
    gradient: Gradient,
    inputs: Inputs,
    classes: Int[np.ndarray, " n"],
    *,
    baseline: Inputs | float = 0.0,
    steps: int = 32,
) -> Integrated:
    """(x − x') · the mean gradient on the straight line from the baseline x' to x (Sundararajan et al. 2017).

    Args:
        gradient: of `gradient_of`.
        inputs: normalized images.
        classes: one for each.
        baseline: x', normalized; 0 is the mean color of the network's training images.
        steps: points on the line, in the middle of equal parts.

    Raises:
        InputError: fewer than one step.
    """
    if steps < 1:
        raise InputError(f"steps is {steps}; it must be at least 1")
    start = np.broadcast_to(np.asarray(baseline, inputs.dtype), inputs.shape)
    total = np.zeros(inputs.shape)
    # Called from Python, because convolutions in loops are slow on CPUs.
    for step in range(steps):
        total += gradient(start + (inputs - start) * np.asarray((step + 0.5) / steps, inputs.dtype), classes)[0]
    found = ((inputs - start) * (total / steps)).astype(inputs.dtype)
    change = gradient(inputs, classes)[1] - gradient(np.ascontiguousarray(start), classes)[1]
    return Integrated(found, found.reshape(len(found), -1).sum(axis=1, dtype=np.float64) - change)


def smooth_grad(
    gradient: Gradient,
    inputs: Inputs,
    classes: Int[np.ndarray, " n"],
    *,
    sigma: float = 0.15,
    scale: Float[np.ndarray, " 3"] | float = 1.0,
    copies: int = 32,
    seed: int = 0,
) -> Inputs:
    """The mean gradient over noisy copies of the images (Smilkov et al. 2017).

    Args:
        gradient: of `gradient_of`.
        inputs: normalized images.
        classes: one for each.
        sigma: standard deviation of the noise, in units of the range from black to white.
        scale: that range, normalized, by channel.
        copies: of each image; all images get the same noise, so that an image does not depend on its neighbors.
        seed: of the noise.

    Raises:
        InputError: fewer than one copy, or a negative sigma.
    """
    if copies < 1 or not sigma >= 0:
        raise InputError(f"copies is {copies} and sigma {sigma}; give at least 1 copy, and a sigma of at least 0")
    total = np.zeros(inputs.shape)
    for noise in _noise(inputs.shape[1:], copies, seed):
        total += gradient(inputs + (sigma * np.asarray(scale) * noise).astype(inputs.dtype), classes)[0]
    return (total / copies).astype(inputs.dtype)


def _noise(shape: tuple[int, ...], copies: int, seed: int) -> Iterator[Float[np.ndarray, "h w 3"]]:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) for _ in range(copies))
