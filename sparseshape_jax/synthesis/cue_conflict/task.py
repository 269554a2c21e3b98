"""One stimulus to make, from coarse to fine."""

import hashlib

import numpy as np
from jaxtyping import Float

from sparseshape_jax.stylize.recolor import recolor
from sparseshape_jax.synthesis import pixels
from sparseshape_jax.synthesis.cue_conflict.config import CueConflictConfig, Start
from sparseshape_jax.synthesis.cue_conflict.plan import Pair
from sparseshape_jax.synthesis.targets import resize_to, scales
from sparseshape_jax.top_k.options import Keep

RGB = Float[np.ndarray, "side side 3"]


class CueConflictTask:
    """A `Task` of `Batch`.

    Args:
        pair: the two pictures, at the size at which the stimulus is optimized.
        config: the settings.
    """

    keep: Keep = "all"

    def __init__(self, pair: Pair, config: CueConflictConfig) -> None:
        self.pair, self.seed = pair, config.seed
        self.name, self.stem, self.steps = pair.stem, pair.stem, config.steps
        self.begin: Start = config.start
        self.sides = sides(config)

    @property
    def octaves(self) -> int:
        """How many sizes there are."""
        return len(self.sides)

    def sources(self, octave: int) -> dict[str, RGB]:
        """The photograph and the texture."""
        side = self.sides[octave]
        return {"content": at_side(self.pair.content.pixels, side), "style": at_side(self.pair.style.pixels, side)}

    def start(self, octave: int) -> RGB:
        """The recolored photograph, the photograph, or almost flat gray."""
        if self.begin == "flat":
            side = self.sides[octave]
            name = hashlib.sha256(f"{self.seed} {self.stem}".encode()).digest()
            return pixels.starting_image((side, side), "flat", int.from_bytes(name[:4], "big"))
        sources = self.sources(octave)
        if self.begin == "content":
            return sources["content"]
        return np.clip(recolor(sources["content"], sources["style"]), 0, 1)


def sides(config: CueConflictConfig) -> tuple[int, ...]:
    """The sizes that stimuli go through."""
    last = config.work_size or config.size
    return (last,) if config.scales_from is None else scales(config.scales_from, last)


def at_side(image: np.ndarray, side: int) -> RGB:
    """8-bit pixels as an image in [0, 1] with this side."""
    values = image.astype(np.float32) / 255
    return values if len(image) == side else resize_to(values, (side, side))
