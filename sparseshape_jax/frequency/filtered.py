"""Filtered images, shown to a network: the program that filters and classifies a batch.

The spectra of a block of images are kept on the devices. A batch is a number of pairs (image, filter): the program
multiplies the spectrum with what the filter leaves, transforms back, and runs the network.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from sparseshape_jax import parallel
from sparseshape_jax.errors import InputError
from sparseshape_jax.frequency.groups import Groups
from sparseshape_jax.frequency.spectrum import (
    check_images,
    from_half_spectrum,
    half_plane,
    half_weights,
    partners,
    to_half_spectrum,
    weigh,
)
from sparseshape_jax.models.network import Operator

Network = Callable[..., Any]
"""One of the package's networks, or any function from images (N, S, S, 3) to logits (N, classes)."""

UNFILTERED = -1
"""The number of the filter that leaves images as they are."""


@dataclass(frozen=True)
class Shown:
    """What a network makes of a batch of filtered images."""

    loss: Float[np.ndarray, " n"]
    """The cross-entropy of each image's own class, in nats."""
    prediction: Int[np.ndarray, " n"]
    """The class with the largest logit (on a tie the lower one)."""


def cross_entropy(logits: Float[Array, "n k"], labels: Int[Array, " n"]) -> Float[Array, " n"]:
    """log Σ exp(z_k - z_y), as precise near 0 as elsewhere; -log_softmax rounds confident images to 0."""
    above = logits - jnp.take_along_axis(logits, labels[:, None], axis=1)
    top = above.argmax(axis=1)[:, None]
    largest = jnp.take_along_axis(above, top, axis=1)
    others = jnp.where(jnp.arange(logits.shape[1])[None] == top, 0, jnp.exp(above - largest))
    return largest[:, 0] + jnp.log1p(others.sum(axis=1))


class Filtered:
    """One network, and filters that its input goes through.

    Args:
        network: one of the package's, in eval mode, or any function of JAX arrays.
        filters: groups, each of which a filter removes; or masks (filters, S, S), shifted, each of which a filter
            keeps.
        at: which Top-K follows which activation of a network of the package's.
        batch_size: filtered images per forward pass, over all devices; `parallel.images_in_memory` may divide it.
        on_host: `network` is not written in JAX; it gets NumPy arrays.
    """

    def __init__(
        self,
        network: Network,
        filters: Groups | np.ndarray,
        *,
        at: Mapping[str, Operator] | None = None,
        batch_size: int = 128,
        on_host: bool = False,
    ) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; it must be at least 1")
        self.size, arrays, self._weights = _tables(filters)
        self.batch_size = batch_size if on_host else parallel.images_in_memory(batch_size, (self.size, self.size))
        self._tables = parallel.place_shared(arrays)
        self._state: Any = ()
        self._host: Network | None = network if on_host else None
        forward: Callable[[Any, Array], Array] = lambda _, images: network(images)  # noqa: E731
        if isinstance(network, nnx.Module):
            graphdef, state = nnx.split(network)
            self._state = parallel.place_shared(state)
            placed = dict(at or {})
            forward = lambda state, images: nnx.merge(graphdef, state, copy=True)(images, at=placed)  # noqa: E731
        self._forward = forward
        self._transform = jax.jit(to_half_spectrum)
        self._score = jax.jit(_score)
        self._program = parallel.map_batch(self._filter if on_host else self._show, shared=(0, 1, 2, 3))
        self._block: tuple[Any, Any] = ((), ())

    def place(self, images: Float[np.ndarray, "n s s 3"], labels: Int[np.ndarray, " n"]) -> None:
        """Keep the spectra of these normalized images, and their labels, on the devices.

        Raises:
            InputError: images of another size than the filters'.
        """
        if check_images(images) != self.size:
            raise InputError(f"images have {images.shape[-2]} pixels, and the filters are for {self.size}")
        spectra = self._transform(jnp.asarray(images, jnp.float32))
        self._block = parallel.place_shared((spectra, np.asarray(labels, np.int32)))

    def start(self, image: Int[np.ndarray, " n"], index: Int[np.ndarray, " n"]) -> Any:
        """Show pairs of an image and a filter; `finish` waits for the result, so that the next batch can start first.

        Args:
            image: positions among the images that were placed.
            index: numbers of filters.
        """
        image, index = image.astype(np.int32), index.astype(np.int32)
        found = self._program(self._state, self._tables, *self._block, image, index)
        return found if self._host is None else (found, image)

    def finish(self, started: Any) -> Shown:
        """What `start` was asked for."""
        if self._host is not None:
            images, image = started
            logits = np.asarray(self._host(np.asarray(images)), np.float32)
            if logits.ndim != 2 or len(logits) != len(image):
                raise InputError(
                    f"the model returned an array of shape {logits.shape} for {len(image)} images;"
                    f" it must return logits of shape ({len(image)}, classes)"
                )
            started = self._score(logits, np.asarray(self._block[1])[image])
        return Shown(*(np.asarray(part) for part in started))

    def _filter(self, _: Any, tables: Any, spectra: Array, labels: Array, image: Array, index: Array) -> Array:
        del labels
        return from_half_spectrum(weigh(spectra[image], self._weights(tables, index)[:, None]))

    def _show(
        self, state: Any, tables: Any, spectra: Array, labels: Array, image: Array, index: Array
    ) -> tuple[Array, Array]:
        logits = self._forward(state, self._filter(state, tables, spectra, labels, image, index))
        return _score(logits.astype(jnp.float32), labels[image])


def _score(logits: Float[Array, "n k"], labels: Int[Array, " n"]) -> tuple[Array, Array]:
    return cross_entropy(logits, labels), logits.argmax(axis=1)


def _tables(filters: Groups | np.ndarray) -> tuple[int, Any, Callable[[Any, Array], Array]]:
    """The side of the filters' maps, the arrays that describe them, and what makes weights of these and numbers."""
    if isinstance(filters, Groups):
        rows, columns = partners(filters.size)
        blocks = (filters.first,) if filters.first is filters.second else (filters.first, filters.second)
        own = np.stack([half_plane(block) for block in blocks])
        other = np.stack([half_plane(block[rows, columns]) for block in blocks])
        # Exact groups are closed under negation.
        sides = np.stack([own] if np.array_equal(own, other) else [own, other])
        return filters.size, sides, _without
    return filters.shape[-1], half_weights(filters), _masked


def _without(sides: Int[Array, "sides blocks s h"], index: Int[Array, " n"]) -> Float[Array, "n s h"]:
    """What is left of each frequency without a group: 0, or ½ if only it or its negative is removed."""
    removed = (sides[None] == index[:, None, None, None, None]).any(axis=2)
    return 1 - removed.astype(jnp.float32).mean(axis=1)


def _masked(weights: Float[Array, "filters s h"], index: Int[Array, " n"]) -> Float[Array, "n s h"]:
    return jnp.where(index[:, None, None] == UNFILTERED, 1.0, weights[jnp.maximum(index, 0)])
