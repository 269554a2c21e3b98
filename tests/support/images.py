"""Images made for tests."""

import numpy as np


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Random RGB pixels (H, W, 3) of 8 bits a channel."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
