"""Pictures with labels, by index: folders of classes, or a data set of TensorFlow Datasets."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int
from PIL import Image

from sparseshape_jax.data.folders import image_files
from sparseshape_jax.data.images import is_image, read_image
from sparseshape_jax.errors import InputError


class Labelled(ABC):
    """Pictures with labels, by index; read when asked for, from any thread."""

    name: str
    """What messages call it: a folder, or tfds:NAME/split."""
    classes: tuple[str, ...]
    """Class names; a label is the position of its name here."""

    @property
    @abstractmethod
    def labels(self) -> Int[np.ndarray, " n"]:
        """All labels, int32."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def picture(self, index: int) -> Image.Image:
        """Decode a picture to 8-bit RGB.

        Raises:
            InputError: it cannot be decoded; the message says which it is.
        """

    def example(self, index: int) -> tuple[Image.Image, int]:
        """A picture and its label; raises as `picture` does."""
        return self.picture(index), int(self.labels[index])

    @abstractmethod
    def describe(self, index: int) -> str:
        """Where a picture comes from: its path, or `record 17 of tfds:NAME/split`."""


def open_labelled(
    source: str, split: str, classes: Sequence[str] | None = None, *, allow_missing: bool = False
) -> Labelled:
    """Find pictures and labels.

    Args:
        source: a folder with one folder per class in `<source>/<split>`; or a data set prepared by TensorFlow Datasets:
            tfds:NAME, tfds:NAME:VERSION or tfds:/folder/with/dataset_info.json.
        split: `train`, `val`, …; empty where the class folders are directly in `source`.
        classes: which classes, in the order of their labels; pictures of others are left out. Default: all of them,
            sorted (folders), or in the data set's own order (tfds).
        allow_missing: `classes` are those of another data set, and some of them may have no pictures here.

    Raises:
        InputError: a source, split or class that is not there, a class folder without images, fewer than two classes.
    """
    wanted = None if classes is None else tuple(classes)
    if wanted is not None and len(set(wanted)) < len(wanted):
        raise InputError(f"classes names {next(c for c in wanted if wanted.count(c) > 1)!r} more than once")
    if source.startswith("tfds:"):
        from sparseshape_jax.data.tfds import Records

        found: Labelled = Records(source.removeprefix("tfds:"), split, wanted, allow_missing)
    else:
        found = Folder(Path(source), split, wanted, allow_missing)
    if len(found.classes) < 2:
        raise InputError(f"{found.name} has one class only, {found.classes[0]!r}; a classifier needs at least two")
    return found


class Folder(Labelled):
    """Pictures in class folders. Links are followed, hidden files and folders left out, folders inside classes read."""

    def __init__(self, source: Path, split: str, classes: tuple[str, ...] | None, allow_missing: bool) -> None:
        root = source / split
        if not root.is_dir():
            raise InputError(_no_folder(source, split))
        self.name = str(root)
        there = _visible_folders(root)
        if loose := next((path for path in sorted(root.iterdir()) if is_image(path) and path.is_file()), None):
            raise InputError(f"{loose} is in no class folder; move it to {root}/<class>/, or remove it")
        if not there:
            raise InputError(f"there are no class folders in {root}; pictures belong in {root}/<class>/")
        self.classes = select_classes(self.name, there, classes, allow_missing)
        self.paths: list[Path] = []
        labels: list[int] = []
        for label, name in enumerate(self.classes):
            if name in there:
                try:
                    paths = image_files(root / name)
                except InputError:
                    raise InputError(
                        f"the class folder {root / name} has no images; put some there, or remove it"
                    ) from None
                self.paths += paths
                labels += [label] * len(paths)
        self._labels = np.asarray(labels, np.int32)

    @property
    def labels(self) -> Int[np.ndarray, " n"]:
        return self._labels

    def __len__(self) -> int:
        return len(self.paths)

    def picture(self, index: int) -> Image.Image:
        return read_image(self.paths[index])

    def describe(self, index: int) -> str:
        return str(self.paths[index])


def select_classes(
    name: str, there: Sequence[str], wanted: tuple[str, ...] | None, allow_missing: bool
) -> tuple[str, ...]:
    """The classes to use of those that `name` has.

    Raises:
        InputError: a wanted class is not there; or, with `allow_missing`, none is.
    """
    if wanted is None:
        return tuple(there)
    missing = [each for each in wanted if each not in there]
    if missing and (not allow_missing or len(missing) == len(wanted)):
        shown = ", ".join(there[:20]) + (f", … ({len(there)} in all)" if len(there) > 20 else "")
        which = f"none of the classes {', '.join(wanted[:20])}" if allow_missing else f"no class {', '.join(missing)}"
        raise InputError(f"{name} has {which}; it has {shown}")
    return wanted


def _visible_folders(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _no_folder(source: Path, split: str) -> str:
    if not source.is_dir():
        return f"there is no folder {source}"
    there = ", ".join(_visible_folders(source)) or "none"
    return f"{source} has no folder {split!r} (its folders: {there}); pictures belong in {source / split}/<class>/"
