"""Settings of `synthesize.py stimuli` and `synthesize.py band-sets`. Imports no JAX, NumPy or PIL."""

import math
from dataclasses import dataclass, field
from typing import Literal

from sparseshape_jax.checks import check_outside, check_ranges
from sparseshape_jax.errors import InputError


@dataclass(frozen=True)
class StimuliConfig:
    """Make sets of stimuli from a folder of images."""

    images: str = field(kw_only=True)
    """Folder of images, with folders in it or without, or tfds:NAME/split."""
    sets: tuple[str, ...] = ("shuffled",)
    """Sets to make: shuffled (the color channels of small blocks are permuted; its conditions are the sides of the
    blocks in pixels), scrambled (blocks in another order: side and variant, such as 56_0), patched (square patches are
    covered: 30_all, 30_07 or 30_singles), smoothed (without texture: the number of passes), difference (what smoothing
    takes away: absolute or inverse); model-vs-human's colour, contrast, high-pass, low-pass, phase-scrambling,
    power-equalisation, false-colour, rotation, eidolonI, eidolonII, eidolonIII and uniform-noise, together parametric;
    edge and silhouette, which need photographs of one object on white. model-vs-human's sets are made of images of the
    16 categories, in the published layout."""
    conditions: tuple[str, ...] | None = None
    """Conditions to make, if only one set is. Default: the set's own."""
    design: Literal["split", "paired"] = "split"
    """How model-vs-human's sets are made: each image in one condition, the categories balanced (split, as published),
    or every image in every condition (paired, for steadier curves). Other sets are always paired."""
    per_class: int | None = None
    """Take so many images of each class, or of each of the 16 categories. Default: all."""
    size: int | None = None
    """Side in pixels to which images are resized and cropped first. Default: what the set wants."""
    seed: int = 0
    """Of what is random in the sets. A stimulus depends on the seed and on its image, and on no other image."""
    dry_run: bool = False
    """Say what would be made, and stop."""
    out: str = "results/stimuli"
    """Folder for the sets, manifest.csv with the SHA-256 of each file, a preview in figures/, results.json and
    config.yaml. Repeat the same command to make what is missing."""

    def __post_init__(self) -> None:
        check_ranges("", self, seed=(0, math.inf), per_class=(1, math.inf))
        if self.size is not None and not 8 <= self.size <= 4096:
            raise InputError(f"size is {self.size}; it must be from 8 to 4096 pixels")
        if not self.sets or len(set(self.sets)) < len(self.sets):
            raise InputError(f"sets are {list(self.sets)}; give at least one, each once: --sets shuffled")
        if self.conditions is not None and (len(self.sets) > 1 or not self.conditions):
            raise InputError("conditions belong to one set; give one with --sets, and at least one condition")
        if self.conditions is not None and len(set(self.conditions)) < len(self.conditions):
            raise InputError(f"conditions are {list(self.conditions)}; give each once")
        check_outside(self.out, self.images)


@dataclass(frozen=True)
class BandSetsConfig:
    """Make the sets Syn_1 to Syn_4, whose images show a class by stripes of one frequency, from no images at all.

    Raises:
        InputError: a number out of range, or a band that there is none of.
    """

    bands: tuple[int, ...] = (1, 2, 3, 4)
    """Which sets to make: band b of four makes syn_b, in which stripes of a frequency in this band tell two of the four
    classes, vertical ones class c0 and horizontal ones c1."""
    size: int = 32
    """Side of the images in pixels, a multiple of 16."""
    train: int = 500
    """Training images per class."""
    val: int = 100
    """Validation images per class."""
    test: int = 100
    """Test images per class."""
    cue: float = 1.25
    """Amplitude of a class's own orientations, relative to the others; this cue is in all four bands, in every set."""
    share: float = 0.5
    """Share of the energy of its band that the stripes have."""
    seed: int = 0
    """Of all images. Each depends on the seed and its own number only."""
    arrays: tuple[str, ...] = ()
    """Write the images of these .npy files of Wang et al. (2023) as class folders instead: train_data*.npy,
    test_data*.npy, with train_label*.npy, test_label*.npy next to them. The other settings then have no effect."""
    out: str = "results/band_sets"
    """Folder for syn_1 to syn_4 (each with train, val and test, and in those the class folders c0 to c3, images.npy and
    labels.npy), sets.yaml, figures, results.json and config.yaml. Repeat the same command to make what is missing."""

    def __post_init__(self) -> None:
        if not self.bands or len(set(self.bands)) < len(self.bands) or not set(self.bands) <= {1, 2, 3, 4}:
            raise InputError(f"bands are {list(self.bands)}; give some of 1, 2, 3 and 4, each once")
        if not 16 <= self.size <= 1024 or self.size % 16:
            raise InputError(f"size is {self.size}; it must be a multiple of 16 from 16 to 1024 pixels")
        for name in ("train", "val", "test"):
            if not 1 <= getattr(self, name) <= 99_999:
                raise InputError(f"{name} is {getattr(self, name)}; it must be from 1 to 99999 images per class")
        if not 0 < self.cue < math.inf:
            raise InputError(f"cue is {self.cue}; it must be above 0")
        if not 0 < self.share < 1:
            raise InputError(f"share is {self.share}; it must be above 0 and below 1")
        check_ranges("", self, seed=(0, math.inf))
