"""From the name of a published set and a condition to the function that makes its images."""

from typing import Protocol

import numpy as np
from jaxtyping import UInt8

from sparseshape_jax.errors import InputError
from sparseshape_jax.observers.experiments import PARAMETRIC, PUBLISHED_SETS, normalize_condition
from sparseshape_jax.stimuli.distortions import (
    Gray,
    Rgb,
    contrast,
    false_color,
    gray,
    high_pass,
    low_pass,
    phase_scrambling,
    power_equalization,
    rotation,
    to_bytes,
    uniform_noise,
)
from sparseshape_jax.stimuli.eidolon import eidolon
from sparseshape_jax.stimuli.outlines import edge, silhouette

GENERATED_SETS: tuple[str, ...] = (*PARAMETRIC, "edge", "silhouette")
"""The published sets that `distort` makes; sketches, stylized and cue-conflict images need more than a photograph."""


class Distortion(Protocol):
    """A distortion of given strength, for images in bytes."""

    def __call__(
        self, image: UInt8[np.ndarray, "height width 3"], rng: np.random.Generator, name: str = "the image"
    ) -> UInt8[np.ndarray, "rows columns 3"]:
        """Return a distorted copy of an RGB image, rounded to bytes.

        The channels are equal but in the sets `colour` (condition `cr`) and `false-colour`. The size is that of the
        image, with its sides exchanged by rotations of 90° and 270°. Deterministic for a fresh `rng` of the same seed.
        Gray and RGBA images must be converted first.

        Raises:
            InputError: the image is not RGB in bytes; it does not have the size of the amplitude spectrum
                (power equalization); or its border is not white (edge, silhouette). The message begins with `name`.
        """


def distort(
    dataset: str, condition: str = "0", amplitude: Gray | None = None, *, hermitian: bool = False
) -> Distortion:
    """Return the function that makes images of a published set in one condition.

    Args:
        dataset: One of `GENERATED_SETS`.
        condition: One of the set's conditions; 0.1 and 0.10 are the same.
        amplitude: For the set `power-equalisation`, condition `pow`, which needs it: the mean amplitude spectrum of the
            images, from `distortions.mean_amplitude`.
        hermitian: For the set `phase-scrambling`: keep every amplitude. The published images do not.

    Raises:
        InputError: the set cannot be made, has no such condition, or needs `amplitude`.
    """
    if dataset not in GENERATED_SETS:
        raise InputError(f"the set {dataset!r} cannot be generated; those that can are {', '.join(GENERATED_SETS)}")
    conditions = PUBLISHED_SETS[dataset].conditions
    strength = normalize_condition(condition)
    if strength is None or strength not in map(normalize_condition, conditions):
        raise InputError(f"the set {dataset!r} has no condition {condition!r}; it has {', '.join(conditions)}")
    if (dataset, strength) == ("power-equalisation", "pow") and amplitude is None:
        raise InputError("power-equalisation needs the mean amplitude spectrum of the images; give `amplitude`")

    def distortion(
        image: UInt8[np.ndarray, "height width 3"], rng: np.random.Generator, name: str = "the image"
    ) -> UInt8[np.ndarray, "rows columns 3"]:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise InputError(
                f"{name} is an array of {image.dtype} with shape {image.shape};"
                " it must be RGB in bytes, (height, width, 3), so convert it first"
            )
        result = to_bytes(_apply(dataset, strength, image / 255, rng, name, amplitude, hermitian))
        return result if result.ndim == 3 else np.repeat(result[..., None], 3, axis=2)

    return distortion


def _apply(
    dataset: str,
    strength: str,
    image: Rgb,
    rng: np.random.Generator,
    name: str,
    amplitude: Gray | None,
    hermitian: bool,
) -> Rgb | Gray:
    match dataset:
        case "colour":
            return image if strength == "cr" else gray(image)
        case "contrast":
            return contrast(image, int(strength.removeprefix("c")) / 100)
        case "high-pass":
            return high_pass(image, float(strength))
        case "low-pass":
            return low_pass(image, float(strength))
        case "phase-scrambling":
            return phase_scrambling(image, float(strength), rng, hermitian=hermitian)
        case "power-equalisation":
            return gray(image) if amplitude is None or strength == "0" else power_equalization(image, amplitude, name)
        case "false-colour":
            return image if strength == "true" else false_color(image)
        case "rotation":
            return rotation(image, float(strength))
        case "uniform-noise":
            return uniform_noise(image, float(strength), rng)
        case "edge":
            return edge(image, name)
        case "silhouette":
            return silhouette(image, name)
        case _:  # the eidolon sets
            reach, coherence, grain = map(int, strength.split("-"))
            return eidolon(image, reach, coherence / 10, rng, grain=grain)
