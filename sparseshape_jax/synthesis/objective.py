"""What a synthesised image is asked to match: weighted terms on named activations, with Top-K.

Source: Gatys et al. (2015) for textures, Mahendran & Vedaldi (2015) for reconstructions, Li et al. (2023, section
4.1 and supplement 1) for Top-K in both. Layers, weights and normalisations are those of Li et al.'s code: the Gram
matrix is divided by C·H·W, every layer's squared differences are summed and multiplied by 10⁹ / 4.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from sparseshape_jax.errors import InputError
from sparseshape_jax.models import Network
from sparseshape_jax.placement import Keep, TopK
from sparseshape_jax.synthesis.job import Kind
from sparseshape_jax.top_k import top_k_mask

REFERENCE_SCALE = 1e9 / 4
"""Every term's factor in the reference; losses are reported in its units."""

KEEPS: tuple[Keep, ...] = get_args(Keep)
"""An image's keep is passed as its index here, so that one program serves all three."""


@dataclass(frozen=True)
class Term:
    """weight · 10⁹/4 · the sum of squared differences between an image and the target, at one activation.

    texture: between Gram matrices of masked activations. reconstruction: between the image's activation and the
    target's masked one.
    """

    kind: Kind
    activation: str
    weight: float = 1.0


def terms_for(kind: Kind, activations: Sequence[str], weights: Sequence[float] | None = None) -> tuple[Term, ...]:
    """One term per activation.

    Raises:
        InputError: as many weights as activations are needed; they must not be negative.
    """
    weights = (1.0,) * len(activations) if weights is None else tuple(weights)
    if len(weights) != len(activations) or not activations or not all(0 <= weight < math.inf for weight in weights):
        raise InputError(
            f"got {len(activations)} layers and the layer weights {list(weights)};"
            " give at least one layer, and for each a weight of 0 or more"
        )
    return tuple(Term(kind, name, weight) for name, weight in zip(activations, weights, strict=True))


def gram_matrix(activation: Float[Array, "n h w c"]) -> Float[Array, "n c c"]:
    """Channel by channel inner products over the positions, divided by C·H·W (the reference's normalisation)."""
    flat = activation.reshape(activation.shape[0], -1, activation.shape[-1])
    products = jnp.einsum("npc,npd->ncd", flat, flat, precision=lax.Precision.HIGHEST)
    return products / (flat.shape[1] * flat.shape[2])


def sparsify(activation: Float[Array, "n h w c"], top_k: TopK, keep: Int[Array, " n"]) -> Float[Array, "n h w c"]:
    """Apply Top-K with an own `keep` (index into `KEEPS`) for each image of the batch; `top_k.keep` is not used."""
    mask = top_k_mask(
        lax.stop_gradient(activation), top_k.fraction, scope=top_k.scope, signed=False, method=top_k.method
    )
    keep = keep[:, None, None, None]
    kept = (keep == KEEPS.index("all")) | (mask == (keep == KEEPS.index("top")))
    return jnp.where(kept, activation, 0)


def target_statistics(
    network: Network, images: Float[Array, "n h w 3"], terms: Sequence[Term], top_k: TopK, keep: Int[Array, " n"]
) -> list[Array]:
    """What each term wants: a (N, C, C) Gram matrix or a (N, h, w, C) masked activation. Images are normalised."""
    activations = network.activations(images, {term.activation for term in terms})
    return [
        gram_matrix(masked) if term.kind == "texture" else masked
        for term, masked in ((term, sparsify(activations[term.activation], top_k, keep)) for term in terms)
    ]


def term_losses(
    network: Network,
    images: Float[Array, "n h w 3"],
    targets: Sequence[Array],
    terms: Sequence[Term],
    top_k: TopK,
    keep: Int[Array, " n"],
) -> Float[Array, "n terms"]:
    """Each image's loss by term, in the reference's units; their sum is the objective. Images are normalised."""
    activations = network.activations(images, {term.activation for term in terms})
    losses = []
    for term, target in zip(terms, targets, strict=True):
        activation = activations[term.activation]
        if term.kind == "texture":
            activation = gram_matrix(sparsify(activation, top_k, keep))
        squares = jnp.sum((activation - target) ** 2, axis=tuple(range(1, activation.ndim)))
        losses.append(REFERENCE_SCALE * term.weight * squares)
    return jnp.stack(losses, axis=1)


def total_variation(images: Float[Array, "n h w c"]) -> Float[Array, " n"]:
    """The mean squared difference between neighbouring pixels, horizontally plus vertically (images in [0, 1])."""
    vertical, horizontal = jnp.diff(images, axis=1), jnp.diff(images, axis=2)
    return jnp.mean(vertical**2, axis=(1, 2, 3)) + jnp.mean(horizontal**2, axis=(1, 2, 3))


def per_image_value_and_grad(losses: Any) -> Any:
    """From a function of params (N, …) and arguments to independent losses (N,), to one that gives gradients too.

    One backward pass serves the batch: the sum's gradient is each image's own.
    """

    def total(params: Array, *args: Any) -> tuple[Array, Array]:
        values = losses(params, *args)
        return jnp.sum(values), values

    def value_and_grad(params: Array, *args: Any) -> tuple[Array, Array]:
        (_, values), gradients = jax.value_and_grad(total, has_aux=True)(params, *args)
        return values, gradients

    return value_and_grad
