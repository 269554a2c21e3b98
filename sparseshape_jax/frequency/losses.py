"""Showing filtered images to a network: many images, each with many filters, in one compiled program.

The spectra of a block of images are kept on the devices. A batch is a number of pairs (image, filter): the program
multiplies the spectrum with what the filter leaves, transforms back, and runs the network. It costs one forward pass
for each pair; the reference's one for each class, image and filter.
"""

import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from sparseshape_jax import output, parallel
from sparseshape_jax.errors import InputError
from sparseshape_jax.frequency.groups import Groups
from sparseshape_jax.frequency.spectrum import (
    check_images,
    from_half_spectrum,
    half_plane,
    half_weights,
    partners,
    to_half_spectrum,
)
from sparseshape_jax.models.network import Operator

Network = Callable[..., Any]
"""One of the package's networks, or any function from images (N, S, S, 3) to logits (N, classes)."""
Inputs = Callable[[int, int], Float[np.ndarray, "n s s 3"]]
"""From the positions of the first image and of the one after the last to these images, normalized."""
Progress = Callable[[int], Any]
"""Told how many filtered images are done."""

UNFILTERED = -1
"""The number of the filter that leaves images as they are."""
RESIDENT = 2**26
"""Bytes of the spectra that are kept on each device."""
SAVED_EVERY = 30.0
"""Seconds between saved states."""


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
        batch_size: filtered images per forward pass, over all devices.
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
        self.batch_size = batch_size
        self.size, arrays, self._weights = _tables(filters)
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
        return from_half_spectrum(spectra[image] * self._weights(tables, index)[:, None])

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


def show(
    filtered: Filtered,
    inputs: Inputs,
    labels: Int[np.ndarray, " n"],
    lists: Sequence[Int[np.ndarray, " own"]],
    *,
    result: Literal["loss", "prediction"],
    saved: Path | None = None,
    progress: Progress = lambda _: None,
    describe: Callable[[int], str] = "image {}".format,
) -> list[np.ndarray]:
    """Show every image with each of its filters, and return the results in the order of `lists`.

    Args:
        filtered: network and filters.
        inputs: the images; they are asked for in blocks whose spectra fit into `RESIDENT` bytes.
        labels: of all images, positions among the logits.
        lists: for each image, the numbers of its filters.
        result: what is wanted of each pair: the loss (float32) or the predicted class (int32).
        saved: where to save what is done about twice a minute, and to take it up; the caller deletes it at the end, and
            sees to it that it belongs to these images and this network. A run that was killed gives the same bytes.
        progress: told what is done, and first what an earlier run has done.
        describe: what messages call an image.

    Raises:
        InputError: logits that are not numbers; the message names the image.
    """
    counts = np.array([len(own) for own in lists], int)
    values = np.full(counts.sum(), 0, np.float32 if result == "loss" else np.int32)
    done = _restore(saved, values)
    progress(done)
    last_saved = time.monotonic()
    flight: tuple[Any, Any, int, int, int] | None = None

    def land() -> None:
        nonlocal done, flight, last_saved
        if flight is None:
            return
        started, image, base, begin, valid = flight
        shown = filtered.finish(started)
        if (bad := np.flatnonzero(np.isnan(shown.loss[:valid]))).size:
            raise InputError(
                f"the network returned logits that are not numbers for {describe(base + int(image[bad[0]]))};"
                " check the weights"
            )
        values[begin : begin + valid] = getattr(shown, result)[:valid]
        done, flight = begin + valid, None
        progress(valid)
        if saved is not None and time.monotonic() - last_saved > SAVED_EVERY:
            _save(saved, values[:done])
            last_saved = time.monotonic()

    for base, stop, begin, end in _blocks(filtered.size, counts):
        if end <= done:
            continue
        filtered.place(inputs(base, stop), labels[base:stop])
        for image, index, first, valid in _batches(lists[base:stop], begin, max(begin, done), filtered.batch_size):
            started = filtered.start(image, index)
            land()
            flight = (started, image, base, first, valid)
        land()
    return np.split(values, np.cumsum(counts)[:-1]) if len(counts) else []


def _blocks(size: int, counts: np.ndarray) -> Iterator[tuple[int, int, int, int]]:
    """Blocks of images of equal length, but for the last one; and where their pairs begin and end among all."""
    length = max(1, RESIDENT // (size * (size // 2 + 1) * 3 * 8))
    ends = np.cumsum(counts)
    for base in range(0, len(counts), length):
        stop = min(base + length, len(counts))
        if ends[stop - 1] > (begin := int(ends[base] - counts[base])):
            yield base, stop, begin, int(ends[stop - 1])


def _batches(
    lists: Sequence[np.ndarray], begin: int, start: int, batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray, int, int]]:
    """Batches of pairs (image, filter), image by image, filled up with the last pair; those before `start` are left
    out. With each batch its position among all pairs, and how many of its pairs count."""
    image: list[np.ndarray] = []
    index: list[np.ndarray] = []
    position, waiting = begin, 0
    for number, own in enumerate(lists):
        image.append(np.full(len(own), number))
        index.append(np.asarray(own))
        waiting += len(own)
        last = number == len(lists) - 1
        if waiting < batch_size and not last:
            continue
        images, indices = np.concatenate(image), np.concatenate(index)
        whole = waiting if last else waiting - waiting % batch_size
        for cut in range(0, whole, batch_size):
            valid = min(batch_size, whole - cut)
            if position + valid > start:
                missing = batch_size - valid
                yield (
                    np.pad(images[cut : cut + valid], (0, missing), mode="edge"),
                    np.pad(indices[cut : cut + valid], (0, missing), mode="edge"),
                    position,
                    valid,
                )
            position += valid
        image, index, waiting = [images[whole:]], [indices[whole:]], waiting - whole


def _save(path: Path, values: np.ndarray) -> None:
    with output.replacing(path) as temporary:
        np.savez(temporary, values=values)


def _restore(path: Path | None, values: np.ndarray) -> int:
    """Fill `values` as far as an earlier run has come, and return how far that is."""
    if path is None or not path.is_file():
        return 0
    try:
        with np.load(path, allow_pickle=False) as file:
            earlier = file["values"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return 0  # it is renamed into place whole, so something else has damaged it; begin again
    if earlier.ndim != 1 or len(earlier) > len(values) or earlier.dtype != values.dtype:
        return 0
    values[: len(earlier)] = earlier
    return len(earlier)


def image_losses(
    network: Network,
    images: Float[np.ndarray, "n s s 3"],
    labels: Int[np.ndarray, " n"],
    groups: Groups,
    *,
    at: Mapping[str, Operator] | None = None,
    batch_size: int = 128,
) -> Float[np.ndarray, "n groups"]:
    """The cross-entropy of every image's own class, in nats, without each group of frequencies; float32.

    Args:
        network: one of the package's, in eval mode, or any function of JAX arrays from images to logits.
        images: square, and normalized as the network wants them.
        labels: positions among the logits.
        groups: what is removed.
        at: which Top-K follows which activation of a network of the package's.
        batch_size: filtered images per forward pass, over all devices.

    Raises:
        InputError: images of another size than the groups', or logits that are not numbers.
    """
    if check_images(images) != groups.size:
        raise InputError(f"images have {images.shape[-2]} pixels, and the groups are for {groups.size}")
    filtered = Filtered(network, groups, at=at, batch_size=batch_size)
    lists = [np.arange(groups.count)] * len(images)
    found = show(filtered, lambda start, stop: images[start:stop], np.asarray(labels), lists, result="loss")
    return np.stack(found)
