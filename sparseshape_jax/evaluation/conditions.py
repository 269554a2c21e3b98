"""The conditions of `evaluate.py local-global`: how each image is changed, and what networks said of it."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from sparseshape_jax import output
from sparseshape_jax.errors import InputError
from sparseshape_jax.evaluation.local_global_config import LocalGlobalConfig
from sparseshape_jax.stimuli import patched, scrambled
from sparseshape_jax.stimuli.smoothed import difference, smooth

INTACT = "intact"
MEASURES = ("logit", "probability", "predicted", "predicted_logit", "predicted_probability")
"""What is known of an image in a condition: logit and probability of the true class, and the predicted class."""
COLUMNS = ("observer", "picture", "class", "set", "size", "variant", *MEASURES, "correct")


@dataclass(frozen=True)
class Condition:
    """One way to change an image."""

    set: str
    size: int
    """Side of the blocks or patches, or passes of smoothing; the side of an intact image."""
    variant: str = ""
    """Number of the permutation; `all` or the number of the covered patch; `absolute` or `inverse`."""

    @property
    def single(self) -> bool:
        """Whether one patch is covered."""
        return self.set == "patched" and self.variant != patched.ALL


@dataclass(frozen=True)
class Seen:
    """What one observer said of all images in all conditions."""

    observer: str
    pictures: tuple[str, ...]
    classes: tuple[str, ...]
    """The true class of each image, as a number."""
    conditions: tuple[Condition, ...]
    values: Float[np.ndarray, "pictures conditions 5"]
    """The MEASURES, in single precision."""

    @property
    def correct(self) -> Float[np.ndarray, "pictures conditions"]:
        """1 where the predicted class is the true one."""
        return (self.values[..., 2] == np.asarray(self.classes, float)[:, None]).astype(float)

    def probability(self) -> Float[np.ndarray, "pictures conditions"]:
        """Of the true class."""
        return self.values[..., 1].astype(np.float64)

    def columns(self, set_name: str, size: int) -> list[int]:
        """Where the conditions of a set and size are, but for single patches."""
        return [
            index
            for index, found in enumerate(self.conditions)
            if (found.set, found.size) == (set_name, size) and not found.single
        ]


def list_conditions(config: LocalGlobalConfig, side: int) -> tuple[Condition, ...]:
    """All conditions, the intact image first.

    Raises:
        InputError: blocks that do not divide an image of `side`×`side` pixels, or patches that do not fit into it.
    """
    found = [Condition(INTACT, side)]
    if "scrambled" in config.sets:
        for block in config.blocks:
            scrambled.count_blocks((side, side), block)
            found += [Condition("scrambled", block, str(variant)) for variant in range(config.variants)]
    if "patched" in config.sets:
        for patch in config.patches:
            found.append(Condition("patched", patch, patched.ALL))
            found += [Condition("patched", patch, str(i)) for i in range(len(patched.patch_boxes(side, patch)))]
    if "smoothed" in config.sets:
        found += [Condition("smoothed", number) for number in range(1, config.passes + 1)]
    if "difference" in config.sets:
        found += [Condition("difference", 1, name) for name in ("absolute", "inverse")]
    return tuple(found)


def make_conditions(
    image: UInt8[np.ndarray, "side side 3"],
    conditions: Sequence[Condition],
    config: LocalGlobalConfig,
    seed: Sequence[int],
) -> UInt8[np.ndarray, "conditions side side 3"]:
    """The image in every condition: the pixels that `synthesize.py stimuli` writes to files.

    Args:
        image: resized and cropped.
        conditions: of `list_conditions`.
        config: the color of patches, and the smoothing.
        seed: of the image's generator (`data.images.seed_of`), which every condition starts anew.
    """
    made = np.empty((len(conditions), *image.shape), np.uint8)
    passes = max([found.size for found in conditions if found.set in ("smoothed", "difference")], default=0)
    smoothed = smooth(image, passes, config.smoothing) if passes else None
    shuffler = scrambled.Scrambled()
    for index, found in enumerate(conditions):
        if found.set == "scrambled":
            rng = np.random.default_rng(seed)
            made[index] = shuffler.make(image, f"{found.size}_{found.variant}", rng)
        elif found.set == "patched":
            boxes = patched.patch_boxes(len(image), found.size)
            covered = boxes if found.variant == patched.ALL else boxes[[int(found.variant)]]
            made[index] = patched.cover(image, covered, config.color)
        elif smoothed is not None and found.set == "smoothed":
            made[index] = smoothed[found.size - 1]
        elif smoothed is not None and found.set == "difference":
            absolute = difference(image, smoothed[0])
            made[index] = absolute if found.variant == "absolute" else 255 - absolute
        else:
            made[index] = image
    return made


def write_pictures(path: Path, seen: Sequence[Seen]) -> None:
    """Write the long table, one line for each observer, image and condition, all or nothing."""
    with output.replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for one in seen:
            correct = one.correct
            for row, picture in enumerate(one.pictures):
                for column, found in enumerate(one.conditions):
                    logit, probability, predicted, *rest = one.values[row, column]
                    writer.writerow(
                        (
                            *(one.observer, picture, one.classes[row], found.set, found.size, found.variant),
                            # Nine digits give single precision back.
                            *(
                                f"{logit:.9g}",
                                f"{probability:.9g}",
                                int(predicted),
                                *(f"{value:.9g}" for value in rest),
                            ),
                            int(correct[row, column]),
                        )
                    )


def read_pictures(path: Path) -> dict[str, Seen]:
    """The observers of a table that `write_pictures` wrote; none if there is none.

    Raises:
        InputError: a damaged table.
    """
    if not path.is_file():
        return {}
    lines: dict[str, dict[tuple[str, str], dict[Condition, list[float]]]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file, strict=True)
            if tuple(next(reader)) != COLUMNS:
                raise ValueError
            for observer, picture, label, name, size, variant, *values, _ in reader:
                own = lines.setdefault(observer, {}).setdefault((picture, label), {})
                own[Condition(name, int(size), variant)] = [float(value) for value in values]
        found = {}
        for observer, pictures in lines.items():
            conditions = tuple(next(iter(pictures.values())))
            array = np.asarray([[own[one] for one in conditions] for own in pictures.values()], np.float32)
            names, labels = zip(*pictures, strict=True)
            found[observer] = Seen(observer, names, labels, conditions, array)
        return found
    except (ValueError, KeyError, StopIteration, csv.Error):
        raise InputError(f"{path} is damaged; delete it, or give another --out") from None
