"""Data sets prepared by TensorFlow Datasets, read record by record; TensorFlow itself is not needed."""

import io
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from PIL import Image
from tqdm import tqdm

from sparseshape_jax.data.decoding import decode
from sparseshape_jax.data.images import LabeledImages, refuse_others, select_classes
from sparseshape_jax.errors import InputError

_CHUNK = 1024
"""How many records are read at once when only their labels are wanted."""


class TfdsImages(LabeledImages):
    """One split of a prepared data set whose records have an `image` and a class `label`.

    The labels are stored with the images, so choosing classes, or asking for all `labels`, reads the whole split once.

    Args:
        source: NAME, NAME/CONFIG, NAME:VERSION, looked up in TFDS_DATA_DIR (else ~/tensorflow_datasets); or the folder
            that has the data set's dataset_info.json.
        split: a split, or part of one in TFDS's notation: `train[:90%]`.
        classes: which classes; records of others are left out. Default: all, in the data set's order.
        allow_missing: whether some of `classes` may be missing from the data set.
        only_these: refuse a data set with other classes instead of leaving their records out.

    Raises:
        InputError: tensorflow-datasets is not installed; the data set or split is missing, or prepared in a format that
            cannot be read by index; a feature or class is missing.
    """

    def __init__(
        self,
        source: str,
        split: str,
        classes: tuple[str, ...] | None = None,
        *,
        allow_missing: bool = False,
        only_these: bool = False,
    ) -> None:
        builder = _builder(source)
        info = builder.info
        self.name = f"tfds:{source}/{split}"
        self._version = str(info.full_name)
        splits = ", ".join(info.splits)
        if not split:
            raise InputError(f"tfds:{source} is read by split, and none was given; it has {splits}")
        features = dict(info.features.items())
        names = getattr(features.get("label"), "names", None)
        if names is None or "image" not in features:
            raise InputError(
                f"tfds:{source} is not for classification: its records have {', '.join(sorted(features))},"
                " where an image and a class label are needed"
            )
        # The images stay as they are stored: they are decoded here, as those in folders are.
        stored = {"image": _package(source).decode.SkipDecoding()}
        try:
            self._records: Any = builder.as_data_source(split, decoders=stored)
        except (ValueError, AssertionError) as error:
            raise InputError(f"tfds:{source} has no split {split!r} ({error}); it has {splits}") from None
        if only_these and classes is not None:
            refuse_others(self.name, names, classes)
        self.classes = select_classes(self.name, names, classes, allow_missing)
        self._label_of = [self.classes.index(name) if name in self.classes else -1 for name in names]
        self._chosen: Int[np.ndarray, " n"] | None = None
        if self.classes != tuple(names):
            self._chosen = np.flatnonzero(self._all_labels >= 0)
            if not len(self._chosen):
                raise InputError(f"no record of {self.name} is of the classes {', '.join(self.classes)}")

    @cached_property
    def _all_labels(self) -> Int[np.ndarray, " records"]:
        """Per record, the label; -1 for classes that were not chosen."""
        found: list[int] = []
        with tqdm(total=len(self._records), unit="label", desc=self.name, disable=None) as progress:
            for start in range(0, len(self._records), _CHUNK):
                chunk = range(start, min(start + _CHUNK, len(self._records)))
                found += (self._label_of[record["label"]] for record in self._records.__getitems__(chunk))
                progress.update(len(chunk))
        return np.asarray(found, np.int32)

    @property
    def labels(self) -> Int[np.ndarray, " n"]:
        return self._all_labels if self._chosen is None else self._all_labels[self._chosen]

    def __len__(self) -> int:
        return len(self._records) if self._chosen is None else len(self._chosen)

    def image(self, index: int) -> Image.Image:
        return self.example(index)[0]

    def example(self, index: int) -> tuple[Image.Image, int]:
        record = self._records[self._record(index)]
        return decode(io.BytesIO(record["image"]), self.describe(index)), self._label_of[record["label"]]

    def describe(self, index: int) -> str:
        return f"record {self._record(index)} of {self.name}"

    def key(self, index: int) -> str:
        return str(self._record(index))

    def signature(self) -> str:
        return f"{self.name} {self._version} {len(self._records)} records, classes {', '.join(self.classes)}"

    def _record(self, index: int) -> int:
        return int(index) if self._chosen is None else int(self._chosen[index])


def _package(source: str) -> Any:
    """The package tensorflow_datasets, from the optional extra `tfds`."""
    try:
        return import_module("tensorflow_datasets")
    except ModuleNotFoundError as error:
        raise InputError(
            f'tfds:{source} needs {error.name}, which is not installed: pip install "sparseshape-jax[tfds]"'
        ) from None


def _builder(source: str) -> Any:
    """TFDS's handle on a data set that is prepared and can be read by index."""
    tfds = _package(source)
    folder = Path(source).expanduser()
    if source.startswith(("/", ".", "~")):
        if not (folder / "dataset_info.json").is_file():
            raise InputError(
                f"{folder} has no dataset_info.json; give the folder of a version, such as"
                " tfds:~/tensorflow_datasets/cifar10/3.0.2"
            )
        builder = tfds.builder_from_directory(folder)
    else:
        try:
            builder = tfds.builder(source)
        except (ValueError, AssertionError, ImportError) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                f"TensorFlow Datasets cannot find {source} ({reason}); give a name of its catalog, set TFDS_DATA_DIR"
                " to the folder of the prepared data sets, or give a folder: tfds:/data/NAME/VERSION"
            ) from None
        if not builder.data_path.exists():
            raise InputError(
                f"{source} is not prepared in {builder.data_path}; set TFDS_DATA_DIR, or prepare it (TensorFlow must be"
                f" installed for that): tfds build {source} --file_format=array_record"
            )
    formats = {str(each.value) for each in builder.info.available_file_formats()}
    if not formats & {"array_record", "parquet"}:
        path = builder.data_path
        raise InputError(
            f"{source} is prepared as {', '.join(sorted(formats))} in {path}, which cannot be read by index; convert it"
            f" (TensorFlow must be installed for that): tfds convert_format --dataset_version_dir={path}"
            " --out_file_format=array_record"
        )
    return builder
