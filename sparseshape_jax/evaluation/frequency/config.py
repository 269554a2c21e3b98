"""Settings of `evaluate.py frequency`. Imports no JAX, NumPy or PIL."""

import math
from dataclasses import dataclass, field
from typing import Literal

from sparseshape_jax.checks import check_ranges
from sparseshape_jax.errors import InputError
from sparseshape_jax.evaluation.config import NetworkConfig
from sparseshape_jax.top_k.options import check_fraction
from sparseshape_jax.top_k.spec import TopKChanges

Select = Literal["all", "even", "odd"]


@dataclass(frozen=True)
class ImagesConfig:
    """Which images to look at."""

    data: str = "imagenet/val"
    """Images with labels, as for evaluate.py accuracy. Only classes that have images are measured."""
    classes: tuple[str, ...] | None = None
    """Names of classes to measure. Default: all that have images."""
    per_class: int | None = None
    """The first images of each class, sorted by name. Default: all."""
    select: Select = "all"
    """Only every other image of each class, sorted by name: even takes the first, third, …, odd the others. Masks
    chosen on even images can be tested on odd ones. --per_class then counts what is left."""
    squash: bool = False
    """Resize images to a square regardless of their proportions, as the reference does, instead of as the weights
    want it."""
    skip_bad: bool = False
    """Leave out images that cannot be decoded, and list them in results.json, instead of stopping."""

    def __post_init__(self) -> None:
        check_ranges("", self, per_class=(1, math.inf))
        if self.classes is not None and (not self.classes or len(set(self.classes)) < len(self.classes)):
            raise InputError(f"classes are {list(self.classes)}; give at least one, each once: --classes cat dog")


@dataclass(frozen=True)
class AdcsConfig(ImagesConfig):
    """Show how the amplitude spectrum of each class differs from those of the others (ADCS)."""

    model: str | None = None
    """A catalog name or an architecture (with --weights), whose resize, crop and normalization are used."""
    weights: str | None = None
    """A file of weights or the folder of a training run, for the same, and for the names of classes."""
    size: int = 224
    """Side of the images in pixels, without a network."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """What is subtracted from red, green and blue in [0, 1], without a network."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """What they are divided by, without a network."""
    batch_size: int = 32
    """Images at a time."""
    out: str = "results/frequency/adcs"
    """Folder for adcs.npz, results.json, summary.csv, the figure and config.yaml."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size < 2 or self.batch_size < 1:
            raise InputError(
                f"size is {self.size} and batch_size {self.batch_size}; give at least 2 pixels, and 1 image"
            )
        if min(self.std) <= 0:
            raise InputError(f"std is {list(self.std)}; each must be above 0")


@dataclass(frozen=True)
class FilteredConfig(NetworkConfig, ImagesConfig):
    """A network, and images that are filtered for it."""

    topk: TopKChanges = field(default_factory=TopKChanges)
    """Where Top-K is placed, what it keeps, … if --fraction is given. Settings that are not given are those that the
    weights were trained with, else top of every map, after the architecture's preset."""
    fraction: float | None = None
    """Keep fraction of Top-K; 1 means none. Default: the Top-K that the weights were trained with, if any."""
    batch_size: int = 128
    """Filtered images per forward pass, over all devices."""

    def __post_init__(self) -> None:
        NetworkConfig.__post_init__(self)
        ImagesConfig.__post_init__(self)
        if self.fraction is not None:
            check_fraction(self.fraction)
        elif self.topk != TopKChanges():
            raise InputError("--topk says how Top-K differs; say how much it keeps, too: --fraction 0.2")


@dataclass(frozen=True)
class DfmConfig(FilteredConfig):
    """Find dominant frequencies of each class (DFM): without which it does worst, or on which alone it does best."""

    method: Literal["removal", "joint"] = "removal"
    """removal takes away one group of frequencies at a time. joint keeps many at once: random masks in stages, ever
    finer, each made from the best ones before."""
    candidates: int = 500
    """Masks in each stage of joint; every image is shown with each of them. There are 4 stages at 32 pixels, 6 at
    224."""
    patch: int | None = None
    """Side of the blocks of frequencies that are removed together, from 1 to half the side of the images. Default: the
    side // 28, so 1 at 32 pixels and 8 at 224."""
    symmetry: Literal["exact", "reference"] = "exact"
    """exact removes each frequency with its negative. reference does what the published code does: above a patch of 1
    it halves two unrelated blocks."""
    top: tuple[float, ...] | None = None
    """Shares of all frequencies that the masks keep. More can be kept, because groups stay whole. Default: 0.01, 0.05,
    0.1 and 0.2."""
    screen: float | None = None
    """Evaluate only this share of the groups, for each class those with the most energy. At 0.5 the top 1 to 5 % are
    found in half the time; 2 % of the others are evaluated to estimate what is missed. Default: all groups."""
    seed: int = 0
    """Of the halves that images are split into, of the groups that are evaluated to check a screen, and of joint's
    masks."""
    out: str = "results/frequency/dfm"
    """Folder for losses.npz, maps.npz, results.json, summary.csv, the figures and config.yaml. An interrupted run
    resumes from there; on a finished one, figures and other shares are made without the network."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top is not None:
            check_shares(self.top)
        if self.patch is not None and self.patch < 1:
            raise InputError(f"patch is {self.patch}; it must be from 1 to half the side of the images")
        if self.screen is not None and not 0 < self.screen < 1:
            raise InputError(f"screen is {self.screen:g}; it must be between 0 and 1")
        if self.screen is not None and self.symmetry == "reference":
            raise InputError("a screen needs groups that do not overlap; leave out --screen or --symmetry reference")
        check_ranges("", self, seed=(0, math.inf), candidates=(10, math.inf))  # the ten best of a stage go on
        if self.method == "joint":
            given = [name for name in ("patch", "top", "screen") if getattr(self, name) is not None]
            given += ["symmetry reference"] * (self.symmetry == "reference")
            if given:
                raise InputError(
                    f"method joint draws whole masks; leave out {', '.join(f'--{name}' for name in given)}"
                )
        elif self.candidates != DfmConfig.candidates:
            raise InputError("candidates are masks of method joint; leave out --candidates, or add --method joint")

    @property
    def shares(self) -> tuple[float, ...]:
        """The shares of removal's masks."""
        return (0.01, 0.05, 0.1, 0.2) if self.top is None else self.top


@dataclass(frozen=True)
class FilteredTestConfig(FilteredConfig):
    """Test whether a network knows classes by their dominant frequencies alone, and takes other classes for them."""

    masks: str = field(kw_only=True)
    """The folder of a dfm run, of this or another network of the same input size; or a pickle of the published code:
    one mask per class, in the order of the class names."""
    top: tuple[float, ...] | None = None
    """Shares to test, of those that the masks were made for. Default: all."""
    controls: int = 5
    """Random masks of the same radii for each class and share, to compare with."""
    seed: int = 0
    """Of the random masks."""
    out: str = "results/frequency/test"
    """Folder for the confusion matrices, predictions.npz, results.json, summary.csv, the figures and config.yaml. An
    interrupted run resumes from there."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top is not None:
            check_shares(self.top)
        if self.controls < 0 or self.seed < 0:
            raise InputError(f"controls are {self.controls} and the seed is {self.seed}; both must be at least 0")


@dataclass(frozen=True)
class BandsConfig(FilteredConfig):
    """Measure the accuracy of each class with one of four bands of frequencies removed, or with it alone."""

    out: str = "results/frequency/bands"
    """Folder for predictions.npz, results.json, summary.csv, the figure and config.yaml. An interrupted run resumes
    from there."""


@dataclass(frozen=True)
class CompareConfig:
    """Compare runs of dfm: how much their masks share, how their maps are ranked, and what tests say of them."""

    runs: tuple[str, ...] = field(kw_only=True)
    """Folders of dfm runs; or folders with one in dfm/, and its test in test/. The first of two is what the second is
    compared with."""
    out: str = "results/frequency/compare"
    """Folder for pairs.csv, results.json, summary.csv, the figure and config.yaml."""

    def __post_init__(self) -> None:
        if not self.runs or len(set(self.runs)) < len(self.runs):
            raise InputError(f"runs are {list(self.runs)}; give at least one folder, each once: --runs A B")


def check_shares(shares: tuple[float, ...]) -> None:
    """Raise `InputError` unless there are shares, each above 0 and at most 1, each once."""
    if not shares or len(set(shares)) < len(shares) or not all(0 < share <= 1 for share in shares):
        raise InputError(f"top is {list(shares)}; give shares above 0 and at most 1, each once: --top [0.01,0.05]")
