"""What a synthesized image must match: weighted terms on named activations, with Top-K.

Source: Gatys et al. (2015) for textures, Mahendran & Vedaldi (2015) for reconstructions, Li et al. (2023, section
4.1 and supplement 1) for Top-K in both. Layers, weights and normalizations are those of Li et al.'s code: the Gram
matrix is divided by C·H·W, every layer's squared differences are summed and multiplied by 10⁹ / 4.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, get_args

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from sparseshape_jax.errors import InputError
from sparseshape_jax.models import Network
from sparseshape_jax.synthesis.config import Kind
from sparseshape_jax.top_k.operator import top_k_mask
from sparseshape_jax.top_k.options import Keep
from sparseshape_jax.top_k.spec import TopK

REFERENCE_SCALE = 1e9 / 4
"""Every term's factor in the reference; losses are reported in its units."""

KEEPS: tuple[Keep, ...] = get_args(Keep)
"""Each image's keep is passed as its index here, so that one program serves all three."""


class AnyTerm(Protocol):
    """What an image must match at one activation. Terms are hashable: they are part of a program."""

    @property
    def activation(self) -> str:
        """The name of the activation."""

    @property
    def source(self) -> str:
        """The name of the image that the target comes from."""

    def target(self, activation: Float[Array, "n h w c"], top_k: TopK, keep: Int[Array, " n"], /) -> Any:
        """What is wanted, from the source's activation: arrays with the batch as leading axis."""

    def loss(
        self, activation: Float[Array, "n h w c"], target: Any, top_k: TopK, keep: Int[Array, " n"], /
    ) -> Float[Array, " n"]:
        """Each image's loss."""


@dataclass(frozen=True)
class Term:
    """weight · 10⁹/4 · the sum of squared differences between an image and its target, at one activation.

    texture: between Gram matrices of masked activations. reconstruction: between the image's activation and the
    source's masked one.
    """

    kind: Kind
    activation: str
    weight: float = 1.0
    source: str = "image"
    """The name of the image that the target comes from."""

    def target(self, activation: Float[Array, "n h w c"], top_k: TopK, keep: Int[Array, " n"]) -> Array:
        """What is wanted, from the source's activation: (N, C, C) Gram matrices or the masked activation itself."""
        masked = sparsify(activation, top_k, keep)
        return gram_matrix(masked) if self.kind == "texture" else masked

    def loss(
        self, activation: Float[Array, "n h w c"], target: Array, top_k: TopK, keep: Int[Array, " n"]
    ) -> Float[Array, " n"]:
        """Each image's loss, in the reference's units."""
        if self.kind == "texture":
            activation = gram_matrix(sparsify(activation, top_k, keep))
        squares = jnp.sum((activation - target) ** 2, axis=tuple(range(1, activation.ndim)))
        return REFERENCE_SCALE * self.weight * squares


@dataclass(frozen=True)
class Objective:
    """Terms and the Top-K that all of them use. Static and hashable: the network and all arrays are arguments.

    Images are normalized as the network wants them. Each has its own `keep`, an index into `KEEPS`; `top_k.keep` is not
    used.
    """

    terms: tuple[AnyTerm, ...]
    top_k: TopK

    @property
    def activations(self) -> tuple[str, ...]:
        """The names of the activations that are matched, each once."""
        return tuple(dict.fromkeys(term.activation for term in self.terms))

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the images that targets come from, each once."""
        return tuple(dict.fromkeys(term.source for term in self.terms))

    def targets(
        self, network: Network, sources: Mapping[str, Float[Array, "n h w 3"]], keep: Int[Array, " n"]
    ) -> list[Any]:
        """Each term's target.

        Args:
            network: in eval mode.
            sources: the images that targets come from, by name; those of one name have one size.
            keep: what Top-K keeps in each image of the batch.
        """
        activations = {
            source: network.activations(
                sources[source], dict.fromkeys(term.activation for term in self.terms if term.source == source)
            )
            for source in self.sources
        }
        return [term.target(activations[term.source][term.activation], self.top_k, keep) for term in self.terms]

    def term_losses(
        self, network: Network, images: Float[Array, "n h w 3"], targets: Sequence[Any], keep: Int[Array, " n"]
    ) -> Float[Array, "n terms"]:
        """Each image's loss by term, in the reference's units."""
        activations = network.activations(images, self.activations)
        losses = [
            term.loss(activations[term.activation], target, self.top_k, keep)
            for term, target in zip(self.terms, targets, strict=True)
        ]
        return jnp.stack(losses, axis=1)

    def losses(
        self, network: Network, images: Float[Array, "n h w 3"], targets: Sequence[Any], keep: Int[Array, " n"]
    ) -> Float[Array, " n"]:
        """Each image's loss, the sum over its terms, in the reference's units."""
        return jnp.sum(self.term_losses(network, images, targets, keep), axis=1)


def terms_for(kind: Kind, activations: Sequence[str], weights: Sequence[float] | None = None) -> tuple[Term, ...]:
    """One term per activation.

    Raises:
        InputError: no activation, another number of weights than of activations, or a weight that is negative or not
            finite.
    """
    weights = (1.0,) * len(activations) if weights is None else tuple(weights)
    if len(weights) != len(activations) or not activations or not all(0 <= weight < math.inf for weight in weights):
        raise InputError(
            f"got {len(activations)} layers and the layer weights {list(weights)};"
            " give at least one layer, and for each a weight of 0 or more"
        )
    return tuple(Term(kind, name, weight) for name, weight in zip(activations, weights, strict=True))


def gram_matrix(activation: Float[Array, "n h w c"]) -> Float[Array, "n c c"]:
    """Channel by channel inner products over the positions, divided by C·H·W (the reference's normalization)."""
    flat = activation.reshape(activation.shape[0], -1, activation.shape[-1])
    products = jnp.einsum("npc,npd->ncd", flat, flat, precision=lax.Precision.HIGHEST)
    return products / (flat.shape[1] * flat.shape[2])


def sparsify(activation: Float[Array, "n h w c"], top_k: TopK, keep: Int[Array, " n"]) -> Float[Array, "n h w c"]:
    """Apply Top-K with its own `keep` (index into `KEEPS`) to each image of the batch; `top_k.keep` is not used."""
    mask = top_k_mask(
        lax.stop_gradient(activation), top_k.fraction, scope=top_k.scope, signed=False, method=top_k.method
    )
    keep = keep[:, None, None, None]
    kept = (keep == KEEPS.index("all")) | (mask == (keep == KEEPS.index("top")))
    return jnp.where(kept, activation, 0)


def total_variation(images: Float[Array, "n h w c"]) -> Float[Array, " n"]:
    """The mean squared difference between neighboring pixels, horizontally plus vertically (images in [0, 1])."""
    vertical, horizontal = jnp.diff(images, axis=1), jnp.diff(images, axis=2)
    return jnp.mean(vertical**2, axis=(1, 2, 3)) + jnp.mean(horizontal**2, axis=(1, 2, 3))


def nine_point_variation(images: Float[Array, "n h w c"]) -> Float[Array, " n"]:
    """Like `total_variation`, but with the diagonals, so that no direction is favored (images in [0, 1]).

    A third of the mean squared difference to the neighbor below and to the one at the right, and a twelfth of it along
    both diagonals, times 2; pixels at the edge are repeated. Source: style-transfer-pytorch (Crowson 2021), `TVLoss`.
    """
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    inner, below, right = padded[:, 1:-1, 1:-1], padded[:, 2:, 1:-1], padded[:, 1:-1, 2:]
    falling = padded[:, 1:, 1:] - padded[:, :-1, :-1]
    rising = padded[:, 1:, :-1] - padded[:, :-1, 1:]

    def mean_square(differences: Array) -> Array:
        return jnp.mean(differences**2, axis=(1, 2, 3))

    straight = mean_square(below - inner) + mean_square(right - inner)
    return 2 * (straight / 3 + (mean_square(falling) + mean_square(rising)) / 12)


def per_image_value_and_grad(losses: Callable[..., Float[Array, " n"]]) -> Callable[..., tuple[Array, Array]]:
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
