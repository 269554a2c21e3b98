"""How a network wants its pixels: a property of the weights, kept with them and applied in one place."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from jaxtyping import Array, Float


@dataclass(frozen=True)
class Preprocessing:
    """Resize, crop and normalisation that a set of weights was trained with.

    `mean` and `std` are RGB, for pixels in [0, 1]. `channels="bgr"` reverses the channels after normalising (Caffe's
    order). The defaults are torchvision's for ImageNet.
    """

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    channels: Literal["rgb", "bgr"] = "rgb"
    resize: int = 256
    """Short side after resizing, in pixels."""
    crop: int = 224
    """Side of the square cut from the centre, in pixels."""

    def normalise(self, images: "Float[Array, '*n h w 3']") -> "Float[Array, '*n h w 3']":
        """Map RGB images in [0, 1] to the network's input."""
        import jax.numpy as jnp

        normalised = (images - jnp.asarray(self.mean, images.dtype)) / jnp.asarray(self.std, images.dtype)
        return normalised[..., ::-1] if self.channels == "bgr" else normalised


TORCHVISION = Preprocessing()
CAFFE = Preprocessing(
    # Caffe subtracts the mean from 0..255 pixels and divides by nothing.
    mean=(122.67891434 / 255, 116.66876762 / 255, 104.00698793 / 255),
    std=(1 / 255, 1 / 255, 1 / 255),
    channels="bgr",
)
