"""Random crops and flips of training pictures, as torchvision makes them on PIL images.

The same box gives equal pixels. The draws are ours: NumPy's generator stands where torchvision uses torch's.
No JAX is needed to read this module.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from sparseshape_jax.data.images import centre_crop, resize_short_side
from sparseshape_jax.errors import InputError


@dataclass(frozen=True)
class Augment:
    """How training pictures are varied.

    Raises:
        InputError: a range that is empty or out of bounds, a negative padding.
    """

    crop: Literal["random_resized", "padded", "centre"] = "random_resized"
    """random_resized: a part of random area and shape, resized (ImageNet); padded: a square of the network's size, at
    a random place of the picture padded with black (CIFAR); centre: no variation, as in evaluation."""
    scale: tuple[float, float] = (0.08, 1.0)
    """random_resized: least and greatest area of the part, as a fraction of the picture's."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """random_resized: least and greatest width of the part, divided by its height."""
    padding: int = 4
    """padded: black pixels on each side."""
    flip: bool = True
    """Mirror every other picture, at random."""

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise InputError(f"scale is {list(self.scale)}; it must be two numbers, 0 < least <= most <= 1")
        if not 0 < self.ratio[0] <= self.ratio[1] < math.inf:
            raise InputError(f"ratio is {list(self.ratio)}; it must be two numbers, 0 < least <= most")
        if self.padding < 0:
            raise InputError(f"padding is {self.padding}; it must not be negative")

    def apply(
        self, image: Image.Image, size: int, rng: np.random.Generator, *, resize: int | None = None
    ) -> Image.Image:
        """One random variation of an RGB picture, `size`×`size` pixels.

        Args:
            image: the picture, of any size.
            size: side of the result.
            rng: where the randomness comes from.
            resize: short side before a padded or a centre crop; the default is `size`.
        """
        if self.crop == "random_resized":
            image = random_resized_crop(image, size, rng, self.scale, self.ratio)
        elif self.crop == "padded":
            image = random_crop(resize_short_side(image, resize or size), size, self.padding, rng)
        else:
            image = centre_crop(resize_short_side(image, resize or size), size)
        return random_flip(image, rng) if self.flip else image


def random_box(
    width: int, height: int, rng: np.random.Generator, scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a random part: area uniform in `scale`, width / height log-uniform in `ratio`.

    A part that does not fit is drawn again; after ten failures it is the largest central one of an allowed ratio, with
    the whole of one side.
    """
    for _ in range(10):
        area = width * height * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return left, top, left + w, top + h
    aspect = min(max(width / height, ratio[0]), ratio[1])
    w, h = (width, round(width / aspect)) if aspect >= width / height else (round(height * aspect), height)
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def random_resized_crop(
    image: Image.Image,
    size: int,
    rng: np.random.Generator,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Image.Image:
    """A random part of the picture, resized to `size`×`size`, bilinear; torchvision's `RandomResizedCrop`."""
    # Cropped before it is resized: `resize(box=...)` would let pixels beyond the box in at its edges.
    part = image.crop(random_box(*image.size, rng, scale, ratio))
    return part.resize((size, size), Image.Resampling.BILINEAR)


def random_crop(image: Image.Image, size: int, padding: int, rng: np.random.Generator) -> Image.Image:
    """A random `size`×`size` square of the picture padded with black; torchvision's `RandomCrop(size, padding)`.

    Raises:
        InputError: the padded picture is smaller than the square.
    """
    places = [extent + 2 * padding - size + 1 for extent in image.size]
    if min(places) < 1:
        raise InputError(
            f"a picture of {image.width}×{image.height} pixels and padding {padding} has no square of {size}×{size};"
            " resize it first, or pad it more"
        )
    left, top = (int(rng.integers(number)) - padding for number in places)
    return image.crop((left, top, left + size, top + size))  # black beyond the edge


def random_flip(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The picture or, as often, its mirror image; torchvision's `RandomHorizontalFlip`."""
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else image
