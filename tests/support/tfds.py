"""Data sets of TensorFlow Datasets, written as TFDS itself writes them, without TensorFlow."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image

from support.packages import require_package


def import_tfds() -> ModuleType:
    """TFDS; skips the test where it, or what it needs to read and write records, is not installed."""
    for name in ("tensorflow-datasets", "array-record", "importlib-resources"):
        require_package(name)
    import tensorflow_datasets

    return tensorflow_datasets


def write_data_set(
    folder: Path, classes: Sequence[str], splits: Mapping[str, Sequence[tuple[np.ndarray, int]]]
) -> Path:
    """Prepare a data set called `animals`, version 1.0.0.

    Args:
        folder: where prepared data sets are; TFDS_DATA_DIR for whoever wants to read this one by its name.
        classes: their names.
        splits: for each split, its images (H, W, 3) of 8 bits a channel and their labels.

    Returns the folder that tfds:FOLDER reads.
    """
    tfds = import_tfds()

    # Not registered: a second data set of this name in the same process would be refused.
    with tfds.core.registered.skip_registration():

        class Animals(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.0.0")
            pkg_dir_path = folder

            def _info(self):
                image = tfds.features.Image(encoding_format="png")
                label = tfds.features.ClassLabel(names=list(classes))
                return tfds.core.DatasetInfo(
                    builder=self, features=tfds.features.FeaturesDict({"image": image, "label": label})
                )

            def _split_generators(self, dl_manager):
                return {name: _examples(records) for name, records in splits.items()}

            def _generate_examples(self):  # abstract in TFDS, which takes the generators above
                raise NotImplementedError

    builder = Animals(data_dir=folder, file_format="array_record")
    builder.download_and_prepare()
    return Path(builder.data_path)


def _examples(records: Sequence[tuple[np.ndarray, int]]):
    for index, (pixels, label) in enumerate(records):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        yield index, {"image": io.BytesIO(file.getvalue()), "label": label}
