"""Giving a picture the colors of another: means, deviations and correlations of its channels.

Source: `coral` of pytorch-AdaIN (`--preserve_color`), after Sun et al., "Return of Frustratingly Easy Domain
Adaptation" (2016).
"""

import numpy as np
from jaxtyping import Float

LEAST_DEVIATION = 1e-6
"""Deviations are at least this, so that pictures of one color can be recolored; the reference divides by zero there."""


def recolor(source: Float[np.ndarray, "h w 3"], target: Float[np.ndarray, "a b 3"]) -> Float[np.ndarray, "h w 3"]:
    """`source` with the color statistics of `target`; the sizes may differ.

    The channels of both are centered and divided by their (unbiased) deviations. Their correlations are sums over the
    pixels, plus the identity, as in the reference: so pictures of different sizes do not match each other exactly.

    Args:
        source: an RGB image in [0, 1].
        target: an RGB image in [0, 1].

    Returns float32, not clipped: values may leave [0, 1].
    """
    pixels, _, _ = _standardized(source)
    others, mean, deviation = _standardized(target)
    transform = _power(_correlations(others), 0.5) @ _power(_correlations(pixels), -0.5)
    recolored = transform @ pixels * deviation + mean
    return np.ascontiguousarray(recolored.T.reshape(source.shape), np.float32)


def _standardized(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The channels (3, N) with mean 0 and deviation 1, and both, (3, 1), as they were; float64."""
    pixels = image.reshape(-1, 3).T.astype(np.float64)
    mean = pixels.mean(axis=1, keepdims=True)
    deviation = np.maximum(pixels.std(axis=1, ddof=1, keepdims=True), LEAST_DEVIATION)
    return (pixels - mean) / deviation, mean, deviation


def _correlations(pixels: np.ndarray) -> np.ndarray:
    return pixels @ pixels.T + np.eye(3)


def _power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    """A power of a symmetric, positive definite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * values**exponent) @ vectors.T
