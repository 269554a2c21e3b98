"""Settings of `evaluate.py fid`. Imports no JAX, NumPy or PIL."""

import math
from dataclasses import dataclass, field
from typing import Literal

from sparseshape_jax.checks import check_ranges
from sparseshape_jax.errors import InputError


@dataclass(frozen=True)
class FidConfig:
    """Measure how far sets of images are from real ones: FID and KID, with everything that decides them."""

    fake: tuple[str, ...] = field(kw_only=True)
    """One or more sets to measure: folders, or tfds:NAME/split."""
    real: str = field(kw_only=True)
    """What they are compared with: a folder, tfds:NAME/split, or a .npz with mu and sigma (FID only)."""
    protocol: Literal["clean", "tf", "pytorch-fid", "paper"] = "clean"
    """How images are resized and normalized for Inception. clean: clean-fid's; tf: the original TensorFlow code's and
    torch-fidelity's; pytorch-fid: pytorch-fid's; paper: that of Li et al. (2023), which halves the contrast, so that
    its numbers compare with theirs only."""
    features: Literal["inception", "vgg16"] = "inception"
    """inception: FID and KID. vgg16: a substitute that needs no download, reported as vgg16-fid@128 and vgg16-kid@128
    (the side of the images), which compare with no FID."""
    inception: str | None = None
    """File of FID's Inception weights (weights-inception-2015-12-05-6726825d.pth). Default: downloaded once."""
    size: int | None = None
    """Squash all images to size×size pixels first. Default: to the size of the generator, if one side is a generator;
    else images stay as they are."""
    kid_subset: int | None = None
    """Images in each of the KID's 100 subsets. Default: the protocol's, 1000 (paper: 100), or those of the smaller set
    if it has fewer."""
    count: int = 3000
    """Images that a generator makes. Of folders, all are used."""
    seed: int = 0
    """Of a generator's images."""
    batch_size: int = 32
    """Images per forward pass of the feature network."""
    skip_bad: bool = False
    """Leave out images that cannot be decoded, and list them in results.json, instead of stopping."""
    out: str = "results/fid"
    """Folder for results.json, summary.csv, fid.json, fid.csv, the figure and config.yaml."""

    def __post_init__(self) -> None:
        if not self.fake or len(set(self.fake)) < len(self.fake):
            raise InputError(f"fake is {list(self.fake)}; give at least one set, each once: --fake samples")
        if self.features == "vgg16" and self.inception is not None:
            raise InputError("--inception is a file for --features inception; leave one of the two out")
        if self.features == "vgg16" and self.protocol not in ("clean", "paper"):
            raise InputError(
                f"protocol {self.protocol} says how Inception's input is resized, and vgg16 has its own way;"
                " choose clean or paper, or --features inception"
            )
        for name, least in (("size", 1), ("kid_subset", 2), ("count", 2), ("batch_size", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"{name} is {value}; it must be at least {least}")
        check_ranges("", self, seed=(0, math.inf))
        if self.kid_subset is not None and self.protocol == "pytorch-fid":
            raise InputError("protocol pytorch-fid has no KID; choose clean or tf, or leave kid_subset out")
