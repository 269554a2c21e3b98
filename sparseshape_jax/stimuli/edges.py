"""Where the edges of an image are: OpenCV's Canny on the denoised image, with thresholds from its median.

Source: Büttner's thesis (2020), whose `auto_canny` this is. OpenCV is an extra and not replaced by anything else:
with thresholds this far apart the result hangs on details, and other implementations of Canny find other edges (at best
an F1 of 0.76 between scikit-image's and these).
"""

from types import ModuleType

import numpy as np
from jaxtyping import Bool, UInt8

from sparseshape_jax.errors import InputError

SIGMA = 0.9


def require_opencv() -> ModuleType:
    """OpenCV.

    Raises:
        InputError: it is not installed.
    """
    try:
        import cv2
    except ImportError:
        raise InputError('edges and the bilateral filter need OpenCV; pip install "sparseshape-jax[edges]"') from None
    return cv2


def find_edges(
    image: UInt8[np.ndarray, "h w 3"], *, denoise: bool = True, sigma: float = SIGMA
) -> Bool[np.ndarray, "h w"]:
    """True on the edges of an RGB image; raises as `require_opencv`."""
    return edges_of(to_gray(image, denoise=denoise), sigma)


def edges_of(gray: UInt8[np.ndarray, "h w"], sigma: float = SIGMA) -> Bool[np.ndarray, "h w"]:
    """True on the edges of an image that `to_gray` has made gray."""
    _, low, high = thresholds(gray, sigma)
    return require_opencv().Canny(gray, low, high, apertureSize=3, L2gradient=False) > 0


def to_gray(image: UInt8[np.ndarray, "h w 3"], *, denoise: bool = True) -> UInt8[np.ndarray, "h w"]:
    """The gray image in which edges are looked for: without noise (non-local means), unless told otherwise."""
    cv2 = require_opencv()
    bgr = np.ascontiguousarray(image[..., ::-1])
    if denoise:
        bgr = cv2.fastNlMeansDenoisingColored(bgr, None, h=30, hColor=10, templateWindowSize=7, searchWindowSize=21)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)


def thresholds(gray: UInt8[np.ndarray, "h w"], sigma: float = SIGMA) -> tuple[float, int, int]:
    """The median of a gray image, and the thresholds: 1 − sigma and 1 + sigma times the median, rounded down."""
    median = float(np.median(gray))
    return median, int(max(0, (1.0 - sigma) * median)), int(min(255, (1.0 + sigma) * median))
