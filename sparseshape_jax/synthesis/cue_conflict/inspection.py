"""Looking at the pictures before anything is made of them, and saying what there is to say."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from sparseshape_jax import output
from sparseshape_jax.errors import InputError
from sparseshape_jax.observers.categories import CATEGORIES
from sparseshape_jax.synthesis.cue_conflict.checks import MOSTLY, filled_shares, recognized_as
from sparseshape_jax.synthesis.cue_conflict.config import CueConflictConfig
from sparseshape_jax.synthesis.cue_conflict.plan import Pair
from sparseshape_jax.synthesis.cue_conflict.sources import Pictures, Source, read_sources
from sparseshape_jax.weights.load import Loaded, load

COLUMNS = ("role", "name", "category", "picture", "sha256", "fills_frame", "recognized_as", "used")
MOST_NAMED = 5
"""Most pictures that a message names."""


@dataclass(frozen=True)
class Inspected:
    """The pictures and what was found out about them."""

    contents: list[Source]
    """Those to use; with `only_recognized`, without those that are not recognized."""
    styles: list[Source]
    left_out: list[Source]
    filled: dict[Source, float]
    """For each texture the share of the frame that it fills."""
    recognized: dict[Source, str]
    """What the check model takes pictures of the 16 categories for."""

    def mistaken(self, sources: Sequence[Source]) -> list[Source]:
        """Those of `sources` that the check model takes for another category."""
        return [source for source in sources if self.recognized.get(source, source.category) != source.category]


def inspect(config: CueConflictConfig, loaded: Loaded) -> Inspected:
    """Read the pictures of both sides and look at them.

    Raises:
        InputError: missing folders, pictures that cannot be used, a check model that is none for ImageNet, or no
            picture left of a category.
    """
    folders = [Pictures(Path(folder)) for folder in (config.content, config.style)]
    contents, styles = (read_sources(pictures, config.work_size or config.size) for pictures in folders)
    recognized: dict[Source, str] = {}
    if config.check_model is not None and {*folders[0].classes, *folders[1].classes} & set(CATEGORIES):
        judge = load(config.check_model, trunk_only=False)
        for pictures, sources in zip(folders, (contents, styles), strict=True):
            recognized |= recognized_as(judge, pictures, sources)
    middle = config.style_layers[len(config.style_layers) // 2]
    filled = filled_shares(loaded, middle, styles)
    everything = Inspected(contents, styles, [], filled, recognized)
    if not config.only_recognized:
        return everything
    left_out = everything.mistaken([*contents, *styles])
    kept = [[source for source in sources if source not in left_out] for sources in (contents, styles)]
    for option, before, after in (("--content", contents, kept[0]), ("--style", styles, kept[1])):
        if lost := sorted({source.category for source in before} - {source.category for source in after}):
            raise InputError(
                f"{config.check_model} recognizes no picture of {', '.join(lost)} in {option}; give others, take these"
                " folders out, or leave out --only_recognized"
            )
    return Inspected(kept[0], kept[1], left_out, filled, recognized)


def say(config: CueConflictConfig, inspected: Inspected, pairs: Sequence[Pair]) -> None:
    """Print what the plan is, and which pictures are doubtful."""
    conflicts = sum(pair.content.category != pair.style.category for pair in pairs)
    uses = Counter(pair.content for pair in pairs), Counter(pair.style for pair in pairs)
    same = f", {len(pairs) - conflicts} of them without a conflict" if conflicts < len(pairs) else ""
    print(f"{len(pairs)} stimuli{same}, from {len(uses[0])} photographs and {len(uses[1])} textures")
    print(f"photographs are used {_range(uses[0].values())} each, textures {_range(uses[1].values())}")
    categories = [{source.category for source in side} for side in (inspected.contents, inspected.styles)]
    if only := categories[0] ^ categories[1]:
        print(f"on one side only: {', '.join(sorted(only))}")
    if others := (categories[0] | categories[1]) - set(CATEGORIES):
        print(
            f"{', '.join(sorted(others))}: not among the 16 categories that evaluate.py shape-bias counts"
            f" ({', '.join(CATEGORIES)})"
        )
    if objects := [source for source in inspected.styles if inspected.filled[source] < MOSTLY]:
        print(f"textures that do not fill the frame, but look like an object on a background: {_named(objects)}")
    left = " (left out)" if config.only_recognized else ""
    for what, sources in (("photographs", inspected.contents), ("textures", inspected.styles)):
        mistaken = [s for s in inspected.left_out if (s in inspected.filled) == (what == "textures")]
        if mistaken := inspected.mistaken(sources) + mistaken:
            print(f"{what} that {config.check_model} does not recognize{left}: {_named(mistaken)}")


def write_sources(folder: Path, inspected: Inspected) -> None:
    """Write sources.csv: which picture files of stimuli call by which name, and what was found out about it."""
    rows = []
    everything = [*inspected.contents, *inspected.styles, *inspected.left_out]
    for source in everything:
        is_style = source in inspected.filled
        rows.append(
            {
                "role": "style" if is_style else "content",
                "name": source.name,
                "category": source.category,
                "picture": source.key,
                "sha256": source.sha256,
                "fills_frame": inspected.filled.get(source),
                "recognized_as": inspected.recognized.get(source),
                "used": source not in inspected.left_out,
            }
        )
    rows.sort(key=lambda row: (row["role"], row["picture"]))
    output.write_csv(folder / "sources.csv", COLUMNS, rows)


def _named(sources: Sequence[Source]) -> str:
    more = f" and {len(sources) - MOST_NAMED} more (sources.csv)" if len(sources) > MOST_NAMED else ""
    return ", ".join(source.key for source in sources[:MOST_NAMED]) + more


def _range(uses: Collection[int]) -> str:
    low, high = min(uses), max(uses)
    return f"{low} to {high} times" if low < high else "once" if low == 1 else f"{low} times"
