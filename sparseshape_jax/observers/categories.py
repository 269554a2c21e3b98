"""The 16 entry-level categories of the cue-conflict experiments, their ImageNet classes, and how stimuli are named.

The mapping is the one of Geirhos et al., "Generalisation in humans and deep neural networks" (2018), which
model-vs-human uses: 207 of the 1000 classes belong to one of the categories, the others to none.
"""

import re

# Class indices in the usual order of ILSVRC 2012 (sorted WordNet ids), single or as inclusive ranges.
_INDICES = {
    "airplane": "404",
    "bear": "294-297",
    "bicycle": "444 671",
    "bird": "8 10-16 18-20 22-24 80-83 87-96 98-100 127-133 135-145",
    "boat": "472 554 625 814 914",
    "bottle": "440 720 737 898-899 901 907",
    "car": "436 511 817",
    "cat": "281-286",
    "chair": "423 559 765 857",
    "clock": "409 530 892",
    "dog": "152-191 193-203 205-226 228-241 243-250 252-257 259 261-263 265-268",
    "elephant": "385-386",
    "keyboard": "508 878",
    "knife": "499",
    "oven": "766",
    "truck": "555 569 656 675 717 734 864 867",
}


def _expand(ranges: str) -> tuple[int, ...]:
    bounds = (part.split("-") for part in ranges.split())
    return tuple(index for low, *high in bounds for index in range(int(low), int((high or [low])[0]) + 1))


CATEGORIES: tuple[str, ...] = tuple(_INDICES)
"""The category names, in alphabetical order; decisions are indices into this tuple."""

CATEGORY_INDICES: dict[str, tuple[int, ...]] = {category: _expand(ranges) for category, ranges in _INDICES.items()}
"""The ImageNet class indices (0 to 999) of each category."""

_CUE_CONFLICT_NAME = re.compile(r"([a-z]+)\d*-([a-z]+)\d*(?:\.\w+)?")


def stimulus_name(image: str) -> str:
    """Return an image's name without what an experiment put in front of it.

    Humans saw `0001_s5n_s01_0_bird_00_bird3-bird2.png` where a model saw `bird3-bird2.png`: the stimulus is what
    follows the last underscore. ImageNet names (`n02951358_5952.png`) keep their WordNet id.
    """
    *prefix, name = image.split("_")
    return f"{prefix[-1]}_{name}" if prefix and re.fullmatch(r"n\d+", prefix[-1]) else name


def shape_and_texture(image: str) -> tuple[str, str] | None:
    """Return the categories in the name of a cue-conflict image, or `None` for any other name.

    `airplane1-bicycle2.png`, with or without a trial's prefix, has an airplane's shape and a bicycle's texture.
    """
    match = _CUE_CONFLICT_NAME.fullmatch(stimulus_name(image))
    if match is None or not {*match.groups()} <= {*CATEGORIES}:
        return None
    return match[1], match[2]
