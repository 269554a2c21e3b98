"""Images to match: reading them, and resizing between octaves. All are (h, w, 3) float32 in [0, 1]."""

from importlib.resources import files
from itertools import count
from pathlib import Path

import numpy as np
from jaxtyping import Float
from skimage.exposure import match_histograms
from skimage.transform import resize

from sparseshape_jax.data.decoding import read_image, resize_short_side
from sparseshape_jax.data.folders import image_files
from sparseshape_jax.errors import InputError
from sparseshape_jax.synthesis.config import SIDES

SOURCE_SIDES = (16, 8192)
"""Allowed sides of the images given, in pixels."""


def read_targets(images: str | None, size: int, *, outside: Path) -> list[tuple[str, Float[np.ndarray, "h w 3"]]]:
    """The images to match: names (unique) and pixels, upright, with `size` pixels on the short side.

    Args:
        images: a file, or a folder that is read at all depths; None for the default photograph.
        size: of the short side.
        outside: the output folder, which is left out, so that a rerun does not take earlier results for photographs.

    Raises:
        InputError: no image, one that cannot be decoded, or one too small, too large or too long and narrow.
    """
    source = Path(images) if images is not None else default_image()
    paths = [source]
    if source.is_dir():
        paths = [path for path in image_files(source) if not path.resolve().is_relative_to(outside.resolve())]
        if not paths:
            raise InputError(f"the images in {source} lie in the output folder; give another one with --out")
    names = [path.stem for path in paths]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"several images in {source} are called {', '.join(repeated)}; rename them")
    return [(name, read_pixels(path, size)) for name, path in zip(names, paths, strict=True)]


def read_pixels(path: Path, size: int) -> Float[np.ndarray, "h w 3"]:
    """One image, upright, with `size` pixels on its short side.

    Raises:
        InputError: no image, one that cannot be decoded, or one too small, too large or too long and narrow.
    """
    image = read_image(path, upright=True)
    (low, high), limit = SOURCE_SIDES, SIDES[1]
    if min(image.size) < low or max(image.size) > high:
        raise InputError(
            f"{path} has {image.size[0]}×{image.size[1]} pixels; sides must be from {low} to {high} pixels"
        )
    long = int(size * max(image.size) / min(image.size))
    if long > limit:
        raise InputError(f"{path} would be {size}×{long} pixels; the long side can have {limit}: give a smaller --size")
    return np.asarray(resize_short_side(image, size), np.float32) / 255


def default_image() -> Path:
    """The photograph used when none is given: a cup of coffee (Rachel Michetti, CC0), from scikit-image."""
    return Path(str(files("skimage.data") / "coffee.png"))


def shrink(image: Float[np.ndarray, "h w 3"], factor: int) -> Float[np.ndarray, "a b 3"]:
    """Resize to 1/`factor` of the size, antialiased."""
    return image if factor == 1 else resize_to(image, (image.shape[0] // factor, image.shape[1] // factor))


def resize_to(image: Float[np.ndarray, "h w 3"], shape: tuple[int, int]) -> Float[np.ndarray, "a b 3"]:
    """Resize to (height, width), bicubic, antialiased."""
    return np.asarray(np.clip(resize(image, shape, order=3, anti_aliasing=True), 0, 1), np.float32)


def scales(low: int, high: int) -> tuple[int, ...]:
    """Sides from at least `low` to `high`, each about √2 times the one before.

    Source: style-transfer-pytorch (Crowson 2021), `gen_scales`.
    """
    sides = {high}
    for step in count(1):
        side = round(high / 2 ** (step / 2))
        if side < low:
            break
        sides.add(side)
    return tuple(sorted(sides))


def match_histogram(image: Float[np.ndarray, "h w 3"], target: Float[np.ndarray, "h w 3"]) -> np.ndarray:
    """Give each channel of `image` the distribution of values that it has in `target`."""
    return np.asarray(match_histograms(image, target, channel_axis=-1), np.float32)
