"""The losses of many images, each with many filters: in batches, saved on the way, resumed after an interruption.

It costs one forward pass for each pair of an image and a filter; the reference's one for each class, image and filter.
"""

import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from sparseshape_jax import output
from sparseshape_jax.errors import InputError
from sparseshape_jax.frequency.filtered import Filtered, Network
from sparseshape_jax.frequency.groups import Groups
from sparseshape_jax.frequency.spectrum import check_images
from sparseshape_jax.models.network import Operator

Inputs = Callable[[int, int], Float[np.ndarray, "n s s 3"]]
"""From the positions of the first image and of the one after the last to these images, normalized."""
Progress = Callable[[int], Any]
"""Told how many filtered images are done."""

RESIDENT = 2**26
"""Bytes of the spectra that are kept on each device."""
SAVED_EVERY = 30.0
"""Seconds between saved states."""


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
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
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
