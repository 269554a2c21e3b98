"""Spectra of images, filters, and how a class's spectrum differs from those of others (ADCS).

Spectra are NumPy's: unnormalized, over rows and columns, each channel alone.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Complex, Float, Int

from sparseshape_jax.errors import InputError

GRAY = (0.2989, 0.5870, 0.1140)
"""The weights of red, green and blue in a gray amplitude."""


def check_size(size: int) -> None:
    """Raise `InputError` for a side without frequencies."""
    if size < 2:
        raise InputError(f"the side of a map of frequencies is {size}; it must be at least 2")


def check_images(images: Any) -> int:
    """The side of square images (…, S, S, C).

    Raises:
        InputError: anything else.
    """
    if images.ndim < 3 or images.shape[-3] != images.shape[-2]:
        raise InputError(f"images have shape {tuple(images.shape)}; frequencies need square ones, (…, S, S, C)")
    if images.dtype.kind in "biuc":
        raise InputError(f"images are {images.dtype}; filters work on normalized floating-point numbers")
    check_size(images.shape[-2])
    return int(images.shape[-2])


def radius(size: int) -> Float[np.ndarray, "s s"]:
    """ρ, the distance of each frequency of an S×S map from frequency 0, float64.

    Raises:
        InputError: a size below 2.
    """
    check_size(size)
    along = np.arange(size) - size // 2
    return np.hypot(along[:, None], along[None, :])


def partners(size: int) -> tuple[Int[np.ndarray, "s s"], Int[np.ndarray, "s s"]]:
    """The row and the column of the negative of each frequency: (2⌊S/2⌋ - i) mod S and likewise for j.

    Raises:
        InputError: a size below 2.
    """
    check_size(size)
    mirrored = (2 * (size // 2) - np.arange(size)) % size
    rows, columns = np.meshgrid(mirrored, mirrored, indexing="ij")
    return rows, columns


def half_plane(maps: np.ndarray) -> np.ndarray:
    """The part of shifted maps (…, S, S) that `rfft2` has: (…, S, S//2 + 1), frequency 0 first."""
    return np.fft.ifftshift(maps, axes=(-2, -1))[..., : maps.shape[-1] // 2 + 1]


def half_weights(masks: np.ndarray) -> Float[np.ndarray, "*m s h"]:
    """What `rfft2` has to be multiplied with to filter by `masks` (…, S, S), which need not be symmetric.

    The real part of a filtered image depends on the mean of the mask at a frequency and at its negative only.
    """
    rows, columns = partners(masks.shape[-1])
    masks = np.asarray(masks, np.float32)
    return half_plane((masks + masks[..., rows, columns]) / 2)


def to_half_spectrum(images: Float[Array, "n s s c"]) -> Complex[Array, "n c s h"]:
    """`rfft2` of images, channels first."""
    return jnp.fft.rfft2(jnp.moveaxis(images, -1, -3))


def from_half_spectrum(spectra: Complex[Array, "n c s h"]) -> Float[Array, "n s s c"]:
    """The images that `to_half_spectrum` makes these spectra of."""
    size = spectra.shape[-2]
    return jnp.moveaxis(jnp.fft.irfft2(spectra, s=(size, size)), -3, -1)


def weigh(spectra: Complex[Array, "..."], weights: Float[Array, "..."]) -> Complex[Array, "..."]:
    """Spectra times real weights."""
    return lax.complex(spectra.real * weights, spectra.imag * weights)


def spectrum(images: Float[Array, "*n s s c"]) -> Complex[Array, "*n s s c"]:
    """The Fourier transform of images over rows and columns, shifted, complex64.

    Raises:
        InputError: images that are not square, or integers.
    """
    check_images(images)
    return jnp.fft.fftshift(jnp.fft.fft2(images, axes=(-3, -2)), axes=(-3, -2))


@jax.jit
def _amplitude(images: Float[Array, "*n s s 3"]) -> Float[Array, "*n s s"]:
    return jnp.abs(spectrum(images)) @ jnp.asarray(GRAY, images.dtype)


def amplitude(images: Float[Array, "*n s s 3"]) -> Float[Array, "*n s s"]:
    """The gray amplitude spectrum: the mean of the channels' |FFT|, weighted .2989, .5870, .1140; shifted.

    Raises:
        InputError: images that are not square, integers, or without three channels.
    """
    check_images(images)
    if images.shape[-1] != 3:
        raise InputError(f"images have {images.shape[-1]} channels; a gray amplitude is of red, green and blue")
    return _amplitude(images)


def keep(images: Float[Array, "*n s s c"], mask: np.ndarray) -> Float[Array, "*n s s c"]:
    """The real part of the inverse transform of mask · FFT(images).

    Args:
        images: square, and normalized as the network wants them.
        mask: (S, S), shifted, what each frequency is multiplied with: 1 keeps it. A mask that is 1 at a frequency and 0
            at its negative halves it.

    Raises:
        InputError: images that are not square, or integers, or a mask of another size.
    """
    size = check_images(images)
    if np.shape(mask) != (size, size):
        raise InputError(f"the mask has shape {np.shape(mask)}; for images of {size} pixels it must be {(size, size)}")
    return _keep(jnp.asarray(images), jnp.asarray(half_weights(np.asarray(mask))))


@jax.jit
def _keep(images: Float[Array, "*n s s c"], weights: Float[Array, "s h"]) -> Float[Array, "*n s s c"]:
    spectra = to_half_spectrum(images)
    return from_half_spectrum(
        weigh(spectra, weights.astype(images.dtype).reshape((1,) * (images.ndim - 2) + weights.shape))
    )


def remove(images: Float[Array, "*n s s c"], mask: np.ndarray) -> Float[Array, "*n s s c"]:
    """The images without the frequencies where `mask` is 1: `keep` with the rest. Raises as `keep` does."""
    return keep(images, 1 - np.asarray(mask, np.float32))


def adcs(amplitudes: Float[np.ndarray, "c s s"]) -> Int[np.ndarray, "c s s"]:
    """How each class's mean amplitude compares with those of the other classes: Σ sign(A_c - A_n) over n ≠ c.

    The reference compares sums in place of means, and a class also with itself, which adds -1; so do ties there. Its
    map is ours minus 1 where classes are equal in number and nothing ties.

    Args:
        amplitudes: the mean `amplitude` over the images of each class.

    Returns int16, from -(C - 1) to C - 1.
    """
    return np.stack([np.sign(own - amplitudes).sum(axis=0) for own in amplitudes]).astype(np.int16)
