"""Settings of `evaluate.py local-global` and `evaluate.py relevance`. Imports no JAX, NumPy or PIL."""

import math
from dataclasses import dataclass, field
from typing import Literal

from sparseshape_jax.checks import check_ranges
from sparseshape_jax.errors import InputError
from sparseshape_jax.evaluation.config import ClassificationConfig
from sparseshape_jax.relevance.composite import Composite

CHANGES = ("scrambled", "patched", "smoothed", "difference")
METHODS = ("lrp", "gradient_times_input", "integrated_gradients", "smooth_grad")


@dataclass(frozen=True)
class LocalGlobalConfig(ClassificationConfig):
    """Measure what networks lose when blocks are scrambled, patches covered, or texture is smoothed away."""

    data: str = "imagenet/val"
    """Images with labels, as for evaluate.py accuracy."""
    sets: tuple[str, ...] = CHANGES
    """How images are changed: scrambled (blocks in another order), patched (square patches covered, one by one and all
    together), smoothed (without texture), difference (what smoothing takes away)."""
    blocks: tuple[int, ...] = (112, 56, 32, 28)
    """Sides of the scrambled blocks in pixels; they must divide the side of the network's images."""
    variants: int = 3
    """Scrambled images of each block size."""
    patches: tuple[int, ...] = (10, 20, 30, 40, 50, 60, 70)
    """Sides of the covered patches in pixels. There are 201 images of each with all of them."""
    color: tuple[int, ...] = (0, 0, 0)
    """Of the patches: red, green and blue, from 0 to 255."""
    passes: int = 5
    """How often images are smoothed."""
    smoothing: float | Literal["bilateral"] = 0.005
    """How strongly: the price of a pixel with a gradient (λ of Xu et al. 2011). Or bilateral: OpenCV's filter over 9
    pixels (sigma 40 in color, 5 in space), which needs the extra edges."""
    per_class: int | None = None
    """Images of each class, drawn with the seed; more of them include fewer. Default: all."""
    count: int | None = None
    """Images in all, drawn from those with the seed; more of them include fewer. Default: all."""
    beside: tuple[str, ...] = ()
    """Result folders of this job, on the same images, whose networks are compared with this one's."""
    skip_bad: bool = False
    """Leave out images that cannot be decoded, and list them in results.json, instead of stopping."""
    seed: int = 0
    """Of the scrambled blocks, the sample of images, and the bootstrap."""
    out: str = "results/local-global"
    """Folder for pictures.csv, curves.csv, tests.csv, interaction.csv, results.json, the figures and config.yaml. An
    interrupted run resumes from there."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.sets or len(set(self.sets)) < len(self.sets) or set(self.sets) - set(CHANGES):
            raise InputError(f"sets are {list(self.sets)}; give some of {', '.join(CHANGES)}, each once")
        for name, unit in (("blocks", "56 28"), ("patches", "30 50")):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values) or min(values) < 1:
                raise InputError(f"{name} are {list(values)}; give sides from 1 pixel, each once: --{name} {unit}")
        if self.variants < 1 or self.passes < 1:
            raise InputError(f"variants is {self.variants} and passes {self.passes}; both must be at least 1")
        if len(self.color) != 3 or not all(0 <= value <= 255 for value in self.color):
            raise InputError(f"the color is {list(self.color)}; give red, green and blue, each from 0 to 255")
        if isinstance(self.smoothing, str):
            if self.smoothing != "bilateral":
                raise InputError(f"smoothing is {self.smoothing!r}; it can be a number or bilateral")
        elif not 0 < self.smoothing < float("inf"):
            raise InputError(f"smoothing is {self.smoothing}; it must be above 0")
        check_ranges("", self, per_class=(1, math.inf), count=(1, math.inf), seed=(0, math.inf))


@dataclass(frozen=True)
class EdgesConfig:
    """How edges are found: Canny with thresholds (1 ± sigma) · median, on the denoised image."""

    denoise: bool = True
    """Remove noise first."""
    sigma: float = 0.9
    """Distance of the thresholds from the median, in medians."""

    def __post_init__(self) -> None:
        if not 0 <= self.sigma <= 10:
            raise InputError(f"edges.sigma is {self.sigma}; it must be from 0 to 10")


@dataclass(frozen=True)
class RelevanceConfig(ClassificationConfig):
    """Show where in images the evidence for a class lies, and measure whether it lies on edges."""

    data: str = "imagenet/val"
    """Images with labels, as for evaluate.py accuracy."""
    batch_size: int = 8
    """Images at a time, over all devices. Relevance needs the activations of all layers at once."""
    method: Literal["lrp", "gradient_times_input", "integrated_gradients", "smooth_grad"] = "lrp"
    """Layer-wise relevance propagation, or a gradient."""
    composite: Composite = field(default_factory=Composite)
    """The rules of lrp."""
    explain: str = "predicted"
    """The class to explain: predicted, true, or the number of a logit."""
    steps: int = 32
    """Points of integrated_gradients, or noisy copies of smooth_grad."""
    baseline: Literal["black", "gray", "mean"] = "mean"
    """Where integrated_gradients starts: a black or a gray image, or the mean color of the training images."""
    noise: float = 0.15
    """The standard deviation of smooth_grad's noise, in units of the range from black to white."""
    with_edges: bool = True
    """Compare relevance with edges; needs OpenCV (the extra edges)."""
    edges: EdgesConfig = field(default_factory=EdgesConfig)
    """How edges are found."""
    boxes: str | None = None
    """Boxes around the objects: a folder of Pascal VOC's .xml files, a .tar.gz of them, or a CSV file. Edges and the
    chance level are then confined to them."""
    per_class: int | None = None
    """Images of each class, drawn with the seed; more of them include fewer. Default: all."""
    count: int | None = None
    """Images in all, drawn from those with the seed; more of them include fewer. Default: all."""
    beside: tuple[str, ...] = ()
    """Result folders of this job, on the same images, whose networks are compared with this one's."""
    skip_bad: bool = False
    """Leave out images that cannot be decoded, and list them in results.json, instead of stopping."""
    seed: int = 0
    """Of the sample of images and smooth_grad's noise."""
    out: str = "results/relevance"
    """Folder for maps/, regions.npz, results.json, summary.csv, edges.csv, tests.csv, ledger.csv, the figures and
    config.yaml. An interrupted run resumes from there."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.explain not in ("predicted", "true") and not self.explain.isdecimal():
            raise InputError(f"explain is {self.explain!r}; it can be predicted, true, or the number of a class from 0")
        if self.steps < 1 or self.noise < 0:
            raise InputError(f"steps is {self.steps} and noise {self.noise}; give at least 1 step, and noise from 0")
        check_ranges("", self, per_class=(1, math.inf), count=(1, math.inf), seed=(0, math.inf))
