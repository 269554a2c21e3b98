"""A batch on its way, saved so that a killed run goes on where it was."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from sparseshape_jax import output
from sparseshape_jax.synthesis.minimise import Minimum, Run


@dataclass
class State:
    """Where a batch of N images stands: the octaves behind it, and the minimisation under way in this one."""

    fingerprint: str
    """Of the batch; a state with another one is of no use."""
    counts: Int[np.ndarray, "2 n"]
    """Evaluations and iterations in the octaves before."""
    octave: int = 0
    seconds: float = 0.0
    losses: list[Float[np.ndarray, "n evaluations"]] = field(default_factory=list)
    """For each octave before, in the reference's units."""
    images: Float[np.ndarray, "n h w 3"] | None = None
    """Results of the octave before, in [0, 1]."""
    scale: Float[np.ndarray, " n"] | None = None
    """The losses at this octave's start."""
    run: list[np.ndarray] | None = None
    """The leaves of this octave's `Run`."""

    @property
    def evaluations(self) -> int:
        """How often the batch has been evaluated."""
        return sum(part.shape[1] for part in self.losses) + (0 if self.run is None else self.run[-1].shape[1])

    def pause(self, run: Run) -> None:
        """Take in the minimisation as it stands."""
        self.run = [np.array(leaf) for leaf in jax.tree.leaves(run)]

    def resumed(self, start: jax.Array, optimiser: Any) -> jax.Array | Run:
        """The minimisation to go on with, or the starting point where there is none."""
        if self.run is None:
            return start
        shape = jax.eval_shape(lambda start: Run(start, jax.vmap(optimiser.init)(start), start), start)
        return Run(*jax.tree.unflatten(jax.tree.structure(shape), self.run))

    def advance(self, result: Minimum, images: Float[np.ndarray, "n h w 3"]) -> None:
        """Close this octave with its result."""
        assert self.scale is not None
        self.losses.append(result.losses * self.scale[:, None])
        self.counts = self.counts + np.stack([result.evaluations, result.iterations])
        self.images, self.scale, self.run = images, None, None
        self.octave += 1

    def write(self, path: Path) -> None:
        """Save as arrays, all or nothing."""
        facts = {"fingerprint": self.fingerprint, "octave": self.octave, "seconds": self.seconds}
        arrays: dict[str, Any] = {"facts": json.dumps(facts), "counts": self.counts}
        arrays |= {f"losses_{index:04}": part for index, part in enumerate(self.losses)}
        arrays |= {f"run_{index:04}": leaf for index, leaf in enumerate(self.run or ())}
        arrays |= {name: value for name in ("images", "scale") if (value := getattr(self, name)) is not None}
        with output.replacing(path) as temporary:
            np.savez(temporary, **arrays)

    @classmethod
    def read(cls, path: Path, fingerprint: str, size: int) -> "State":
        """The state in a file; the beginning, for a batch of `size`, if there is none with this fingerprint."""
        fresh = cls(fingerprint, np.zeros((2, size), int))
        if not path.is_file():
            return fresh
        with np.load(path, allow_pickle=False) as file:
            facts = json.loads(str(file["facts"]))
            if facts["fingerprint"] != fingerprint:
                return fresh
            parts = {
                name: [file[key] for key in sorted(file.files) if key.startswith(name)] for name in ("losses_", "run_")
            }
            return cls(
                fingerprint,
                file["counts"],
                octave=facts["octave"],
                seconds=facts["seconds"],
                losses=parts["losses_"],
                run=parts["run_"] or None,
                images=file["images"] if "images" in file.files else None,
                scale=file["scale"] if "scale" in file.files else None,
            )
