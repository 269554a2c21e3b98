"""One image to make, and which of them one program can make together."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float

from sparseshape_jax.synthesis import pixels
from sparseshape_jax.synthesis.config import Kind, Start
from sparseshape_jax.synthesis.targets import shrink
from sparseshape_jax.top_k.options import Keep
from sparseshape_jax.top_k.spec import TopK


class Task(Protocol):
    """One image to make, from coarse to fine. An octave is one of the sizes that it goes through, from 0."""

    @property
    def name(self) -> str:
        """What the progress bar calls it."""

    @property
    def stem(self) -> str:
        """The result's file name, without its ending."""

    @property
    def keep(self) -> Keep:
        """What Top-K keeps, if there is one."""

    @property
    def steps(self) -> int:
        """Evaluations, at each octave."""

    @property
    def octaves(self) -> int:
        """How many sizes there are."""

    def sources(self, octave: int) -> dict[str, Float[np.ndarray, "h w 3"]]:
        """The images that the objective's terms name, in [0, 1], all of one size."""

    def start(self, octave: int) -> Float[np.ndarray, "h w 3"]:
        """The image to start from, in [0, 1], if there is none from the octave before."""


@dataclass(frozen=True, eq=False)
class SynthesisTask:
    """One image to make."""

    name: str
    target: Float[np.ndarray, "h w 3"]
    """In [0, 1]."""
    kind: Kind
    top_k: TopK
    seed: int
    steps: int
    """Evaluations, at each octave."""
    octaves: int = 1
    """Sizes to go through, each twice the one before."""
    begin: Float[np.ndarray, "h w 3"] | Start = "flat"
    """An image of the target's size, in [0, 1], or a kind of noise, drawn from `seed`."""

    @property
    def keep(self) -> Keep:
        """What Top-K keeps."""
        return self.top_k.keep

    def sources(self, octave: int) -> dict[str, Float[np.ndarray, "h w 3"]]:
        """The target."""
        return {"image": shrink(self.target, self._factor(octave))}

    def start(self, octave: int) -> Float[np.ndarray, "h w 3"]:
        """The image or noise to start from."""
        factor = self._factor(octave)
        if isinstance(self.begin, np.ndarray):
            return shrink(self.begin, factor)
        height, width, _ = self.target.shape
        return pixels.starting_image((height // factor, width // factor), self.begin, self.seed)

    def _factor(self, octave: int) -> int:
        return 2 ** (self.octaves - 1 - octave)

    @property
    def stem(self) -> str:
        """The result's file name, without its ending."""
        return f"{self.name}_{self.kind}_{self.top_k.keep}-{self.top_k.fraction:g}_seed{self.seed}"

    @property
    def file(self) -> str:
        """The result's file name."""
        return f"{self.stem}.png"

    @property
    def evaluations(self) -> int:
        """At most, over all octaves."""
        return self.steps * self.octaves

    @property
    def entries(self) -> dict[str, Any]:
        """The task's share of its result's row."""
        return {
            "image": self.name,
            "objective": self.kind,
            "fraction": self.top_k.fraction,
            "keep": self.top_k.keep,
            "seed": self.seed,
            "file": self.file,
        }

    @property
    def provenance(self) -> dict[str, Any]:
        """The task's share of what decides its result."""
        return {
            "file": self.file,
            "target": hashlib.sha256(self.target.tobytes()).hexdigest(),
            "shape": self.target.shape,
            "top-k": self.top_k.to_config(),
            "seed": self.seed,
            "length": (self.steps, self.octaves),
        }


def batches(tasks: Sequence[SynthesisTask], size: int) -> Iterator[list[SynthesisTask]]:
    """Group tasks that one program can serve (what they keep may differ), in their order."""
    groups: dict[Any, list[SynthesisTask]] = {}
    for task in tasks:
        spec, length = task.top_k, (task.steps, task.octaves)
        key = (task.target.shape, task.kind, spec.fraction, spec.scope, spec.method, length)
        groups.setdefault(key, []).append(task)
    for group in groups.values():
        for first in range(0, len(group), size):
            yield group[first : first + size]


def shared_top_k(tasks: Sequence[SynthesisTask]) -> TopK:
    """The Top-K of a batch without its `keep`, which the images have of their own."""
    if all(task.top_k.keep == "all" for task in tasks):
        return TopK(1.0)  # spares the program masks that nobody needs
    first = tasks[0].top_k
    return TopK(first.fraction, scope=first.scope, method=first.method)
