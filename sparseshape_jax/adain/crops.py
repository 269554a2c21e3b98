"""The crops that a decoder is trained on: drawn once and kept, or new ones for every step.

What a step gets depends on the seed and the step alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from tqdm import tqdm

from sparseshape_jax.adain.config import CropsConfig
from sparseshape_jax.adain.images import Joined, open_source
from sparseshape_jax.data.train_batches import TrainBatches

Pixels = UInt8[np.ndarray, "n size size 3"]

GRAY = np.full((3, 3), 1 / 3)
TURN = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
"""The rotation about the gray axis, as an antisymmetric matrix."""


class Crops:
    """Endless batches of crops of some sources.

    Args:
        sources: as `images.open_source` takes them.
        settings: how crops are made.
        count: how many are drawn in all; 0 draws new ones for every step.
        batch_size: crops in a batch.
        seed: of the crops and their order.
        process: this process's number and how many there are; each gets its part of every batch.

    Raises:
        InputError: missing or empty sources; while drawing, a picture that cannot be decoded.
    """

    def __init__(
        self,
        sources: tuple[str, ...],
        settings: CropsConfig,
        count: int,
        batch_size: int,
        seed: int,
        process: tuple[int, int] = (0, 1),
    ) -> None:
        self.count, self.settings, self.seed = count, settings, seed
        self.batch_size, self.process = batch_size, process
        self.images = Joined([open_source(source) for source in sources], batch_size)
        self._stream = TrainBatches(
            self.images,
            settings.augment,
            image_size=settings.size,
            batch_size=batch_size,
            seed=seed,
            threads=settings.threads,
            process=process if count == 0 else (0, 1),
        )

    def draw(self, title: str) -> Pixels:
        """The `count` crops that are drawn once: every process has all of them."""
        drawn: list[Pixels] = []
        with tqdm(total=self.count, unit="crop", desc=title, leave=False) as bar:
            for pixels in self.new(0):
                drawn.append(pixels[: self.count - bar.n])
                bar.update(len(drawn[-1]))
                if bar.n == self.count:
                    break
        return np.concatenate(drawn)

    def new(self, step: int) -> Iterator[Pixels]:
        """This process's part of batches of new crops, from that of `step` on."""
        for number, (pixels, _) in enumerate(self._stream.batches(step), start=step):
            rng = np.random.default_rng([self.seed, number, self.process[0]])
            yield vary_colors(pixels, self.settings.color_variation, rng)

    def chosen(self, step: int) -> np.ndarray:
        """Which of the crops that were drawn once are this process's part of a step's batch."""
        indices = np.random.default_rng([self.seed, step]).integers(self.count, size=self.batch_size)
        part, parts = self.process
        size = self.batch_size // parts
        return indices[part * size : (part + 1) * size]


def vary_colors(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Turn each picture's hues, change its saturation, and tint it, at random.

    Args:
        pixels: (N, H, W, 3).
        strength: from 0, which changes nothing, to 1: any hue, saturation times 0.5 to 1.5, channels times
            0.67 to 1.5, cut off at white.
        rng: the source of randomness.
    """
    if strength == 0:
        return pixels
    matrices = np.stack([_color_matrix(strength, rng) for _ in pixels])
    changed = np.einsum("nhwc,nkc->nhwk", pixels, matrices, dtype=np.float32, casting="same_kind")
    return np.clip(np.round(changed), 0, 255).astype(np.uint8)


def _color_matrix(strength: float, rng: np.random.Generator) -> Float[np.ndarray, "3 3"]:
    angle, saturation = strength * rng.uniform(-np.pi, np.pi), 1 + strength * rng.uniform(-0.5, 0.5)
    turned = GRAY + np.cos(angle) * (np.eye(3) - GRAY) + np.sin(angle) * TURN
    tint = np.exp(0.4 * strength * rng.uniform(-1, 1, 3))
    return (tint[:, None] * (saturation * turned + (1 - saturation) * GRAY)).astype(np.float32)


@dataclass(frozen=True)
class Kept:
    """Crops that were drawn once, with what an encoder makes of them where that is kept."""

    pixels: Pixels
    encoded: dict[str, np.ndarray] | None
    """Arrays (N, …) by name."""

    def batch(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """The crops of a step: what is kept of them, and their pixels."""
        return {"pixels": self.pixels[indices]} | {name: x[indices] for name, x in (self.encoded or {}).items()}
