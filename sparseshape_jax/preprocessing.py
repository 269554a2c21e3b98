"""How a network wants its pixels: a property of the weights, kept with them and applied in one place.

Written without JAX, so that the catalog of weights can be listed at once; the arrays are JAX's or NumPy's.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sparseshape_jax.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Array, Float, UInt8


@dataclass(frozen=True)
class Preprocessing:
    """Resize, crop and normalization that a set of weights was trained with.

    `mean` and `std` are RGB, for pixels in [0, 1]. `channels="bgr"` reverses the channels after normalizing (Caffe's
    order). The defaults are torchvision's for ImageNet.
    """

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    channels: Literal["rgb", "bgr"] = "rgb"
    resize: int = 256
    """Short side after resizing, in pixels."""
    crop: int = 224
    """Side of the square cut from the center, in pixels."""

    def normalize(self, images: "Float[Array, '*n h w 3']") -> "Float[Array, '*n h w 3']":
        """Map RGB images in [0, 1] to the network's input.

        Raises:
            InputError: an array of integers, which would be 0 to 255.
        """
        if images.dtype.kind in "biu":
            raise InputError(f"images are {images.dtype}; they must be floating-point numbers in [0, 1]")
        normalized = (images - self._per_channel(self.mean, images)) / self._per_channel(self.std, images)
        return normalized[..., ::-1] if self.channels == "bgr" else normalized

    def from_bytes(self, images: "UInt8[Array, '*n h w 3']") -> "Float[Array, '*n h w 3']":
        """Map RGB images of 8 bits a channel to the network's input, in JAX's default float type."""
        return self.normalize(images.astype(float) / 255)

    def denormalize(self, normalized: "Float[Array, '*n h w 3']") -> "Float[Array, '*n h w 3']":
        """Map the network's input back to RGB; the inverse of `normalize`, so values may leave [0, 1]."""
        rgb = normalized[..., ::-1] if self.channels == "bgr" else normalized
        return rgb * self._per_channel(self.std, rgb) + self._per_channel(self.mean, rgb)

    def _per_channel(self, values: tuple[float, float, float], images: Any) -> np.ndarray:
        return np.asarray(values, images.dtype).reshape((1,) * (images.ndim - 1) + (3,))


TORCHVISION = Preprocessing()
CAFFE = Preprocessing(
    # Caffe subtracts the mean from 0..255 pixels and divides by nothing.
    mean=(122.67891434 / 255, 116.66876762 / 255, 104.00698793 / 255),
    std=(1 / 255, 1 / 255, 1 / 255),
    channels="bgr",
)
GATYS = Preprocessing(
    # The same, with the means that Gatys et al. (2016) use.
    mean=(0.48501961, 0.45795686, 0.40760392),
    std=(1 / 255, 1 / 255, 1 / 255),
    channels="bgr",
)
FID = Preprocessing(
    # TensorFlow's Inception maps 0..255 to (x - 128) / 128.
    mean=(128 / 255, 128 / 255, 128 / 255),
    std=(128 / 255, 128 / 255, 128 / 255),
    resize=299,
    crop=299,
)
