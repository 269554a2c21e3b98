"""From images to features, and the cache of features."""

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator
from typing import cast

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from sparseshape_jax import output
from sparseshape_jax.cache import cache_folder
from sparseshape_jax.data.images import Images
from sparseshape_jax.data.threads import in_threads
from sparseshape_jax.errors import InputError
from sparseshape_jax.fid.networks import FeatureNetwork
from sparseshape_jax.fid.protocols import PROTOCOLS, Pixels, Protocol, squash
from sparseshape_jax.results import fingerprint

PixelBatches = np.ndarray | Iterable[np.ndarray]
"""Images (N, H, W, 3), or batches of them: 8 bits a channel, or floating-point numbers, nominally in [0, 1]."""


def features(
    images: Images | PixelBatches,
    network: FeatureNetwork,
    protocol: str = "clean",
    *,
    size: int | None = None,
    batch_size: int = 32,
    progress: str | None = None,
) -> Float[np.ndarray, "n d"]:
    """The features of images, float32, in their order.

    Args:
        images: a set (`data.open.open_images`), an array (N, H, W, 3), or an iterable of such arrays, of 8 bits a
            channel or floating-point numbers in [0, 1]. A generator's output g in [-1, 1] is given as (g + 1) / 2 and
            need not be clipped: every protocol does with the rest what its source does.
        network: as `feature_network` loads it.
        protocol: how images become the network's input: clean, tf, pytorch-fid or paper (`fid.protocols`).
        size: squash the images of a set to size×size first, as few-shot training does; None leaves them.
        batch_size: images per forward pass; their features do not depend on it, but for rounding.
        progress: the text before a progress bar on stderr; None for no bar.

    Raises:
        InputError: an unknown protocol, one that does not suit the network, no images, images that cannot be decoded
            or are not (N, H, W, 3), or (vgg16) images of different sizes below 128×128.
    """
    chosen = protocol_named(protocol)
    network.check(chosen)
    pixels, count = _pixels(images, size)
    prepared = _prepared(pixels, network, chosen)
    found: list[np.ndarray] = []
    with tqdm(total=count, desc=progress, unit="image", disable=None if progress else True) as bar:
        while batch := list(itertools.islice(prepared, batch_size)):
            padding = [batch[-1]] * (batch_size - len(batch))
            values = np.asarray(network.function(np.stack([*batch, *padding])))[: len(batch)]
            found.append(values)
            bar.update(len(batch))
    if not found:
        raise InputError("there are no images to take features of")
    return np.concatenate(found)


def cached_features(
    images: Images,
    network: FeatureNetwork,
    protocol: str = "clean",
    *,
    size: int | None = None,
    batch_size: int = 32,
    progress: str | None = None,
) -> Float[np.ndarray, "n d"]:
    """`features` of a set, kept in the cache of downloads by the images' content, the network's hash and the protocol.

    Raises:
        InputError: as `features`, or a cache that cannot be written to.
    """
    facts = [content_hash(images), network.name, network.sha256, protocol, size]
    path = cache_folder() / "features" / f"{fingerprint(facts)}.npy"
    try:
        found = np.load(path)
        if found.shape == (len(images), network.dimension):
            return found
    except (OSError, ValueError, EOFError):
        pass  # not there yet, or damaged
    found = features(images, network, protocol, size=size, batch_size=batch_size, progress=progress)
    with output.replacing(path) as temporary:
        np.save(temporary, found)
    return found


def content_hash(images: Images) -> str:
    """The SHA-256 of the decoded pixels of a set, in order.

    Raises:
        InputError: an image that cannot be decoded.
    """
    digest = hashlib.sha256()
    for pixels in _decoded(images, None):
        digest.update(json.dumps(pixels.shape).encode())
        digest.update(pixels.tobytes())
    return digest.hexdigest()


def protocol_named(name: str) -> Protocol:
    """A protocol by its name.

    Raises:
        InputError: there is none of that name.
    """
    if name not in PROTOCOLS:
        raise InputError(f"there is no protocol {name!r}; choose {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def _pixels(images: Images | PixelBatches, size: int | None) -> tuple[Iterator[Pixels], int | None]:
    """The images one by one, and how many there are if that is known."""
    if hasattr(images, "shape"):  # NumPy's or JAX's
        array = _checked(np.asarray(images))
        return iter(array), len(array)
    if hasattr(images, "image"):
        stored = cast(Images, images)
        return _decoded(stored, size), len(stored)
    return (image for batch in images for image in _checked(np.asarray(batch))), None


def _checked(batch: np.ndarray) -> np.ndarray:
    if batch.ndim != 4 or batch.shape[-1] != 3 or not (batch.dtype == np.uint8 or batch.dtype.kind == "f"):
        raise InputError(
            f"images are {batch.dtype} of shape {batch.shape}; give (N, H, W, 3), of 8 bits a channel or in [0, 1]"
        )
    return batch


def _decoded(images: Images, size: int | None) -> Iterator[np.ndarray]:
    """The images of a set, decoded by threads ahead of the caller."""

    def decode(index: int) -> np.ndarray:
        pixels = np.asarray(images.image(index))
        return pixels if size is None else squash(pixels, size)

    return in_threads(decode, range(len(images)), ahead=32)


def _prepared(pixels: Iterable[Pixels], network: FeatureNetwork, protocol: Protocol) -> Iterator[np.ndarray]:
    """The network's inputs; they must all have one shape."""
    shape: tuple[int, ...] | None = None
    for image in pixels:
        prepared = network.prepare(image, protocol)
        if shape is not None and prepared.shape != shape:
            (h1, w1), (h2, w2) = shape[:2], prepared.shape[:2]
            raise InputError(
                f"{network.name} would see images of {w1}×{h1} and of {w2}×{h2} pixels; squash all of them to one size"
                f" with --size {min(h1, w1, h2, w2)}"
            )
        shape = prepared.shape
        yield prepared
