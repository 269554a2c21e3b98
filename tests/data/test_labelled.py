"""Folders of classes: which pictures, which labels, and what is said of folders laid out otherwise."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sparseshape_jax.data.labelled import Labelled, open_labelled
from sparseshape_jax.errors import InputError


def draw(folder: Path, *names: str) -> None:
    """Pictures, each of another grey level."""
    for level, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 4), (level,) * 3).save(folder / name)


def contents(data: Labelled) -> list[tuple[str, str]]:
    """Class and file name of every picture."""
    return [(data.classes[label], Path(data.describe(i)).name) for i, label in enumerate(data.labels)]


@pytest.fixture
def animals(tmp_path) -> Path:
    draw(tmp_path, "train/owl/c.png", "train/cat/b.png", "train/cat/a.PNG", "train/dog/deeper/d.jpg", "val/cat/e.png")
    draw(tmp_path, "train/.cache/hidden.png", "train/cat/.hidden.png")
    (tmp_path / "train" / "cat" / "notes.txt").touch()
    (tmp_path / "train" / "labels.csv").touch()
    return tmp_path


def refused(because: str, source: object, split: str = "train", *args: object, **kwargs: object) -> None:
    with pytest.raises(InputError) as caught:
        open_labelled(str(source), split, *args, **kwargs)  # type: ignore[arg-type]
    assert because in str(caught.value)
    assert "\n" not in str(caught.value)


class TestFolder:
    def test_classes_are_the_sorted_folders(self, animals):
        data = open_labelled(str(animals), "train")
        assert data.classes == ("cat", "dog", "owl")
        assert contents(data) == [("cat", "a.PNG"), ("cat", "b.png"), ("dog", "d.jpg"), ("owl", "c.png")]
        assert data.labels.dtype == np.int32
        assert len(data) == 4
        assert data.name == str(animals / "train")

    def test_pictures(self, animals):
        data = open_labelled(str(animals), "train")
        assert data.picture(1).mode == "RGB"
        np.testing.assert_array_equal(data.picture(1), np.ones((4, 6, 3)))
        picture, label = data.example(3)
        assert (np.asarray(picture) == 0).all()
        assert label == 2
        assert isinstance(label, int)

    def test_without_a_split(self, animals):
        assert contents(open_labelled(str(animals / "train"), "")) == contents(open_labelled(str(animals), "train"))

    def test_links_are_followed(self, animals):
        (animals / "subset" / "all").mkdir(parents=True)
        for name in ("cat", "owl"):
            (animals / "subset" / "all" / name).symlink_to(animals / "train" / name)
        assert contents(open_labelled(str(animals / "subset"), "all")) == [
            ("cat", "a.PNG"),
            ("cat", "b.png"),
            ("owl", "c.png"),
        ]

    def test_a_subset_keeps_the_order_given(self, animals):
        data = open_labelled(str(animals), "train", ["owl", "cat"])
        assert data.classes == ("owl", "cat")
        assert contents(data) == [("owl", "c.png"), ("cat", "a.PNG"), ("cat", "b.png")]
        assert data.labels.tolist() == [0, 1, 1]

    def test_training_classes_elsewhere(self, animals):
        """A further evaluation folder: labels as in training, other classes left out, some may have no pictures."""
        draw(animals, "stylised/zebra/z.png")
        draw(animals, "stylised/owl/o.png")
        data = open_labelled(str(animals / "stylised"), "", ("cat", "dog", "owl"), allow_missing=True)
        assert data.classes == ("cat", "dog", "owl")
        assert contents(data) == [("owl", "o.png")]
        assert data.labels.tolist() == [2]

    def test_cifar(self, reference_data):
        data = open_labelled(str(reference_data / "data" / "cifar10"), "train")
        assert len(data) == 5000
        assert np.bincount(data.labels).tolist() == [500] * 10
        assert data.classes[:3] == ("airplane", "automobile", "bird")
        assert data.picture(4999).size == (32, 32)


class TestBadFolders:
    def test_missing(self, tmp_path):
        refused(f"there is no folder {tmp_path / 'none'}", tmp_path / "none")

    def test_split_missing(self, animals):
        refused("has no folder 'test'", animals, "test")
        refused("its folders: train, val", animals, "test")

    def test_split_missing_from_an_empty_folder(self, tmp_path):
        refused("its folders: none", tmp_path, "train")

    def test_no_class_folders(self, tmp_path):
        (tmp_path / "train").mkdir()
        refused(f"no class folders in {tmp_path / 'train'}", tmp_path)

    def test_empty_class_folder(self, animals):
        (animals / "train" / "eel").mkdir()
        (animals / "train" / "eel" / "notes.txt").touch()
        refused(f"the class folder {animals / 'train' / 'eel'} has no images", animals)
        open_labelled(str(animals), "train", ["cat", "dog"])  # it is not one of these

    def test_one_class_only(self, animals):
        refused("has one class only, 'cat'", animals, "val")
        refused("has one class only, 'owl'", animals, "train", ["owl"])

    def test_pictures_in_no_class_folder(self, animals):
        draw(animals, "train/loose.png")
        refused(f"{animals / 'train' / 'loose.png'} is in no class folder", animals)

    def test_unknown_class(self, animals):
        refused("has no class lynx, yak; it has cat, dog, owl", animals, "train", ["lynx", "cat", "yak"])

    def test_none_of_the_training_classes(self, animals):
        refused(
            "has none of the classes lynx, yak; it has cat, dog, owl",
            animals,
            "train",
            ["lynx", "yak"],
            allow_missing=True,
        )

    def test_many_classes_are_not_all_listed(self, tmp_path):
        draw(tmp_path, *(f"train/{index:03d}/a.png" for index in range(30)))
        refused("018, 019, … (30 in all)", tmp_path, "train", ["cat"])

    def test_same_class_twice(self, animals):
        refused("classes names 'cat' more than once", animals, "train", ["cat", "dog", "cat"])

    def test_undecodable_picture(self, animals):
        data = open_labelled(str(animals), "train")
        (animals / "train" / "cat" / "b.png").write_text("not a picture")
        with pytest.raises(InputError, match=re.escape(str(animals / "train" / "cat" / "b.png"))):
            data.picture(1)
