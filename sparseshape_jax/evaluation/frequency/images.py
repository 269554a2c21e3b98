"""The images that frequencies are measured on: chosen by class, decoded once, kept in memory."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from sparseshape_jax.data.images import LabeledImages
from sparseshape_jax.data.sample import Sample
from sparseshape_jax.errors import InputError
from sparseshape_jax.evaluation.decoded import Decoded
from sparseshape_jax.evaluation.frequency.config import ImagesConfig
from sparseshape_jax.figures import frequency as figures
from sparseshape_jax.frequency import keep
from sparseshape_jax.frequency.spectrum import spectrum
from sparseshape_jax.preprocessing import Preprocessing


class Squashed(Sample):
    """Images resized to a square, whatever their proportions."""

    side = 0

    def image(self, index: int) -> Image.Image:
        return super().image(index).resize((self.side, self.side), Image.Resampling.BILINEAR)

    def signature(self) -> str:
        return f"{super().signature()} squashed to {self.side}"


@dataclass(frozen=True)
class ClassImages:
    """Images of some classes, in memory: 150 kB each at 224×224."""

    pixels: UInt8[np.ndarray, "n s s 3"]
    labels: Int[np.ndarray, " n"]
    """Positions among the logits."""
    own: Int[np.ndarray, " n"]
    """Positions among `classes`."""
    names: tuple[str, ...]
    prints: tuple[str, ...]
    """The SHA-256 of each image's pixels, shortened."""
    classes: tuple[str, ...]
    """Names of the classes that have images."""
    positions: Int[np.ndarray, " c"]
    """What their logits are."""
    absent: tuple[str, ...]
    """Names of the classes without images."""
    skipped: tuple[str, ...]
    """Images that could not be decoded."""
    preprocessing: Preprocessing
    source: str

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def size(self) -> int:
        """The side of the images."""
        return self.pixels.shape[1]

    @property
    def counts(self) -> Int[np.ndarray, " c"]:
        """How many images each class has."""
        return np.bincount(self.own, minlength=len(self.classes))

    def inputs(self, start: int, stop: int) -> Float[np.ndarray, "n s s 3"]:
        """What a network is given for the images from `start` to before `stop`, float32."""
        pixels: Any = self.pixels[start:stop]
        return np.asarray(self.preprocessing.from_bytes(pixels), np.float32)

    def mean_by_class(
        self, measure: Callable[[Float[np.ndarray, "n s s 3"]], Float[np.ndarray, "n s s"]], batch_size: int
    ) -> Float[np.ndarray, "c s s"]:
        """The mean over the images of each class of what `measure` makes of inputs, in float64."""
        total = np.zeros((len(self.classes), self.size, self.size))
        for start in range(0, len(self), batch_size):
            stop = start + batch_size
            np.add.at(total, self.own[start:stop], np.asarray(measure(self.inputs(start, stop)), float))
        return total / self.counts[:, None, None]

    def shown(self, inputs: Float[Any, "*n s s 3"]) -> UInt8[np.ndarray, "*n s s 3"]:
        """Inputs as pixels again, clipped to what can be seen."""
        rgb = np.asarray(self.preprocessing.denormalize(inputs))
        return np.rint(255 * np.clip(rgb, 0, 1)).astype(np.uint8)

    def fingerprint(self) -> str:
        """The SHA-256 of names, classes and pixels."""
        facts = (*zip(self.names, self.own.tolist(), self.prints, strict=True), *self.classes)
        return hashlib.sha256(repr(facts).encode("utf-8", "surrogateescape")).hexdigest()


def choose(images: LabeledImages, config: ImagesConfig) -> list[int]:
    """The positions of the images that `config` asks for, class by class, sorted by name.

    Raises:
        InputError: a class that the images do not have.
    """
    labels = np.asarray(images.labels)
    wanted = list(images.classes) if config.classes is None else list(config.classes)
    there = [name for label, name in enumerate(images.classes) if (labels == label).any()]
    if strange := [name for name in wanted if config.classes is not None and name not in there]:
        shown = ", ".join(there[:20]) + (f", … ({len(there)} in all)" if len(there) > 20 else "")
        raise InputError(f"{images.name} has no images of {', '.join(strange)}; it has {shown}")
    found: list[int] = []
    for label, name in enumerate(images.classes):
        if name in wanted:
            own = sorted(np.flatnonzero(labels == label).tolist(), key=images.key)
            own = {"all": own, "even": own[::2], "odd": own[1::2]}[config.select]
            if name in there and not own:
                raise InputError(f"class {name} has one image in {images.name}, and none is {config.select}")
            found += own[: config.per_class]
    return found


def read_images(
    images: LabeledImages, config: ImagesConfig, preprocessing: Preprocessing, batch_size: int
) -> ClassImages:
    """Decode the images that `config` asks for.

    Raises:
        InputError: a class that there is not, or an image that cannot be decoded.
    """
    chosen = Sample(images, choose(images, config))
    if config.squash:
        chosen = Squashed(images, chosen.indices)
        chosen.side = preprocessing.crop
    decoded = Decoded(chosen, preprocessing, batch_size, skip_bad=config.skip_bad)
    pixels = decoded.pixels
    labels = np.asarray(chosen.labels)[decoded.shown]
    positions, own = np.unique(labels, return_inverse=True)
    names = chosen.classes
    asked = names if config.classes is None else config.classes
    return ClassImages(
        pixels=pixels,
        labels=labels.astype(np.int32),
        own=own,
        names=tuple(chosen.key(index) for index in decoded.shown),
        prints=tuple(hashlib.sha256(one.tobytes()).hexdigest()[:32] for one in pixels),
        classes=tuple(names[position] for position in positions),
        positions=positions,
        absent=tuple(name for name in names if name in asked and name not in {names[p] for p in positions}),
        skipped=tuple(decoded.skipped),
        preprocessing=preprocessing,
        source=str(Path(config.data)) if not config.data.startswith("tfds:") else config.data,
    )


def class_energy(images: ClassImages) -> Float[np.ndarray, "c s s"]:
    """The mean of |FFT|² over the images of each class, summed over the channels of the network's input, shifted."""

    def energy(inputs: Float[np.ndarray, "n s s 3"]) -> Float[np.ndarray, "n s s"]:
        found = np.asarray(spectrum(jnp.asarray(inputs)))
        return (found.real.astype(float) ** 2 + found.imag.astype(float) ** 2).sum(axis=-1)

    return images.mean_by_class(energy, batch_size=64)


def filtered_examples(images: ClassImages, masks: np.ndarray) -> tuple[list[np.ndarray], list[list[np.ndarray]]]:
    """The first image of each class that is drawn, and the same filtered with the class's masks."""
    whole, filtered = [], []
    for label in range(min(len(images.classes), figures.CLASSES)):
        first = int(np.flatnonzero(images.own == label)[0])
        inputs = images.inputs(first, first + 1)[0]
        whole.append(images.shown(inputs))
        filtered.append([images.shown(keep(inputs, mask)) for mask in masks[label]])
    return whole, filtered


def print_missing(images: ClassImages) -> None:
    """Say which classes have no images, and which images could not be decoded."""
    if images.absent:
        shown = ", ".join(images.absent[:10]) + (", …" if len(images.absent) > 10 else "")
        total = len(images.absent) + len(images.classes)
        print(f"{len(images.absent)} of the {total} classes have no image in {images.source}: {shown}")
    if images.skipped:
        print(f"{len(images.skipped)} images could not be decoded and were left out: {', '.join(images.skipped)}")


def shorten(names: Sequence[str], length: int = 16) -> list[str]:
    """Names of classes that fit into a table."""
    return [figures.short(name, length) for name in names]
