"""Folders of images: flat, with one folder per class, or with ImageNet's classes by id or number.

Links are followed, as in torchvision: subsets of ImageNet are often made of them. Hidden files and folders are left
out.
"""

import hashlib
import os
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from jaxtyping import Int
from PIL import Image

from sparseshape_jax.data.decoding import is_image, read_image
from sparseshape_jax.data.images import Images, LabeledImages, refuse_others, select_classes
from sparseshape_jax.errors import InputError


def _no_folder(path: Path, wanted: str) -> InputError:
    state = f"{path} is not a folder" if path.exists() else f"there is no folder {path}"
    return InputError(f"{state}; give one with {wanted}")


def image_files(folder: Path) -> list[Path]:
    """All images below `folder`, sorted. File name endings may be in upper or lower case.

    Raises:
        InputError: the folder is missing or has no images.
    """
    if not folder.is_dir():
        raise _no_folder(folder, "images in it, at any depth")
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


def imagenet_class(name: str) -> int | None:
    """The ImageNet class index in a name: of its WordNet id (`n01440764`), or the number that it starts with.

    None if there is neither.
    """
    if (wordnet_id := re.match(r"n\d{8}(?!\d)", name)) and wordnet_id[0] in wordnet_ids():
        return wordnet_ids().index(wordnet_id[0])
    if (number := re.match(r"\d+", name)) and int(number[0]) < len(wordnet_ids()):
        return int(number[0])
    return None


class Folder(Images):
    """Image files below one folder, at any depth.

    Args:
        root: the folder.
        paths: the files; by default all below `root`, sorted.

    Raises:
        InputError: a missing or empty folder.
    """

    def __init__(self, root: Path, paths: Sequence[Path] | None = None) -> None:
        self.name, self.root = str(root), root
        self.paths = image_files(root) if paths is None else list(paths)

    def __len__(self) -> int:
        return len(self.paths)

    def image(self, index: int) -> Image.Image:
        return read_image(self.paths[index])

    def describe(self, index: int) -> str:
        return str(self.paths[index])

    def key(self, index: int) -> str:
        return self.paths[index].relative_to(self.root).as_posix()

    def signature(self) -> str:
        digest = hashlib.sha256()
        for index, path in enumerate(self.paths):
            try:
                found = path.stat()
                file = f"{found.st_size}\0{found.st_mtime_ns}"
            except OSError:  # a broken link, which is an error only when it is read
                file = "missing"
            digest.update(f"{self.key(index)}\0{file}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


class ClassFolder(Folder, LabeledImages):
    """Images in class folders, `<root>/<class>/…`.

    Args:
        root: the folder that has the class folders.
        classes: which classes, in the order of their labels; images of others are left out. Default: all, sorted.
        allow_missing: `classes` are those of another set, and some of them may have no images here.
        only_these: refuse folders of other classes instead of leaving them out.

    Raises:
        InputError: no class folders, images outside of them, missing classes, or an empty class folder.
    """

    def __init__(
        self,
        root: Path,
        classes: tuple[str, ...] | None = None,
        *,
        allow_missing: bool = False,
        only_these: bool = False,
    ) -> None:
        if not root.is_dir():
            raise _no_folder(root, "images in <class>/ folders")
        there = _visible_folders(root)
        if loose := next((path for path in sorted(root.iterdir()) if is_image(path) and path.is_file()), None):
            raise InputError(f"{loose} is not in a class folder; move it to {root}/<class>/, or remove it")
        if not there:
            raise InputError(f"there are no class folders in {root}; images belong in {root}/<class>/")
        if only_these and classes is not None:
            refuse_others(str(root), there, classes)
        self.classes = select_classes(str(root), there, classes, allow_missing)
        paths: list[Path] = []
        labels: list[int] = []
        for label, name in enumerate(self.classes):
            if name not in there:
                continue
            try:
                own = image_files(root / name)
            except InputError:
                raise InputError(
                    f"the class folder {root / name} has no images; put some there, or remove it"
                ) from None
            paths += own
            labels += [label] * len(own)
        super().__init__(root, paths)
        self._labels = np.asarray(labels, np.int32)

    @property
    def labels(self) -> Int[np.ndarray, " n"]:
        return self._labels


class ImageNetFolder(Folder, LabeledImages):
    """Images with their ImageNet class indices, 0 to 999, as labels; `classes` are the WordNet ids.

    The class is read from the class folder, the first one below `root`: its WordNet id (`n01440764`) or the number that
    it starts with (`0`, `0000_tench`). Images directly in `root` carry it in their own names.

    Raises:
        InputError: a missing or empty folder, or a name from which no class can be read.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.classes = wordnet_ids()
        labels = []
        for path in self.paths:
            name = path.relative_to(root).parts[0]
            label = imagenet_class(name)
            if label is None:
                raise InputError(
                    f"no ImageNet class can be read from {name!r} in {root};"
                    " class folders are named by WordNet id (n01440764) or start with a class index from 0 to 999"
                )
            labels.append(label)
        self._labels = np.asarray(labels, np.int32)

    @property
    def labels(self) -> Int[np.ndarray, " n"]:
        return self._labels


def _visible_folders(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def split_folder(source: Path, split: str) -> Path:
    """The folder of one split, `<source>/<split>`.

    Raises:
        InputError: it does not exist; the message lists the folders that do.
    """
    root = source / split
    if root.is_dir():
        return root
    if not source.is_dir():
        raise _no_folder(source, f"images in {split}/<class>/ folders")
    there = ", ".join(_visible_folders(source)) or "none"
    raise InputError(f"{source} has no folder {split!r} (its folders: {there}); images belong in {root}/<class>/")
