"""Folders of images, and the ImageNet class that each image belongs to."""

import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path

from sparseshape_jax.data.images import is_image
from sparseshape_jax.errors import InputError


def image_files(folder: Path) -> Iterator[Path]:
    """All images below `folder`, sorted; endings count in any case, hidden files and folders do not count.

    Raises:
        InputError: the folder is missing, or there is no image in it.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}" if not folder.exists() else f"{folder} is not a folder")
    found = False
    for path in sorted(folder.rglob("*")):
        if is_image(path) and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            found = True
            yield path
    if not found:
        raise InputError(f"there are no images in {folder}; put some there (.png, .jpg, …) or give another folder")


@cache
def wordnet_ids() -> tuple[str, ...]:
    """The WordNet id of each of the 1000 ImageNet classes (ILSVRC 2012), by class index, which is their sorted order."""
    return tuple(files("sparseshape_jax.data").joinpath("imagenet_wordnet_ids.txt").read_text("ascii").split())


def imagenet_labels(folder: Path) -> tuple[list[Path], list[int]]:
    """Images and their ImageNet class indices, 0 to 999.

    The class is read from the class folder, the first one below `folder`: its WordNet id (`n01440764`) or the number that
    it starts with (`0`, `0000_tench`). Images directly in `folder` carry it in their own names.

    Raises:
        InputError: a missing or empty folder, or a name from which no class can be read.
    """
    paths, labels = list(image_files(folder)), []
    indices = {wordnet_id: index for index, wordnet_id in enumerate(wordnet_ids())}
    for path in paths:
        name = path.relative_to(folder).parts[0]
        if (wordnet_id := re.match(r"n\d{8}", name)) and wordnet_id[0] in indices:
            labels.append(indices[wordnet_id[0]])
        elif (number := re.match(r"\d+(?=$|[^0-9])", name)) and int(number[0]) < len(indices):
            labels.append(int(number[0]))
        else:
            raise InputError(
                f"no ImageNet class can be read from {name!r} in {folder};"
                " class folders are named by WordNet id (n01440764) or start with a class index from 0 to 999"
            )
    return paths, labels
