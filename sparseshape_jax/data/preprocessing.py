"""How a network wants its pixels: a property of the weights, kept with them and applied in one place."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sparseshape_jax.errors import InputError

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
        """Map RGB images in [0, 1] to the network's input.

        Raises:
            InputError: an array of integers, which would be 0 to 255.
        """
        import jax.numpy as jnp

        if not jnp.issubdtype(images.dtype, jnp.floating):
            raise InputError(f"images are {images.dtype}; they must be floating-point numbers in [0, 1]")
        normalised = (images - jnp.asarray(self.mean, images.dtype)) / jnp.asarray(self.std, images.dtype)
        return normalised[..., ::-1] if self.channels == "bgr" else normalised

    def denormalise(self, normalised: "Float[Array, '*n h w 3']") -> "Float[Array, '*n h w 3']":
        """Map the network's input back to RGB; the inverse of `normalise`, so values may leave [0, 1]."""
        import jax.numpy as jnp

        rgb = normalised[..., ::-1] if self.channels == "bgr" else normalised
        return rgb * jnp.asarray(self.std, rgb.dtype) + jnp.asarray(self.mean, rgb.dtype)


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
