"""The state of a batch in progress, saved so that an interrupted run resumes where it was."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from sparseshape_jax import output
from sparseshape_jax.synthesis.optimize.minimize import Minimizer, Minimum, Run


@dataclass
class State:
    """How far a batch of N images is: the octaves already done, and the minimization in progress in this one.

    A file of it belongs to one batch, whose fingerprint is in the file's name.
    """

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
        """Copy the minimization as it is now."""
        self.run = [np.array(leaf) for leaf in jax.tree.leaves(run)]

    def resume(self, start: jax.Array, minimizer: Minimizer) -> jax.Array | Run:
        """The minimization to resume, or the starting point if this octave has none yet."""
        if self.run is None:
            return start
        return jax.tree.unflatten(jax.tree.structure(jax.eval_shape(minimizer.begin, start)), self.run)

    def advance(self, result: Minimum, images: Float[np.ndarray, "n h w 3"]) -> None:
        """Close this octave with its result."""
        assert self.scale is not None
        self.losses.append(result.losses * self.scale[:, None])
        self.counts = self.counts + np.stack([result.evaluations, result.iterations])
        self.images, self.scale, self.run = images, None, None
        self.octave += 1

    def write(self, path: Path) -> None:
        """Save as arrays, all or nothing."""
        arrays: dict[str, Any] = {"octave": self.octave, "seconds": self.seconds, "counts": self.counts}
        arrays |= {f"losses_{index:04}": part for index, part in enumerate(self.losses)}
        arrays |= {f"run_{index:04}": leaf for index, leaf in enumerate(self.run or ())}
        arrays |= {name: value for name in ("images", "scale") if (value := getattr(self, name)) is not None}
        with output.replacing(path) as temporary:
            np.savez(temporary, **arrays)

    @classmethod
    def read(cls, path: Path, size: int) -> "State":
        """The state in a file; if there is no file, the state before the first octave of a batch of `size`."""
        if not path.is_file():
            return cls(np.zeros((2, size), int))
        with np.load(path, allow_pickle=False) as file:
            parts = {
                name: [file[key] for key in sorted(file.files) if key.startswith(name)] for name in ("losses_", "run_")
            }
            return cls(
                file["counts"],
                octave=int(file["octave"]),
                seconds=float(file["seconds"]),
                losses=parts["losses_"],
                run=parts["run_"] or None,
                images=file["images"] if "images" in file.files else None,
                scale=file["scale"] if "scale" in file.files else None,
            )


def delete(path: Path) -> None:
    """Delete a saved state, and what a process that was killed while writing it left."""
    for file in (path, *path.parent.glob(f".{path.stem}.*.partial{path.suffix}")):
        file.unlink(missing_ok=True)
