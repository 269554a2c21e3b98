"""Folders of images, and the ImageNet class that each image belongs to."""

import os
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

from sparseshape_jax.data.images import is_image
from sparseshape_jax.errors import InputError


def image_files(folder: Path) -> list[Path]:
    """All images below `folder`, sorted; endings count in any case, hidden files and folders do not count.

    Links to folders are followed, as torchvision does: subsets of ImageNet are often made of them.

    Raises:
        InputError: the folder is missing, or there is no image in it.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}" if not folder.exists() else f"{folder} is not a folder")
    found = []
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = (name for name in folders if not name.startswith("."))
        found += [path for path in (Path(parent, name) for name in names) if is_image(path)]
    if not found:
        raise InputError(f"there are no images in {folder}; put some there (.png, .jpg, …) or give another folder")
    return sorted(found)


@cache
def wordnet_ids() -> tuple[str, ...]:
    """The WordNet ids of the 1000 ImageNet classes (ILSVRC 2012), by class index, which is their sorted order."""
    return tuple(files("sparseshape_jax.data").joinpath("imagenet_wordnet_ids.txt").read_text("ascii").split())


def imagenet_labels(folder: Path) -> tuple[list[Path], list[int]]:
    """Images and their ImageNet class indices, 0 to 999.

    The class is read from the class folder, the first one below `folder`: its WordNet id (`n01440764`) or the number
    that it starts with (`0`, `0000_tench`). Images directly in `folder` carry it in their own names.

    Raises:
        InputError: a missing or empty folder, or a name from which no class can be read.
    """
    paths, labels = image_files(folder), []
    indices = {wordnet_id: index for index, wordnet_id in enumerate(wordnet_ids())}
    for path in paths:
        name = path.relative_to(folder).parts[0]
        if (wordnet_id := re.match(r"n\d{8}(?!\d)", name)) and wordnet_id[0] in indices:
            labels.append(indices[wordnet_id[0]])
        elif (number := re.match(r"\d+", name)) and int(number[0]) < len(indices):
            labels.append(int(number[0]))
        else:
            raise InputError(
                f"no ImageNet class can be read from {name!r} in {folder};"
                " class folders are named by WordNet id (n01440764) or start with a class index from 0 to 999"
            )
    return paths, labels


def class_labels(folder: Path, classes: Sequence[str]) -> tuple[list[Path], list[int]]:
    """Images in class folders, `<folder>/<class>/…`, and the position in `classes` of each one's class.

    Not every class must be there.

    Raises:
        InputError: a missing or empty folder, or images outside the folders of `classes`.
    """
    paths, labels = image_files(folder), {name: label for label, name in enumerate(classes)}
    names = [path.relative_to(folder).parts[0] for path in paths]
    if strange := sorted(set(names) - labels.keys()):
        shown = ", ".join(strange[:5]) + (f" and {len(strange) - 5} more" if len(strange) > 5 else "")
        known = ", ".join(classes[:10]) + (", …" if len(classes) > 10 else "")
        raise InputError(
            f"{folder} holds {shown}, not among the {len(classes)} classes that the weights know ({known});"
            " give the folder with those class folders in it"
        )
    return paths, [labels[name] for name in names]
