"""The sets `smoothed` and `difference`: images without their texture, and what was taken away.

Texture is removed by minimizing the number of pixels with any gradient, S being the result and I the image in [0, 1]:

    Σ (S − I)² + smoothing · #{pixels where any channel has a gradient}        (L0; Xu et al. 2011)

Contours stay sharp, texture becomes flat, and smoothing the result again soon changes little more. Büttner's thesis
(2020) uses a trained TensorFlow network for this, which cannot be shipped; L0 is among the filters that this network
was trained to choose from. We depart from Xu et al. in that borders reflect (a DCT in place of an FFT), so that the
left edge of an image does not touch its right one.
"""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, UInt8

from sparseshape_jax.errors import InputError
from sparseshape_jax.stimuli.edges import require_opencv
from sparseshape_jax.stimuli.stimulus_set import StimulusSet, whole_numbers

SMOOTHING = 0.005
PASSES = 5
BILATERAL = (9, 40.0, 5.0)
"""Diameter in pixels, and the standard deviations in color (of 255) and space (pixels)."""
LAST_BETA = 1e5
"""Where the penalty that ties the gradients to their thresholded copies ends; it doubles from 2·smoothing."""


class Smoothed(StimulusSet):
    """Images smoothed several times; a condition is the number of passes."""

    conditions = tuple(str(passes) for passes in range(1, PASSES + 1))
    size = 224

    def check(self, condition: str) -> None:
        found = whole_numbers(condition)
        if len(found) != 1 or found[0] < 1:
            raise InputError(f"the set smoothed has no condition {condition!r}; give the number of passes, from 1")

    def make(
        self, image: UInt8[np.ndarray, "h w 3"], condition: str, rng: np.random.Generator
    ) -> UInt8[np.ndarray, "h w 3"]:
        del rng
        return smooth(image, int(condition))[-1]


class Difference(StimulusSet):
    """What one pass of smoothing takes away; conditions: absolute |image − smoothed|, and inverse, 255 less that."""

    conditions = ("absolute", "inverse")
    size = 224

    def make(
        self, image: UInt8[np.ndarray, "h w 3"], condition: str, rng: np.random.Generator
    ) -> UInt8[np.ndarray, "h w 3"]:
        del rng
        found = difference(image, smooth(image, 1)[0])
        return found if condition == "absolute" else 255 - found


def difference(image: UInt8[np.ndarray, "h w 3"], smoothed: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """|image − smoothed|, channel by channel."""
    return np.maximum(image, smoothed) - np.minimum(image, smoothed)


def smooth(
    image: UInt8[np.ndarray, "h w 3"], passes: int, smoothing: float | Literal["bilateral"] = SMOOTHING
) -> UInt8[np.ndarray, "passes h w 3"]:
    """The image after 1, 2, … passes, each from the rounded result of the one before.

    One image at a time, so that the result does not depend on which others there are, and in double precision: what a
    pass rounds differently, the next ones turn into whole regions of another color. `minimize_gradients` takes several
    images, in any precision. "bilateral" is OpenCV's filter with the settings in BILATERAL.

    Raises:
        InputError: fewer than one pass, or a `smoothing` that is not above 0.
    """
    if passes < 1:
        raise InputError(f"passes is {passes}; it must be at least 1")
    found = []
    if smoothing == "bilateral":
        for _ in range(passes):
            image = require_opencv().bilateralFilter(image, *BILATERAL)
            found.append(image)
        return np.stack(found)
    with jax.enable_x64(True):
        for _ in range(passes):
            smoothed = minimize_gradients(jnp.asarray(image[None] / 255), smoothing)[0]
            image = np.rint(255 * np.asarray(smoothed)).astype(np.uint8)
            found.append(image)
    return np.stack(found)


def minimize_gradients(images: Float[Array, "n h w c"], smoothing: float = SMOOTHING) -> Float[Array, "n h w c"]:
    """L0 gradient minimization of images in [0, 1], clipped to [0, 1] at the end.

    Raises:
        InputError: a `smoothing` that is not above 0.
    """
    if not smoothing > 0:
        raise InputError(f"smoothing is {smoothing}; it must be above 0")
    betas = []
    beta = 2 * smoothing
    while beta < LAST_BETA:
        betas.append(beta)
        beta *= 2
    return _minimize(jnp.asarray(images), jnp.asarray(betas, images.dtype), smoothing)


@jax.jit
def _minimize(images: Float[Array, "n h w c"], betas: Float[Array, " steps"], smoothing: float) -> Array:
    height, width = images.shape[1:3]
    rows, columns = (jnp.asarray(_cosines(extent), images.dtype) for extent in (height, width))
    omega = [(2 - 2 * np.cos(np.pi * np.arange(extent) / extent)) for extent in (height, width)]
    laplacian = jnp.asarray(omega[0][:, None] + omega[1], images.dtype)[None, :, :, None]
    transform = partial(jnp.einsum, "ah,nhwc,bw->nabc", precision=lax.Precision.HIGHEST)

    def step(smoothed: Array, beta: Array) -> tuple[Array, None]:
        across = jnp.diff(smoothed, axis=2, append=smoothed[:, :, -1:])
        down = jnp.diff(smoothed, axis=1, append=smoothed[:, -1:])
        flat = (across**2 + down**2).sum(-1, keepdims=True) < smoothing / beta
        # The linear system is solved for the change, because float32 would lose the low frequencies of the whole. What
        # is missing between the thresholded gradients and those of `smoothed` is there only where they are thresholded.
        across, down = jnp.where(flat, -across, 0), jnp.where(flat, -down, 0)
        # The transposed differences: the last column and row of gradients are 0.
        back = -jnp.diff(across, axis=2, prepend=0) - jnp.diff(down, axis=1, prepend=0)
        spectrum = transform(rows, images - smoothed + beta * back, columns) / (1 + beta * laplacian)
        return smoothed + transform(rows.T, spectrum, columns.T), None

    smoothed, _ = lax.scan(step, images, betas)
    return smoothed.clip(0, 1)


def _cosines(extent: int) -> Float[np.ndarray, "n n"]:
    """The orthonormal DCT-II as a matrix; its inverse is its transpose."""
    frequency, position = np.mgrid[:extent, :extent]
    scale = np.where(frequency == 0, np.sqrt(1 / extent), np.sqrt(2 / extent))
    return scale * np.cos(np.pi * (2 * position + 1) * frequency / (2 * extent))
