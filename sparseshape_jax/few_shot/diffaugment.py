"""DiffAugment: the same kind of random changes for real and generated images, through which gradients flow.

Source: Zhao et al. (2020), with the ranges of their code. Everything that is random is an argument, so that all
devices of a run draw the same.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from sparseshape_jax.few_shot.options import AugmentPolicy

Batch = Float[Array, "n h w 3"]
"""Images in [-1, 1], of any height and width."""
Places = Int[Array, "n 2"]
"""Pixels: of rows, and of columns."""


class AugmentDraws(NamedTuple):
    """What is random in the augmentation of a batch: a row for each image."""

    uniform: Float[Array, "n 3"]
    """In [0, 1): of brightness, saturation and contrast."""
    shifts: Places
    """Of the translation, each from -`largest_shift` to `largest_shift`."""
    cuts: Places
    """Of the cutout, each from 0 to `cut_offsets` - 1."""


DRAWN = 7
"""Random numbers per image."""


def draws(uniform: Float[Array, "n 7"], size: int) -> AugmentDraws:
    """From numbers in [0, 1), for images of `size`×`size` pixels."""
    shift = largest_shift(size)

    def below(columns: Float[Array, "n 2"], bound: int) -> Places:
        return jnp.floor(columns * bound).astype(jnp.int32)

    return AugmentDraws(
        uniform[:, :3], below(uniform[:, 3:5], 2 * shift + 1) - shift, below(uniform[:, 5:], cut_offsets(size))
    )


def augment(images: Batch, draws: AugmentDraws, policy: Sequence[AugmentPolicy]) -> Batch:
    """Apply the parts in `policy`, in their order; none leaves the images as they are."""
    for part in policy:
        if part == "color":
            images = brightness(images, draws.uniform[:, 0])
            images = saturation(images, draws.uniform[:, 1])
            images = contrast(images, draws.uniform[:, 2])
        elif part == "translation":
            images = translation(images, draws.shifts)
        else:
            images = cutout(images, draws.cuts)
    return images


def brightness(images: Batch, uniform: Float[Array, " n"]) -> Batch:
    """Add -0.5 to 0.5."""
    return images + (_per_image(uniform) - 0.5)


def saturation(images: Batch, uniform: Float[Array, " n"]) -> Batch:
    """Multiply what differs from each pixel's mean over the channels by 0 to 2."""
    mean = jnp.mean(images, axis=-1, keepdims=True)
    return (images - mean) * (2 * _per_image(uniform)) + mean


def contrast(images: Batch, uniform: Float[Array, " n"]) -> Batch:
    """Multiply what differs from the image's mean by 0.5 to 1.5."""
    mean = jnp.mean(images, axis=(1, 2, 3), keepdims=True)
    return (images - mean) * (_per_image(uniform) + 0.5) + mean


def translation(images: Batch, shifts: Places) -> Batch:
    """Pixel (i + row shift, j + column shift) comes to (i, j); what is outside the image is 0."""
    rows, columns = (largest_shift(size) for size in images.shape[1:3])
    padded = jnp.pad(images, ((0, 0), (rows, rows), (columns, columns), (0, 0)))
    starts = shifts.astype(jnp.int32) + jnp.asarray([[rows, columns]], jnp.int32)

    def window(image: Array, start: Array) -> Array:
        return lax.dynamic_slice(image, (start[0], start[1], jnp.int32(0)), images.shape[1:])

    return jax.vmap(window)(padded, starts)


def cutout(images: Batch, cuts: Places) -> Batch:
    """Set a rectangle of half the height and width to 0. What would be outside the image falls on its edge."""
    kept = [_outside_cut(cuts[:, axis], size) for axis, size in enumerate(images.shape[1:3])]
    return jnp.where((kept[0][:, :, None] | kept[1][:, None, :])[..., None], images, 0)


def _outside_cut(offsets: Int[Array, " n"], size: int) -> Array:
    """Which of `size` rows or columns are outside the rectangle: (n, size)."""
    side = cut_side(size)
    first = offsets.astype(jnp.int32)[:, None] - side // 2
    index = jnp.arange(size, dtype=jnp.int32)[None]
    return (index < jnp.clip(first, 0, size - 1)) | (index > jnp.clip(first + (side - 1), 0, size - 1))


def largest_shift(size: int) -> int:
    """By how many pixels an image is moved at most: an eighth of its side."""
    return int(size / 8 + 0.5)


def cut_side(size: int) -> int:
    """How many pixels the cutout has of `size`: half."""
    return int(size / 2 + 0.5)


def cut_offsets(size: int) -> int:
    """How many places the cutout can have."""
    return size + (1 - cut_side(size) % 2)


def _per_image(values: Float[Array, " n"]) -> Float[Array, "n 1 1 1"]:
    return values[:, None, None, None]
