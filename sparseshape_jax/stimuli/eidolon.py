"""Eidolons: images whose details are displaced at random, at each scale by another field.

Koenderink, Valsecchi, van Doorn, Wagemans & Gegenfurtner, "Eidolons: Novel stimuli for vision research" (2017), as in
the Python toolbox https://github.com/gestaltrevision/Eidolon with the correction of partial coherence that Geirhos et
al. (2018) used. An image is split into slices of its scale space, which sum to the image blurred a little. Each slice
is resampled at displaced positions, and the results are added.

Two peculiarities of the toolbox are kept, since people saw such images. Displacements are not normalized: subtracting
the mean and dividing by the deviation was meant, but the mean over the deviation is subtracted. Blurring is a circular
convolution of the flattened canvas, so that what wraps around is shifted by a row.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from jaxtyping import Complex, Float, UInt8
from PIL import Image

from sparseshape_jax.errors import InputError
from sparseshape_jax.stimuli.distortions import Gray, Rgb, check_rgb, to_bytes

Planes: TypeAlias = np.random.Generator | Iterable[Float[np.ndarray, "height width"]]
"""A generator to draw planes of normal noise from, or the planes in the order in which the toolbox draws them."""

_SMALLEST_CANVAS = 8  # pixels: a smaller one would cut the narrowest Gaussian off


def eidolon(
    image: Rgb, reach: float, coherence: float, noise: Planes, *, grain: float = 10, size: int | None = None
) -> Gray:
    """Return an eidolon of the gray image, clipped to [0, 1].

    The toolbox scales the long side to 256 pixels first; the published stimuli have 224. By default this function
    leaves the size as it is and takes the scales for the smallest power of two that is not below the long side. An
    image of 224 pixels is then displaced by as many pixels as one of 256.

    Departure: the toolbox truncates the result to bytes. This function does not round it.

    Args:
        image: RGB in [0, 1]; values are rounded to bytes.
        reach: How far details move: what displacements are multiplied by, not negative.
        coherence: In [0, 1]. At 1, fine details move with the coarse ones that they lie on; at 0, on their own.
        noise: A generator; or four planes of standard normal noise for each of `scales(size)`, shaped like
            `embed(gray)`: those of the coherent fields along rows, from fine to coarse, then along columns; then, scale
            by scale, the incoherent one along rows and the one along columns.
        grain: Size of the incoherent displacements' structure, in pixels.
        size: Scale the long side to this many pixels first (Lanczos); at least 8.

    Raises:
        InputError: an argument is out of its range, or there are too few planes.
    """
    check_rgb(image)
    if not 0 <= reach < np.inf:
        raise InputError(f"the reach is {reach:g}; it must be finite and not negative")
    if not 0 <= coherence <= 1:
        raise InputError(f"the coherence is {coherence:g}; it must be from 0 to 1")
    if not 0 < grain < np.inf:
        raise InputError(f"the grain is {grain:g}; it must be finite and above 0")
    if size is not None and size < 8:
        raise InputError(f"the size is {size}; it must be at least 8 pixels")
    plane = _luma(image, size)
    raw = disarray(embed(plane), reach, coherence, grain, size or _power_of_two(max(8, *plane.shape)), noise)
    top, left = _margins(plane.shape)
    return np.clip(raw[top : top + plane.shape[0], left : left + plane.shape[1]] / 255, 0, 1)


def disarray(
    canvas: np.ndarray,
    reach: float,
    coherence: float,
    grain: float,
    size: int,
    noise: Planes,
) -> Float[np.ndarray, "height width"]:
    """Displace the slices of a canvas (`embed`) at the scales for `size`, and add them; 0 to 255, but not clipped."""
    deviations = scales(size)
    planes = _planes(noise, canvas.shape, 4 * len(deviations))
    coherent = [coherent_fields(planes, size) for _ in range(2)]
    rows, columns = np.indices(canvas.shape)
    result = np.zeros(canvas.shape)
    for level, part in enumerate(_slices(canvas, deviations)):
        down, right = (displacement(fields[level], next(planes), coherence, grain) for fields in coherent)
        at_row = np.clip(rows + reach * down, 0, canvas.shape[0] - 1).astype(int)
        at_column = np.clip(columns + reach * right, 0, canvas.shape[1] - 1).astype(int)
        result += part[at_row, at_column]
    return result


def scales(size: int) -> Float[np.ndarray, " scales"]:
    """The deviations of the Gaussians, in pixels, for a long side of `size` pixels: from .71, in steps of √2."""
    count = int(np.ceil(2 * np.log2(size / 4)))
    return 2 ** ((np.arange(count) - 1) / 2)


def embed(plane: UInt8[np.ndarray, "height width"]) -> UInt8[np.ndarray, "rows columns"]:
    """Put an image into the middle of a canvas at least 1.5 times as large, mirrored at its edges.

    The sides of the canvas are powers of two.
    """
    before = _margins(plane.shape)
    after = (_canvas_side(side) - side - start for side, start in zip(plane.shape, before, strict=True))
    return np.pad(plane, tuple(zip(before, after, strict=True)), mode="symmetric")


def noise_plane(white: Float[np.ndarray, "height width"], deviation: float) -> Float[np.ndarray, "height width"]:
    """Return normal noise, scaled so that the largest magnitude is about 127, blurred by a Gaussian of `deviation`."""
    largest = np.abs(white).max()
    blurred = _blurred(np.fft.rfft(np.clip(127.5 / largest * white, -127, 127).ravel()), white.shape, deviation)
    return blurred - blurred.mean() / blurred.std()


def coherent_fields(planes: Iterator[np.ndarray], size: int) -> Float[np.ndarray, "scales height width"]:
    """Return one field of displacements for each scale, fine to coarse: the sum of planes of this and coarser scales.

    Takes as many planes of white noise as there are scales.
    """
    parts = [deviation / (size / 4) * noise_plane(next(planes), deviation) for deviation in scales(size)]
    return np.cumsum(parts[::-1], axis=0)[::-1]


def displacement(
    coherent: Float[np.ndarray, "height width"],
    white: Float[np.ndarray, "height width"],
    coherence: float,
    grain: float,
) -> Float[np.ndarray, "height width"]:
    """Return the displacements for one scale and direction, in pixels at reach 1: the mix of both fields."""
    if coherence == 1:
        return coherent
    return coherence * coherent + (1 - coherence) * noise_plane(white, grain)


def _slices(
    canvas: np.ndarray, deviations: Float[np.ndarray, " scales"]
) -> Iterator[Float[np.ndarray, "height width"]]:
    """Yield the differences of canvases blurred by neighboring deviations, and the most blurred one last."""
    spectrum = np.fft.rfft(canvas.ravel())
    finer = _blurred(spectrum, canvas.shape, deviations[0])
    for deviation in deviations[1:]:
        coarser = _blurred(spectrum, canvas.shape, deviation)
        yield finer - coarser
        finer = coarser
    yield finer


def _blurred(
    spectrum: Complex[np.ndarray, " frequencies"], shape: tuple[int, int], deviation: float
) -> Float[np.ndarray, "height width"]:
    """Blur a flattened canvas, given by its Fourier transform."""
    return np.fft.irfft(spectrum * _kernel_spectrum(shape, float(deviation))).reshape(shape)


@lru_cache(maxsize=32)
def _kernel_spectrum(shape: tuple[int, int], deviation: float) -> Complex[np.ndarray, " frequencies"]:
    """The Fourier transform of a flattened Gaussian; its samples do not sum to 1 exactly, as in the toolbox."""
    column, row = (
        np.exp(-(np.minimum(np.arange(side), side - np.arange(side)) ** 2) / (2 * deviation**2))
        / (np.sqrt(2 * np.pi) * deviation)
        for side in shape
    )
    return np.fft.rfft(np.outer(column, row).ravel())


def _planes(noise: Planes, shape: tuple[int, int], count: int) -> Iterator[np.ndarray]:
    """Yield `count` planes of white noise."""
    if isinstance(noise, np.random.Generator):
        for _ in range(count):
            yield noise.standard_normal(shape)
        return
    given = 0
    for plane in noise:
        if plane.shape != shape:
            raise InputError(f"a plane of noise has shape {plane.shape}; for this image it must be {shape}")
        given += 1
        yield plane
    raise InputError(f"there are {given} planes of noise; this image needs {count}")


def _luma(image: Rgb, size: int | None) -> UInt8[np.ndarray, "height width"]:
    """The bytes of the gray image as Pillow computes them, its long side scaled to `size`."""
    picture = Image.fromarray(to_bytes(image))
    if size is not None:
        factor = size / max(picture.size)
        width, height = (max(1, round(factor * side)) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(picture.convert("L"))


def _margins(shape: tuple[int, ...]) -> tuple[int, ...]:
    """How many rows and columns of the canvas come before the image."""
    return tuple((_canvas_side(side) - side) // 2 for side in shape)


def _canvas_side(side: int) -> int:
    return max(_SMALLEST_CANVAS, _power_of_two(1.5 * side))


def _power_of_two(at_least: float) -> int:
    return 1 << int(np.ceil(np.log2(at_least)))
