"""From an image file to pixels, as torchvision does it on PIL images; equal to the last bit, as PIL does the work."""

import contextlib
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from sparseshape_jax.errors import InputError
from sparseshape_jax.preprocessing import Preprocessing

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""Lower-case endings of what counts as an image file."""


def is_image(path: Path) -> bool:
    """Whether `path` is named like an image (in any case) and is not a hidden file."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def read_image(path: Path, *, upright: bool = False) -> Image.Image:
    """Decode a file to an 8-bit RGB image.

    Gray is spread over three channels, 16-bit gray is scaled to 8 bits, and transparent pixels are blended with white.
    torchvision differs: it clips 16-bit values and drops the transparency without blending.

    Args:
        path: the file.
        upright: turn the image as its EXIF orientation says. Measurements do not, as torchvision does not.

    Raises:
        InputError: the file is missing, truncated, too large to be safe, or not an image.
    """
    return decode(path, str(path), upright=upright)


def decode(source: Path | BinaryIO, name: str, *, upright: bool = False) -> Image.Image:
    """Decode a file or stream as `read_image` does; error messages call it `name`."""
    try:
        with _metadata_warnings_ignored():
            file = Image.open(source)
        with file:
            file.load()
            if not upright:
                return _to_rgb(file)
            with _metadata_warnings_ignored():
                return _to_rgb(ImageOps.exif_transpose(file))
    except FileNotFoundError:
        raise InputError(f"there is no image {name}; give the path of an image file") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise InputError(f"{name} has more than {Image.MAX_IMAGE_PIXELS:,} pixels; make it smaller") from None
    except UnidentifiedImageError:
        raise InputError(f"{name} is not an image, or is damaged; replace or remove it") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # what PIL's decoders raise on damaged files
        raise InputError(f"{name} cannot be decoded ({error}); replace or remove it") from None


_filters = threading.Lock()


@contextlib.contextmanager
def _metadata_warnings_ignored() -> Iterator[None]:
    """Ignore metadata that PIL cannot parse, as the pixels are sound; an image that may exhaust the memory is an error.

    `catch_warnings` swaps filters that all threads share, so the loader's threads enter one at a time. They decode
    outside.
    """
    with _filters, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers of unknown range")
    if image.mode.startswith("I"):
        wide = np.asarray(image).astype(np.float64)
        return Image.fromarray(np.clip(np.round(wide / 257), 0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def resize_short_side(image: Image.Image, size: int) -> Image.Image:
    """Resize so that the short side has `size` pixels: bilinear, antialiased; torchvision's `Resize(size)`."""
    width, height = image.size
    short, long = min(width, height), max(width, height)
    if short == size:
        return image
    other = int(size * long / short)
    return image.resize((size, other) if width <= height else (other, size), Image.Resampling.BILINEAR)


def center_crop(image: Image.Image, size: int) -> Image.Image:
    """The central `size`×`size` pixels, black beyond the edge; torchvision's `CenterCrop(size)`."""
    left, top = (
        # torchvision rounds half a pixel to even where it cuts, and down where it pads.
        round((extent - size) / 2) if extent >= size else -((size - extent) // 2)
        for extent in image.size
    )
    return image.crop((left, top, left + size, top + size))


def prepare(image: Image.Image, preprocessing: Preprocessing) -> UInt8[np.ndarray, "crop crop 3"]:
    """Resize and crop for a network; an image that already has the crop's size is left as it is.

    The exception is for stimuli, which are made at the networks' input size and must not be resized. model-vs-human
    does the same.
    """
    if image.size != (preprocessing.crop, preprocessing.crop):
        image = center_crop(resize_short_side(image, preprocessing.resize), preprocessing.crop)
    return np.asarray(image)
