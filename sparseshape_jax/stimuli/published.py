"""The published out-of-distribution sets that can be made from photographs, in exactly the published layout.

The images are cropped to 224×224 pixels, as the published ones. Photographs count for one of the 16 categories by their
class folder (or, directly in the folder, by their own name): a category, a WordNet id or an ImageNet class index. Those
outside the 16 categories are left out.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import ClassVar

import numpy as np

from sparseshape_jax.data.folders import imagenet_class
from sparseshape_jax.data.images import Images
from sparseshape_jax.errors import InputError
from sparseshape_jax.observers.categories import CATEGORIES, CATEGORY_INDICES
from sparseshape_jax.observers.experiments import PUBLISHED_SETS, normalize_condition
from sparseshape_jax.stimuli.distort import distort
from sparseshape_jax.stimuli.distortions import mean_amplitude
from sparseshape_jax.stimuli.stimulus_set import Design, Pixels, Stimulus, StimulusSet

_CATEGORY_OF = {index: category for category, indices in CATEGORY_INDICES.items() for index in indices}


class PublishedStimuli(StimulusSet):
    """One of the published sets, made from photographs.

    Args:
        name: of the set, as published.
        amplitude: the mean amplitude spectrum of all images, for the set `power-equalisation`.
    """

    size: ClassVar[int | None] = 224
    depends_on_all: ClassVar[bool] = True

    def __init__(self, name: str, amplitude: np.ndarray | None = None) -> None:
        self.published = PUBLISHED_SETS[name]
        self.amplitude = amplitude
        self.conditions = self.published.conditions  # type: ignore[misc]
        self.needs_fit = name == "power-equalisation" and amplitude is None  # type: ignore[misc]

    def check(self, condition: str) -> None:
        if normalize_condition(condition) not in map(normalize_condition, self.conditions):
            raise InputError(
                f"the set {self.published.name} has no condition {condition!r}; it has {', '.join(self.conditions)}"
            )

    def fit(self, images: Iterable[Pixels]) -> StimulusSet:
        if not self.needs_fit:
            return self
        return PublishedStimuli(self.published.name, mean_amplitude(image / 255 for image in images))

    def make(self, image: Pixels, condition: str, rng: np.random.Generator) -> Pixels:
        return distort(self.published.name, condition, self.amplitude)(image, rng)

    def class_of(self, images: Images, index: int) -> str | None:
        name = images.key(index).partition("/")[0]
        if name in CATEGORIES:
            return name
        number = imagenet_class(name)
        return None if number is None else _CATEGORY_OF.get(number)

    def plan(self, name: str, images: Images, conditions: Sequence[str], design: Design) -> Iterator[Stimulus]:
        """All files of the set. In a split design, each category has each condition equally often, give or take one."""
        chosen = self.chosen(images, design)
        if not chosen:
            raise InputError(
                f"none of the {len(images)} images of {images.name} is of the 16 categories; name class folders by"
                f" category ({', '.join(CATEGORIES[:3])}, …), WordNet id or ImageNet class index"
            )
        names = _unique_names(images, [index for members in chosen.values() for index in members])
        trial = 0
        for category_number, (category, members) in enumerate(chosen.items()):
            for position, index in enumerate(members):
                # Categories start with different conditions, so that the whole set is balanced, too.
                own = [conditions[(position + category_number) % len(conditions)]]
                for condition in conditions if design.paired else own:
                    trial += 1
                    yield Stimulus(index, condition, self._file(name, trial, condition, category, names[index]))

    def _file(self, name: str, trial: int, condition: str, category: str, image: str) -> PurePosixPath:
        if self.published.layout == "A":
            return PurePosixPath(name, category, f"{image}.png")
        file = f"{trial:04}_{self.published.code}_dnn_{condition}_{category}_00_{image}.png"
        return PurePosixPath(name, "dnn", "session-1", file)


def _unique_names(images: Images, indices: Sequence[int]) -> dict[int, str]:
    """What file names call each image: its path without underscores, which separate the fields of the names.

    Raises:
        InputError: two images would be called the same.
    """
    names: dict[int, str] = {}
    taken: dict[str, int] = {}
    for index in indices:
        name = re.sub(r"[^A-Za-z0-9.-]+", "-", str(PurePosixPath(images.key(index)).with_suffix("")))
        if (other := taken.setdefault(name, index)) != index:
            raise InputError(
                f"{images.key(other)} and {images.key(index)} in {images.name} would both be called {name}; rename one"
            )
        names[index] = name
    return names
