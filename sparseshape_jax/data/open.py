"""Opening what a user gives as data: folders, and data sets of TensorFlow Datasets."""

from collections.abc import Sequence
from pathlib import Path

from sparseshape_jax.data.folders import ClassFolder, Folder, ImageNetFolder, split_folder, wordnet_ids
from sparseshape_jax.data.images import Images, LabeledImages
from sparseshape_jax.data.tfds import TfdsImages
from sparseshape_jax.errors import InputError

TFDS = "tfds:"


def open_images(source: str) -> Images:
    """Images whose labels do not matter: a folder, at any depth, or tfds:NAME/split.

    Raises:
        InputError: a missing or empty folder, or a missing data set or split.
    """
    if source.startswith(TFDS):
        return TfdsImages(*_tfds_parts(source))
    return Folder(Path(source))


def open_labeled(
    source: str,
    split: str | None = None,
    classes: Sequence[str] | None = None,
    *,
    allow_missing: bool = False,
    only_these: bool = False,
    fewest: int = 2,
) -> LabeledImages:
    """Images with labels.

    Args:
        source: a folder with one folder per class, in it or in its split; or a data set prepared by TensorFlow
            Datasets: tfds:NAME, tfds:NAME:VERSION or tfds:/folder/with/dataset_info.json.
        split: `train`, `val`, …; None if the class folders are directly in `source`, or if `source` includes the
            split: tfds:NAME/test.
        classes: which classes, in the order of their labels; images of others are left out. Default: all of them,
            sorted (folders), or in the data set's own order (tfds).
        allow_missing: `classes` are those of another set, and some of them may have no images here.
        only_these: refuse images of other classes instead of leaving them out; folders of ImageNet's classes may then
            also be named by number, as `ImageNetFolder` reads them.
        fewest: how many classes there must be.

    Raises:
        InputError: a missing source, split or class, a class folder without images, or fewer than `fewest` classes.
    """
    wanted = None if classes is None else tuple(classes)
    if wanted is not None and len(set(wanted)) < len(wanted):
        raise InputError(f"classes names {next(c for c in wanted if wanted.count(c) > 1)!r} more than once")
    found: LabeledImages
    if source.startswith(TFDS):
        name, part = _tfds_parts(source) if split is None else (source.removeprefix(TFDS), split)
        found = TfdsImages(name, part, wanted, allow_missing=allow_missing, only_these=only_these)
    elif only_these and wanted == wordnet_ids():
        found = ImageNetFolder(Path(source))
    else:
        root = Path(source) if split is None else split_folder(Path(source), split)
        found = ClassFolder(root, wanted, allow_missing=allow_missing, only_these=only_these)
    if len(found.classes) < fewest:
        raise InputError(f"{found.name} has one class only, {found.classes[0]!r}; a classifier needs at least two")
    return found


def _tfds_parts(source: str) -> tuple[str, str]:
    """The data set and the split of tfds:NAME/split."""
    name, _, split = source.removeprefix(TFDS).rpartition("/")
    if not name:
        raise InputError(f"{source} names no split; write tfds:NAME/split, such as tfds:cifar10/test")
    return name, split
