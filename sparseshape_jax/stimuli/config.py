"""Settings of `synthesize.py stimuli`. Imports no JAX, NumPy or PIL."""

from dataclasses import dataclass, field
from pathlib import Path

from sparseshape_jax.errors import InputError


@dataclass(frozen=True)
class StimuliConfig:
    """Make sets of stimuli from a folder of images."""

    images: str = field(kw_only=True)
    """Folder of images, with folders in it or without, or tfds:NAME/split."""
    sets: tuple[str, ...] = ("shuffled",)
    """Sets to make: shuffled (the color channels of small blocks are permuted; its conditions are the sides of the
    blocks in pixels)."""
    conditions: tuple[str, ...] | None = None
    """Conditions to make, if only one set is. Default: the set's own."""
    size: int | None = None
    """Side in pixels to which images are resized and cropped first. Default: what the set wants."""
    seed: int = 0
    """Of what is random in the sets. A stimulus depends on the seed and on its image, and on no other image."""
    out: str = "results/stimuli"
    """Folder for <set>/<condition>/…, manifest.csv with the SHA-256 of each file, results.json and config.yaml. Give
    the same command again to make what is missing."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InputError(f"seed is {self.seed}; it must be at least 0")
        if self.size is not None and not 8 <= self.size <= 4096:
            raise InputError(f"size is {self.size}; it must be from 8 to 4096 pixels")
        if not self.sets or len(set(self.sets)) < len(self.sets):
            raise InputError(f"sets are {list(self.sets)}; give at least one, each once: --sets shuffled")
        if self.conditions is not None and (len(self.sets) > 1 or not self.conditions):
            raise InputError("conditions belong to one set; give one with --sets, and at least one condition")
        if self.conditions is not None and len(set(self.conditions)) < len(self.conditions):
            raise InputError(f"conditions are {list(self.conditions)}; give each once")
        if Path(self.out).resolve().is_relative_to(Path(self.images).resolve()):
            raise InputError(f"the output folder {self.out} is inside {self.images}; give one outside it")
