"""Random crops and flips of training images, as torchvision makes them on PIL images.

The same box gives equal pixels. The draws are ours: NumPy's generator in place of torch's.
"""

import math

import numpy as np
from PIL import Image, ImageOps

from sparseshape_jax.data.config import AugmentConfig
from sparseshape_jax.data.decoding import center_crop, resize_short_side
from sparseshape_jax.errors import InputError

PADDING = 4
"""Of a padded crop, unless told otherwise: CIFAR's usual."""


def augment(
    settings: AugmentConfig,
    image: Image.Image,
    size: int,
    rng: np.random.Generator,
    *,
    resize: int | None = None,
) -> Image.Image:
    """One random variation of an RGB image, `size`×`size` pixels.

    Args:
        settings: which variations.
        image: of any size.
        size: side of the result.
        rng: the source of randomness.
        resize: short side before a padded or a center crop; the default is `size`.

    Raises:
        InputError: a padded image that is smaller than the square.
    """
    if settings.crop == "random_resized":
        padded = ImageOps.expand(image, settings.padding) if settings.padding else image
        image = random_resized_crop(padded, size, rng, settings.scale, settings.ratio)
    elif settings.crop == "padded":
        padding = PADDING if settings.padding is None else settings.padding
        image = random_crop(resize_short_side(image, resize or size), size, padding, rng)
    else:
        image = center_crop(resize_short_side(image, resize or size), size)
    return random_flip(image, rng) if settings.flip else image


def random_box(
    width: int, height: int, rng: np.random.Generator, scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a random part: area uniform in `scale`, width / height log-uniform in `ratio`.

    A part that does not fit is drawn again. After ten failures it is the largest central one of an allowed ratio, which
    has the whole of one side.
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
    """A random part of the image, resized to `size`×`size`, bilinear; torchvision's `RandomResizedCrop`."""
    # Cropped before it is resized: `resize(box=...)` would blend in pixels beyond the box at its edges.
    part = image.crop(random_box(*image.size, rng, scale, ratio))
    return part.resize((size, size), Image.Resampling.BILINEAR)


def random_crop(image: Image.Image, size: int, padding: int, rng: np.random.Generator) -> Image.Image:
    """A random `size`×`size` square of the image padded with black; torchvision's `RandomCrop(size, padding)`.

    Raises:
        InputError: the padded image is smaller than the square.
    """
    places = [extent + 2 * padding - size + 1 for extent in image.size]
    if min(places) < 1:
        raise InputError(
            f"an image of {image.width}×{image.height} pixels and padding {padding} has no square of {size}×{size};"
            " resize it first, or pad it more"
        )
    left, top = (int(rng.integers(number)) - padding for number in places)
    return image.crop((left, top, left + size, top + size))  # black beyond the edge


def random_flip(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The image or, as often, its mirror image; torchvision's `RandomHorizontalFlip`."""
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else image
