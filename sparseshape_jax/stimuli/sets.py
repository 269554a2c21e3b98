"""The sets of stimuli that can be made from photographs, by name."""

from functools import partial

import numpy as np

from sparseshape_jax.data.loader import Transform
from sparseshape_jax.errors import InputError
from sparseshape_jax.observers.experiments import PARAMETRIC
from sparseshape_jax.stimuli.distort import GENERATED_SETS
from sparseshape_jax.stimuli.patched import Patched
from sparseshape_jax.stimuli.published import PublishedStimuli
from sparseshape_jax.stimuli.scrambled import Scrambled
from sparseshape_jax.stimuli.shuffled import Shuffled
from sparseshape_jax.stimuli.smoothed import Difference, Smoothed
from sparseshape_jax.stimuli.stimulus_set import Pixels, StimulusSet

_SETS: dict[str, StimulusSet] = {
    "shuffled": Shuffled(),
    "scrambled": Scrambled(),
    "patched": Patched(),
    "smoothed": Smoothed(),
    "difference": Difference(),
    **{name: PublishedStimuli(name) for name in GENERATED_SETS},
}

GROUPS: dict[str, tuple[str, ...]] = {"parametric": PARAMETRIC}
"""Names that stand for several sets."""


def register(name: str, stimulus_set: StimulusSet) -> None:
    """Make a set known to every job under `name`; one that was there before is replaced."""
    _SETS[name] = stimulus_set


def names() -> tuple[str, ...]:
    """The names of all sets."""
    return tuple(_SETS)


def find(name: str) -> StimulusSet:
    """The set called `name`.

    Raises:
        InputError: there is none; the message lists the names.
    """
    if name not in _SETS:
        known = ", ".join((*_SETS, *GROUPS))
        raise InputError(f"there is no set of stimuli called {name!r}; there are {known}")
    return _SETS[name]


def transform(name: str, condition: str) -> Transform:
    """A function that makes the stimuli of one condition in memory, for `Loader(transform=…)`.

    Raises:
        InputError: an unknown set or condition.
    """
    found = find(name)
    found.check(condition)
    return partial(_transform, found, condition)


def _transform(stimulus_set: StimulusSet, condition: str, image: Pixels, rng: np.random.Generator) -> Pixels:
    return stimulus_set.make(image, condition, rng)
