"""What published FIDs do to pixels before the network, by name; NumPy and PIL only.

| protocol | pixels | to 299×299 | network's input |
|---|---|---|---|
| `clean` | 8 bits | bicubic, antialiased, not rounded | (x - 128) / 128 |
| `tf` | 8 bits | TensorFlow 1's bilinear: no half pixel, not antialiased | (x - 128) / 128 |
| `pytorch-fid` | [0, 1] | torch's bilinear: half pixels, not antialiased | 2x - 1 |
| `paper` | squeezed to 127…255 | as `tf` | (x - 128) / 128 |

Sources: clean-fid 0.1.35 (Parmar et al. 2022), torch-fidelity 0.4.0, pytorch-fid 0.3.0, and the evaluation in the code
of Li et al. (2023). The last one takes values in [0, 1] for values in [-1, 1] and so halves the contrast that Inception
sees: its numbers compare with the paper's only.

An image is (H, W, 3): 8 bits a channel, or floating-point numbers v whose nominal range is [0, 1]. A generator's output
g in [-1, 1] is v = (g + 1) / 2, without clipping.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

SIDE = 299
"""Of Inception's input."""
DETOUR = 512
"""The side to which the paper's evaluation resizes a generator's output, and back."""

Pixels = UInt8[np.ndarray, "h w 3"] | Float[np.ndarray, "h w 3"]
Values = Float[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class Protocol:
    """One way to prepare images, and its customs."""

    name: str
    to_pixels: Callable[[Pixels], Values]
    """To the numbers that are resized; float32."""
    resize: Callable[[Values, int, int], Values]
    """To (height, width)."""
    scale: float = 255.0
    """The largest of these numbers."""
    subset_size: int | None = 1000
    """Of the kernel distance; None if the protocol has none."""
    shrinks_subset: bool = False
    """Whether smaller sets take smaller subsets as a matter of course, and not with a warning."""
    repeats: int = 1
    """How many times a generator is sampled; the smallest distance counts."""

    def prepare(self, image: Pixels) -> Float[np.ndarray, "299 299 3"]:
        """An image as Inception's input."""
        return self.normalize(self.resize(self.to_pixels(image), SIDE, SIDE))

    def normalize(self, values: Values) -> Values:
        """To about [-1, 1]."""
        return (
            values * np.float32(2) - np.float32(1) if self.scale == 1 else (values - np.float32(128)) / np.float32(128)
        )


def to_bytes(image: Pixels) -> UInt8[np.ndarray, "h w 3"]:
    """8 bits a channel; numbers are clipped to [0, 1] and rounded."""
    if image.dtype == np.uint8:
        return image
    return np.round(np.clip(np.nan_to_num(image), 0, 1) * 255).astype(np.uint8)


def squeeze(image: Pixels) -> UInt8[np.ndarray, "h w 3"]:
    """The paper's bytes: trunc(255·(½ + clip(v, -1, 1)/2)).

    A generator's output takes a detour over 512 pixels.
    """
    values = image.astype(np.float32) / np.float32(255) if image.dtype == np.uint8 else _detour(image)
    half = np.float32(0.5)
    return (np.float32(255) * (half + np.clip(values, -1, 1).astype(np.float32) * half)).astype(np.uint8)


def _detour(image: Values) -> Values:
    rows, columns = (_there_and_back(size) for size in image.shape[:2])
    return image[rows][:, columns]


def _there_and_back(size: int) -> np.ndarray:
    """The pixels that are left after nearest-neighbor resizing to 512 and back."""
    there = np.arange(DETOUR) * size // DETOUR
    return there[np.arange(size) * DETOUR // size]


def bicubic(values: Values, height: int, width: int) -> Values:
    """PIL's bicubic, antialiased, each channel in float32, clipped to [0, 255] and not rounded."""
    channels = [
        Image.fromarray(np.ascontiguousarray(values[..., channel], np.float32)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        for channel in range(3)
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1).clip(0, 255)


def tensorflow_bilinear(values: Values, height: int, width: int) -> Values:
    """TensorFlow 1's: output i reads input i·(in/out) and its neighbor; columns first."""
    for axis, size in ((1, width), (0, height)):
        place = np.arange(size, dtype=np.float32) * np.float32(values.shape[axis] / size)
        values = _between(values, axis, place)
    return values


def torch_bilinear(values: Values, height: int, width: int) -> Values:
    """torch's without aligned corners: output i reads input (i + ½)·(in/out) - ½, at least 0; rows first."""
    for axis, size in ((0, height), (1, width)):
        half = np.float32(0.5)
        place = (np.arange(size, dtype=np.float32) + half) * np.float32(values.shape[axis] / size) - half
        values = _between(values, axis, np.maximum(place, 0))
    return values


def _between(values: Values, axis: int, place: Float[np.ndarray, " size"]) -> Values:
    low = np.minimum(place.astype(int), values.shape[axis] - 1)
    high = np.minimum(low + 1, values.shape[axis] - 1)
    weight = (place - low.astype(np.float32)).reshape((-1, 1, 1) if axis == 0 else (-1, 1))
    below = values.take(low, axis)
    return below + (values.take(high, axis) - below) * weight


def squash(image: Pixels, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """To size×size by PIL's bilinear, antialiased, 8 bits: as few-shot training prepares its images."""
    if image.shape[:2] == (size, size):
        return to_bytes(image)
    return np.asarray(Image.fromarray(to_bytes(image)).resize((size, size), Image.Resampling.BILINEAR))


def _floats(image: Pixels) -> Values:
    return to_bytes(image).astype(np.float32)


def _unit(image: Pixels) -> Values:
    return image.astype(np.float32) / np.float32(255) if image.dtype == np.uint8 else image.astype(np.float32)


def _squeezed(image: Pixels) -> Values:
    return squeeze(image).astype(np.float32)


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("clean", _floats, bicubic, shrinks_subset=True),
        Protocol("tf", _floats, tensorflow_bilinear),
        Protocol("pytorch-fid", _unit, torch_bilinear, scale=1.0, subset_size=None),
        Protocol("paper", _squeezed, tensorflow_bilinear, subset_size=100, repeats=3),
    )
}
