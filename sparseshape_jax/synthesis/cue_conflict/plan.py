"""Which photograph meets which texture. A function of the seed and of the lists of files, and of nothing else.

The official set of Geirhos et al. (2019) has every ordered pair of categories 5 times, the pictures drawn at random: a
photograph is used 4 to 13 times, a texture 17 to 37 times. Here, uses within a category differ by at most one.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sparseshape_jax.errors import InputError
from sparseshape_jax.synthesis.cue_conflict.config import CueConflictConfig
from sparseshape_jax.synthesis.cue_conflict.sources import Source, digest

FOLDER = "cue-conflict"
"""Of the stimuli; `stimuli.cue_conflict` looks for it."""

CategoryPair = tuple[str, str]


@dataclass(frozen=True, eq=False)
class Pair:
    """One stimulus to make."""

    content: Source
    style: Source

    @property
    def stem(self) -> str:
        """Its file name without the ending, such as cat7-elephant1."""
        return f"{self.content.name}-{self.style.name}"

    @property
    def file(self) -> str:
        """Its path in the output folder, as evaluate.py shape-bias reads it."""
        return f"{FOLDER}/{self.content.category}/{self.stem}.png"

    @property
    def entries(self) -> dict[str, str]:
        """Its line in plan.csv."""
        return {
            "file": self.file,
            "shape": self.content.category,
            "texture": self.style.category,
            "content": self.content.key,
            "style": self.style.key,
        }


def make_plan(contents: Sequence[Source], styles: Sequence[Source], config: CueConflictConfig) -> list[Pair]:
    """All stimuli of the set, sorted by category and number of photograph and texture.

    Raises:
        InputError: categories without any conflict, categories of only one side in a balanced set, more pairs than
            there are, or two that would become the same file.
    """
    by_category = _by_category(contents), _by_category(styles)
    counts = _counts(*by_category, config)
    rng = np.random.default_rng([config.seed, *digest(contents), *digest(styles)])
    if config.pairs == "all":
        chosen = [Pair(content, style) for pair in counts for content, style in _all_of(pair, *by_category)]
    else:
        if isinstance(config.pairs, int):
            counts = _share(config.pairs, counts, rng)
        chosen = _draw(counts, *by_category, rng)
    _refuse_collisions(chosen)
    order = {source: index for index, source in enumerate([*contents, *styles])}
    return sorted(chosen, key=lambda pair: (order[pair.content], order[pair.style]))


def _by_category(sources: Sequence[Source]) -> dict[str, list[Source]]:
    found: dict[str, list[Source]] = {}
    for source in sources:
        found.setdefault(source.category, []).append(source)
    return found


def _counts(
    contents: Mapping[str, list[Source]], styles: Mapping[str, list[Source]], config: CueConflictConfig
) -> dict[CategoryPair, int]:
    """For each ordered pair of categories how many stimuli there are of it: --per_pair if balanced, else at most."""
    if set(contents) == set(styles) and len(contents) == 1:
        raise InputError(
            f"all photographs and all textures are of the category {next(iter(contents))}, so no cues can conflict;"
            " add folders of other categories"
        )
    balanced = config.pairs == "balanced"
    if balanced and set(contents) != set(styles):
        raise InputError(
            f"only --content has {_listed(set(contents) - set(styles))} and only --style has"
            f" {_listed(set(styles) - set(contents))}; a balanced set needs the same categories on both sides:"
            " add or remove folders, or give --pairs all"
        )
    pairs = [(shape, texture) for shape in contents for texture in styles if config.include_same or shape != texture]
    there = {(shape, texture): len(contents[shape]) * len(styles[texture]) for shape, texture in pairs}
    if not balanced:
        return there
    fewest = min(there, key=lambda pair: there[pair])
    if there[fewest] < config.per_pair:
        shape, texture = fewest
        raise InputError(
            f"{len(contents[shape])} photographs of {shape} and {len(styles[texture])} textures of {texture} make"
            f" {there[fewest]} stimuli, and per_pair is {config.per_pair}; add pictures, or give a smaller --per_pair"
        )
    return dict.fromkeys(there, config.per_pair)


def _share(total: int, there: Mapping[CategoryPair, int], rng: np.random.Generator) -> dict[CategoryPair, int]:
    """`total` stimuli over pairs of categories, as equally as what is there allows."""
    if total > sum(there.values()):
        raise InputError(f"pairs is {total}, and these pictures make {sum(there.values())} stimuli; give at most that")
    counts = dict.fromkeys(there, 0)
    order = [list(there)[index] for index in rng.permutation(len(there))]
    while total:
        for pair in order:
            if total and counts[pair] < there[pair]:
                counts[pair] += 1
                total -= 1
    return counts


def _all_of(
    pair: CategoryPair, contents: Mapping[str, list[Source]], styles: Mapping[str, list[Source]]
) -> list[tuple[Source, Source]]:
    return [(content, style) for content in contents[pair[0]] for style in styles[pair[1]]]


def _draw(
    counts: Mapping[CategoryPair, int],
    contents: Mapping[str, list[Source]],
    styles: Mapping[str, list[Source]],
    rng: np.random.Generator,
) -> list[Pair]:
    """Pairs of pictures, each once, so that the pictures of a category are used equally often, give or take one."""
    used: Counter[Source] = Counter()
    chosen = []
    for (shape, texture), count in counts.items():
        photographs = _least_used(contents[shape], used, count, rng)
        textures = _least_used(styles[texture], used, count, rng)
        # Photographs take the textures that are needed most, those with most uses first (Gale & Ryser 1957). Uses
        # within a pair of categories differ by at most one, too, so this always works out.
        for photograph, uses in photographs.most_common():
            ties = dict(zip(textures, rng.permutation(len(textures)), strict=True))
            for style in sorted(textures, key=lambda style: (-textures[style], ties[style]))[:uses]:
                textures[style] -= 1
                chosen.append(Pair(photograph, style))
    return chosen


def _least_used(
    sources: Sequence[Source], used: "Counter[Source]", count: int, rng: np.random.Generator
) -> "Counter[Source]":
    """How often to take each source: `count` times in all, always one of those least used, here and before."""
    here: Counter[Source] = Counter()
    for _ in range(count):
        ties = rng.permutation(len(sources))
        best = min(range(len(sources)), key=lambda i: (used[sources[i]], here[sources[i]], ties[i]))
        used[sources[best]] += 1
        here[sources[best]] += 1
    return here


def _refuse_collisions(pairs: Sequence[Pair]) -> None:
    taken: dict[str, Pair] = {}
    for pair in pairs:
        if (other := taken.setdefault(pair.file, pair)) is not pair:
            raise InputError(
                f"{pair.style.key} and {other.style.key} would both become {pair.file}; rename a category so that it"
                " does not end in a digit"
            )


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"
