"""Data sets of TFDS, as TFDS itself writes them: its own reader is the oracle."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from support.tfds import import_tfds, write_data_set

from sparseshape_jax.data.images import generator
from sparseshape_jax.data.open import open_images, open_labeled
from sparseshape_jax.errors import InputError

NAMES = ["cat", "dog", "owl"]


@pytest.fixture(scope="module")
def tfds() -> ModuleType:
    return import_tfds()


@pytest.fixture(scope="module")
def prepared(tfds, tmp_path_factory) -> Path:
    """A data set of three classes; its folder."""

    def noise(number: int, seed: int) -> list[tuple[np.ndarray, int]]:
        generators = [np.random.default_rng(seed + index) for index in range(number)]
        return [
            (rng.integers(0, 256, (12 + index, 10, 3), dtype=np.uint8), index % 3)
            for index, rng in enumerate(generators)
        ]

    splits = {"train": noise(11, 0), "validation": noise(4, 100)}
    return write_data_set(tmp_path_factory.mktemp("tfds"), NAMES, splits)


@pytest.fixture(scope="module")
def records(tfds, prepared) -> list[dict]:
    return list(tfds.builder_from_directory(prepared).as_data_source("train"))


def test_equals_its_own_reader(prepared, records):
    data = open_labeled(f"tfds:{prepared}", "train")
    assert data.classes == tuple(NAMES)
    assert len(data) == len(records) == 11
    assert data.labels.dtype == np.int32
    assert data.labels.tolist() == [record["label"] for record in records]
    for index, record in enumerate(records):
        image, label = data.example(index)
        np.testing.assert_array_equal(image, record["image"])
        np.testing.assert_array_equal(data.image(index), record["image"])
        assert label == record["label"]
    assert data.describe(7) == f"record 7 of tfds:{prepared}/train"


def test_subset_of_classes_in_the_order_given(prepared, records):
    data = open_labeled(f"tfds:{prepared}", "train", ["owl", "cat"])
    kept = [(index, record) for index, record in enumerate(records) if record["label"] != 1]
    assert data.classes == ("owl", "cat")
    assert data.labels.tolist() == [{2: 0, 0: 1}[record["label"]] for _, record in kept]
    for position, (index, record) in enumerate(kept):
        image, label = data.example(position)
        np.testing.assert_array_equal(image, record["image"])
        assert label == data.labels[position]
        assert data.describe(position).startswith(f"record {index} of")


def test_training_classes_elsewhere(prepared):
    data = open_labeled(f"tfds:{prepared}", "validation", ["lynx", "dog", "cat"], allow_missing=True)
    assert data.classes == ("lynx", "dog", "cat")
    assert set(data.labels.tolist()) == {1, 2}


def test_part_of_a_split(prepared):
    assert len(open_labeled(f"tfds:{prepared}", "train[:5]")) == 5


def test_the_split_may_be_part_of_the_name(prepared, records):
    source = f"tfds:{prepared}/train"
    data, images = open_labeled(source), open_images(source)
    assert data.name == images.name == source
    assert data.labels.tolist() == [record["label"] for record in records]
    assert data.classes == tuple(NAMES)
    assert len(images) == 11
    for index, record in enumerate(records):
        np.testing.assert_array_equal(images.image(index), record["image"])
    assert len(open_images(f"tfds:{prepared}/validation")) == 4
    assert len(open_images(f"tfds:{prepared}/train[:5]")) == 5


def test_only_these_classes(prepared, records):
    """As for weights: others are refused, and some may be missing."""
    source = f"tfds:{prepared}/train"
    data = open_labeled(source, None, ["owl", "lynx", "dog", "cat"], allow_missing=True, only_these=True)
    assert data.classes == ("owl", "lynx", "dog", "cat")
    assert data.labels.tolist() == [{0: 3, 1: 2, 2: 0}[record["label"]] for record in records]
    because = r"holds cat, owl, not among the 2 classes that the weights know \(dog, lynx\)"
    with pytest.raises(InputError, match=because):
        open_labeled(source, None, ["dog", "lynx"], allow_missing=True, only_these=True)


def test_a_record_has_one_name_in_the_whole_set_and_in_part_of_it(prepared, records):
    whole, part = open_labeled(f"tfds:{prepared}/train"), open_labeled(f"tfds:{prepared}/train", None, ["owl", "cat"])
    kept = [index for index, record in enumerate(records) if record["label"] != 1]
    assert [whole.key(index) for index in range(11)] == [str(index) for index in range(11)]
    assert [part.key(index) for index in range(len(part))] == [str(index) for index in kept]
    assert generator(whole, kept[2], 1).random() == generator(part, 2, 1).random()


def test_signature_tells_sets_apart(prepared):
    opened = [open_labeled(f"tfds:{prepared}", split) for split in ("train", "train", "validation", "train[:5]")]
    opened += [open_labeled(f"tfds:{prepared}", "train", chosen) for chosen in (["cat", "dog"], ["dog", "cat"])]
    first, again, *others = (data.signature() for data in opened)
    assert first == again
    assert len({first, *others}) == 5


def refused(because: str, source: str, split: str = "train", classes: list[str] | None = None) -> None:
    with pytest.raises(InputError) as caught:
        open_labeled(source, split, classes)
    assert because in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_splits_and_classes(prepared):
    refused("has no split 'val'", f"tfds:{prepared}", "val")
    refused("it has train, validation", f"tfds:{prepared}", "val")
    refused("is read by split", f"tfds:{prepared}", "")
    refused("has no class yak; it has cat, dog, owl", f"tfds:{prepared}", "train", ["cat", "yak"])


def test_folder_of_no_data_set(tfds, tmp_path):
    refused(f"{tmp_path} has no dataset_info.json", f"tfds:{tmp_path}")


def test_tfrecord_says_how_to_convert(prepared, tmp_path):
    """Such a folder as TFDS writes by default, save for the records: writing them takes TensorFlow."""
    for path in prepared.iterdir():
        (tmp_path / path.name.replace("array_record", "tfrecord")).write_bytes(path.read_bytes())
    info = json.loads((tmp_path / "dataset_info.json").read_text()) | {"fileFormat": "tfrecord"}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    command = f"tfds convert_format --dataset_version_dir={tmp_path} --out_file_format=array_record"
    refused(command, f"tfds:{tmp_path}")


def test_not_for_classification(prepared, tmp_path):
    for path in prepared.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    features = (tmp_path / "features.json").read_text()
    (tmp_path / "features.json").write_text(features.replace('"label"', '"answer"'))
    refused("its records have answer, image", f"tfds:{tmp_path}")


def test_damaged_record(prepared, monkeypatch):
    data = open_labeled(f"tfds:{prepared}", "train")
    record = data._records[3] | {"image": b"not an image"}
    monkeypatch.setattr(data, "_records", {3: record})
    with pytest.raises(InputError, match=r"^record 3 of tfds:.*/train is not an image"):
        data.image(3)


SCRIPT = """
import sys
from sparseshape_jax.data.open import open_labeled
from sparseshape_jax.errors import InputError
for source in sys.argv[1:]:
    try:
        data = open_labeled(source, "train")
        print(data.name, len(data), data.classes)
    except InputError as error:
        print(error)
print("tensorflow" in sys.modules)
"""


def test_by_name_without_tensorflow(prepared):
    """TFDS reads TFDS_DATA_DIR when it is imported, so this runs in a process of its own."""
    sources = ["tfds:animals", "tfds:animals:1.0.0", "tfds:cifar10", "tfds:cifar10:0.0.1", "tfds:no_such_data"]
    lines = subprocess.run(
        [sys.executable, "-c", SCRIPT, *sources],
        env=os.environ | {"TFDS_DATA_DIR": str(prepared.parents[1])},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert len(lines) == 6
    assert lines[0] == "tfds:animals/train 11 ('cat', 'dog', 'owl')"
    assert lines[1] == "tfds:animals:1.0.0/train 11 ('cat', 'dog', 'owl')"
    assert lines[2].startswith(f"cifar10 is not prepared in {prepared.parents[1]}")
    assert lines[2].endswith("tfds build cifar10 --file_format=array_record")
    assert "cannot find cifar10:0.0.1" in lines[3]
    assert "cannot find no_such_data" in lines[4]
    assert lines[5] == "False"


def test_package_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    refused('pip install "sparseshape-jax[tfds]"', "tfds:cifar10")
