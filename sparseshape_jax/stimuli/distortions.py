"""The image manipulations of Geirhos et al., "Generalisation in humans and deep neural networks" (2018).

All are pure functions on float64 RGB images (height, width, 3) in [0, 1]; all but `false_color` return a gray image
(height, width). Gray and RGBA images must be converted to RGB first. Images may have any size; a side of one pixel is
enough. Randomness is an argument (`Noise`): a generator to draw from, or what the reference drew. The functions give
the values of https://github.com/rgeirhos/generalisation-humans-DNNs. Departures are said where they are.
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from sparseshape_jax.errors import InputError

Noise = np.random.Generator | np.ndarray
"""A source of randomness, or the random numbers themselves."""
Rgb = Float[np.ndarray, "height width 3"]
Gray = Float[np.ndarray, "height width"]

MEAN_GRAY = 0.4423
"""The mean gray value of the experiments' images: what filters see beyond the edge, and what high-pass images keep."""

NOISE_CONTRAST = 0.3
"""The contrast of images to which pixel noise is added."""

# Cone excitations (L, M, S) for the primaries of the lab's monitor; the excitations for its white point; and opponent
# channels (luminance, L - M, S - luminance) for differences of excitations, after Brainard (1996).
_CONES = np.array(
    [
        [0.1619982647, 0.208049264, 0.0389347448],
        [0.0330275785, 0.2496504557, 0.0618343518],
        [0.0015524055, 0.0198861001, 0.1890224274],
    ]
)
_WHITE_POINT = np.array([0.20449114, 0.17225619, 0.10523047])
_OPPONENTS = np.array(
    [
        [9.27590805, 9.27590805, 0],
        [7.86421647, -9.33587662, 0],
        [-3.39709047, -3.39709047, 12.16230246],
    ]
)


def gray(image: Rgb) -> Gray:
    """Return the luma of an image, with the weights of ITU-R BT.709 as scikit-image has them.

    Raises:
        InputError: the image is not a float array of RGB values in [0, 1] with at least one pixel.
    """
    check_rgb(image)
    return image @ np.array([0.2125, 0.7154, 0.0721])


def contrast(image: Rgb, level: float) -> Gray:
    """Return the gray image with its contrast reduced to `level`, in [0, 1], around the middle gray .5."""
    if not 0 <= level <= 1:
        raise InputError(f"the contrast is {level:g}; it must be from 0 to 1")
    return (1 - level) / 2 + level * gray(image)


def uniform_noise(image: Rgb, width: float, noise: Noise) -> Gray:
    """Return the gray image at contrast .3 plus uniform noise from `-width` to `width`, one value a pixel, clipped.

    Args:
        image: RGB in [0, 1].
        width: Not negative.
        noise: A generator, or noise of width 1 with the shape of the gray image.
    """
    if not width >= 0:
        raise InputError(f"the width of uniform noise is {width:g}; it must not be negative")
    plane = contrast(image, NOISE_CONTRAST)
    return np.clip(plane + width * _drawn(noise, -1, plane.shape), 0, 1)


def salt_and_pepper(image: Rgb, probability: float, noise: Noise) -> Gray:
    """Return the gray image at contrast .3 with white and black pixels; together their share is `probability`.

    Args:
        image: RGB in [0, 1].
        probability: In [0, 1].
        noise: A generator, or uniform numbers in [0, 1) with the shape of the gray image: the lowest become black, the
            highest white.
    """
    if not 0 <= probability <= 1:
        raise InputError(f"the probability of salt and pepper is {probability:g}; it must be from 0 to 1")
    plane = contrast(image, NOISE_CONTRAST)
    drawn = _drawn(noise, 0, plane.shape)
    salt, pepper = drawn >= 1 - probability / 2, drawn < probability / 2
    return np.clip(plane + salt - pepper, 0, 1)


def low_pass(image: Rgb, deviation: float) -> Gray:
    """Return the gray image blurred by a Gaussian of `deviation` pixels, cut off at four deviations; 0 leaves it as is.

    Beyond the edge the image is taken to have the gray value `MEAN_GRAY`.
    """
    if not 0 <= deviation < np.inf:
        raise InputError(f"the deviation of the low-pass filter is {deviation:g}; it must be finite and not negative")
    return np.clip(_blurred(gray(image), deviation), 0, 1)


def high_pass(image: Rgb, deviation: float) -> Gray:
    """Return the gray image minus its blurred copy, shifted to the mean `MEAN_GRAY` and then clipped.

    An infinite `deviation` leaves the gray image as it is.
    """
    if not deviation > 0:
        raise InputError(f"the deviation of the high-pass filter is {deviation:g}; it must be above 0, or inf")
    plane = gray(image)
    if deviation == np.inf:
        return plane
    details = plane - _blurred(plane, deviation)
    return np.clip(details + (MEAN_GRAY - details.mean()), 0, 1)


def phase_scrambling(image: Rgb, width: float, noise: Noise, *, hermitian: bool = False) -> Gray:
    """Return the gray image with its Fourier phases shifted by uniform noise from `-width` to `width` degrees, clipped.

    The published stimuli do not only lose their phases. In the centered spectrum a coefficient's partner, its complex
    conjugate, mirrors it at the center. The reference gives the shifts, negated, to the second half in the order of the
    first, so that partners get unrelated shifts and the inverse transform is complex. It drops the imaginary part: at
    180° a quarter of the contrast is lost. That is the default here, since people saw such images.

    Departure: for odd sides the reference takes the wrong coefficients. Here all take part but the zero frequency and,
    in even sides, the rows and columns of the highest one, which the reference leaves alone, too.

    Args:
        image: RGB in [0, 1].
        width: In [0, 180].
        noise: A generator, or `scrambled_phases(height, width)` shifts in units of the width.
        hermitian: Give partners opposite shifts. Amplitudes, and with them the contrast, are kept.
    """
    if not 0 <= width <= 180:
        raise InputError(f"the width of the phase noise is {width:g}; it must be from 0 to 180 degrees")
    plane = gray(image)
    shifts = np.deg2rad(width) * _drawn(noise, -1, (scrambled_phases(*plane.shape),))
    spectrum = np.fft.fftshift(np.fft.fft2(plane))
    inner = tuple(slice(1 - side % 2, None) for side in plane.shape)
    second_half = -shifts[::-1] if hermitian else -shifts
    spectrum[inner] *= np.exp(1j * np.concatenate([shifts, [0.0], second_half])).reshape(spectrum[inner].shape)
    return np.clip(np.fft.ifft2(np.fft.ifftshift(spectrum)).real, 0, 1)


def scrambled_phases(height: int, width: int) -> int:
    """How many phases `phase_scrambling` draws for an image of this size; each shifts a pair of coefficients."""
    return (height - 1 + height % 2) * (width - 1 + width % 2) // 2


def mean_amplitude(images: Iterable[Rgb]) -> Gray:
    """Return the mean of the gray images' amplitude spectra, with the zero frequency at the center.

    Raises:
        InputError: there are no images, or they differ in size.
    """
    total: np.ndarray | None = None
    for n, image in enumerate(images, start=1):
        amplitude = np.abs(np.fft.fftshift(np.fft.fft2(gray(image))))
        if total is not None and total.shape != amplitude.shape:
            raise InputError(
                f"image {n} has {_size(amplitude)} pixels and those before it {_size(total)};"
                " a mean amplitude spectrum needs images of one size"
            )
        total = amplitude if total is None else total + amplitude
    if total is None:
        raise InputError("there are no images; a mean amplitude spectrum needs at least one")
    return total / n


def power_equalization(image: Rgb, amplitude: Gray, name: str = "the image") -> Gray:
    """Return the gray image with its own Fourier phases and the amplitudes given, clipped.

    Args:
        image: RGB in [0, 1].
        amplitude: From `mean_amplitude`, for images of this size.
        name: What messages call the image.
    """
    plane = gray(image)
    if plane.shape != amplitude.shape:
        raise InputError(
            f"{name} has {_size(plane)} pixels, but the amplitude spectrum is one of {_size(amplitude)};"
            " compute it from images of the same size"
        )
    phases = np.angle(np.fft.fftshift(np.fft.fft2(plane)))
    return np.clip(np.fft.ifft2(np.fft.ifftshift(amplitude * np.exp(1j * phases))).real, 0, 1)


def monitor_luminance() -> Float[np.ndarray, "256"]:
    """The luminance of the experiments' monitor for each byte, in [0, 1] and rising.

    Departure: this is a curve that was fitted to the authors' measurements, and within .003 of them (sRGB's curve is
    off by up to .063).
    """
    value = np.arange(256) / 255
    return value ** (2.533 - 0.818 * value**0.775 - 1.171 * value**18.36)


def opponent_colors(light: Rgb) -> Rgb:
    """Reverse the red-green and the blue-yellow channel of linear RGB, keeping the luminance; not clipped."""
    channels = (light @ _CONES.T - _WHITE_POINT) @ _OPPONENTS.T
    channels = channels * [1, -1, -1]
    return (channels @ np.linalg.inv(_OPPONENTS).T + _WHITE_POINT) @ np.linalg.inv(_CONES).T


def false_color(image: Rgb, luminance: Float[np.ndarray, "256"] | None = None) -> Rgb:
    """Return the image with opponent colors: red for green and blue for yellow, at the same luminance.

    Values are rounded to bytes first, and so is the result (a multiple of 1 / 255).

    Args:
        image: RGB in [0, 1].
        luminance: What a monitor shows for each byte, rising from 0 to 1; `monitor_luminance()` if not given.
    """
    check_rgb(image)
    table = monitor_luminance() if luminance is None else luminance
    reversed_light = np.clip(opponent_colors(table[to_bytes(image)]), 0, 1)
    # The nearest entry is the one above as many midpoints between entries as lie below the value.
    return np.searchsorted((table[1:] + table[:-1]) / 2, reversed_light) / 255


def rotation(image: Rgb, angle: float) -> Gray:
    """Return the gray image turned counterclockwise by 0, 90, 180 or 270 degrees."""
    if angle not in (0, 90, 180, 270):
        raise InputError(f"the angle is {angle:g}; it must be 0, 90, 180 or 270")
    return np.rot90(gray(image), k=int(angle) // 90)


def to_bytes(image: np.ndarray) -> np.ndarray:
    """Round values in [0, 1] to bytes. Departure: the reference truncates what it saves."""
    return np.rint(255 * image).astype(np.uint8)


def check_rgb(image: np.ndarray) -> None:
    """Raise `InputError` unless `image` is a float array (height, width, 3) with values in [0, 1] and some pixels."""
    if image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError(f"an image has shape {image.shape}; it must be (height, width, 3), so convert it to RGB first")
    if not np.issubdtype(image.dtype, np.floating):
        raise InputError(f"an image has values of type {image.dtype}; divide bytes by 255 first")
    if not (image.min() >= 0 and image.max() <= 1):
        raise InputError(f"an image has values from {image.min():g} to {image.max():g}; they must be in [0, 1]")


def _blurred(plane: Gray, deviation: float) -> Gray:
    return ndimage.gaussian_filter(plane, deviation, mode="constant", cval=MEAN_GRAY, truncate=4)


def _drawn(noise: Noise, low: float, shape: tuple[int, ...]) -> np.ndarray:
    """Draw uniform numbers from `low` to 1, or check those that were given."""
    if isinstance(noise, np.random.Generator):
        return noise.uniform(low, 1, shape)
    if noise.shape != shape:
        raise InputError(f"the noise has shape {noise.shape}; for this image it must be {shape}")
    return noise


def _size(plane: Gray) -> str:
    """The size of an image as people write it: width first."""
    return f"{plane.shape[1]}×{plane.shape[0]}"
