"""The band-biased sets Syn_1 to Syn_4: noise images of four classes, which two of them show in one frequency alone.

Wang et al. (ICCV 2023) train networks on such sets to see which frequencies become shortcuts. They published arrays and
no generator, so this one is ours. In every set, a class has the same cue in all four bands of frequencies: more
amplitude in one sector of orientations. Classes 0 and 1 of Syn_b have a shortcut on top: vertical or horizontal stripes
of one frequency, in the middle of band b. Every band of every class has the same energy.

A frequency (fr, fc) counts periods per image, along rows and along columns; s is the side of the images in pixels, a
multiple of 16. Bands are those of `frequency.bands`. One of each pair of opposite frequencies is enough for a real
image: the half plane has k = s(s/2 - 1) of them.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from sparseshape_jax.frequency.bands import BANDS, bands

CLASSES = ("c0", "c1", "c2", "c3")
SPLITS = ("train", "val", "test")
CONTRAST = 0.172
"""Standard deviation of the values of an image in [0, 1]: that of the authors' sets."""


@lru_cache
def frequencies(size: int) -> Int[np.ndarray, "k 2"]:
    """The frequencies of the half plane, fr ascending, then fc ascending."""
    rows, columns = np.meshgrid(np.arange(1 - size // 2, size // 2), np.arange(size // 2), indexing="ij")
    kept = (columns > 0) | (rows > 0)
    return _constant(np.stack([rows[kept], columns[kept]], axis=1))


@lru_cache
def bands_of(size: int) -> Int[np.ndarray, " k"]:
    """The band of each frequency of the half plane, 1 to 4; 0 in the corners, which are in no band."""
    rows, columns = (frequencies(size) + size // 2).T
    return _constant(np.arange(1, BANDS + 1) @ bands(size)[:, rows, columns])


@lru_cache
def sectors(size: int) -> Int[np.ndarray, " k"]:
    """The sector of each frequency of the half plane, 0 to 3: quarters of the angle between columns and rows."""
    rows, columns = np.abs(frequencies(size)).T
    return _constant(np.minimum(3, np.floor(np.arctan2(rows, columns) / (np.pi / 8))).astype(np.int64))


def planted(band: int, label: int, size: int = 32) -> tuple[int, int] | None:
    """The frequency of the pattern that the set of this band plants in a class; None if it plants none."""
    middle = size * (2 * band - 1) // 16
    return {0: (0, middle), 1: (middle, 0)}.get(label)


def is_planted(band: int, label: int, size: int = 32) -> Bool[np.ndarray, " k"]:
    """Which frequency of the half plane is the planted one."""
    frequency = planted(band, label, size)
    if frequency is None:
        return np.zeros(len(frequencies(size)), bool)
    return (frequencies(size) == frequency).all(axis=1)


@lru_cache
def amplitudes(
    band: int, label: int, *, size: int = 32, cue: float = 1.25, share: float = 0.5
) -> Float[np.ndarray, " k"]:
    """The amplitude of each frequency of the half plane in a class of the set of a band, float64; their squares are 1
    per band.

    Args:
        band: of the planted pattern, 1 to 4.
        label: of the class, 0 to 3.
        size: side of the images in pixels.
        cue: the amplitude in the class's sector, relative to that in other sectors.
        share: of its band's energy that the planted pattern carries.
    """
    pattern = is_planted(band, label, size)
    weights = np.where(sectors(size) == label, cue, 1.0)
    found = np.zeros(len(pattern))
    for each in range(1, BANDS + 1):
        members = (bands_of(size) == each) & ~pattern
        energy = 1 - share if each == band and pattern.any() else 1.0
        found[members] = weights[members] * np.sqrt(energy / np.sum(weights[members] ** 2))
    found[pattern] = np.sqrt(share)
    return _constant(found)


def image(
    band: int,
    label: int,
    split: str,
    index: int,
    *,
    size: int = 32,
    cue: float = 1.25,
    share: float = 0.5,
    seed: int = 0,
) -> Float[np.ndarray, "s s"]:
    """An image of the set of a band, before it is clipped and rounded: float64, mean 0.5.

    Amplitudes vary from image to image as those of Gaussian noise do; the planted pattern's stays the same. All phases
    are random. An image depends on its own numbers alone.

    Args:
        band: of the planted pattern, 1 to 4.
        label: of the class, 0 to 3.
        split: train, val or test.
        index: of the image in its class and split, from 0.
        size: side of the image in pixels.
        cue: as for `amplitudes`.
        share: as for `amplitudes`.
        seed: of the whole set.
    """
    rng = np.random.default_rng([seed, band, SPLITS.index(split), label, index])
    lengths, turns = rng.random((2, len(frequencies(size))))
    radii = np.where(is_planted(band, label, size), 1.0, np.sqrt(-np.log1p(-lengths)))
    coefficients = amplitudes(band, label, size=size, cue=cue, share=share) * radii * np.exp(2j * np.pi * turns)
    spectrum = np.zeros((size, size), complex)
    spectrum[tuple(frequencies(size).T)] = coefficients  # negative rows count from the end, as in an FFT
    return 0.5 + CONTRAST / np.sqrt(2) * np.fft.ifft2(spectrum, norm="forward").real


def pixels(values: Float[np.ndarray, "s s"]) -> UInt8[np.ndarray, "s s 3"]:
    """A gray image as bytes: clipped to [0, 1], halves rounded up, the three channels the same."""
    rounded = np.floor(255 * np.clip(values, 0, 1) + 0.5).astype(np.uint8)
    return np.repeat(rounded[..., None], 3, axis=-1)


def mean_spectrum(images: UInt8[np.ndarray, "n s s 3"]) -> Float[np.ndarray, "s s"]:
    """The mean amplitude spectrum of gray images in [0, 1], not normalized, with frequency 0 in the middle."""
    return np.fft.fftshift(np.abs(np.fft.fft2(images[..., 0] / 255)).mean(axis=0))


def _constant(array: np.ndarray) -> np.ndarray:
    """The array, which is kept for later calls, protected against changes."""
    array.setflags(write=False)
    return array
