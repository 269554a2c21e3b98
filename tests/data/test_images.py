"""Images in folders: which images, which labels, and what is said of folders laid out otherwise."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sparseshape_jax.data.folders import ClassFolder, Folder, wordnet_ids
from sparseshape_jax.data.images import Images, LabeledImages, generator
from sparseshape_jax.data.open import open_images, open_labeled
from sparseshape_jax.errors import InputError


def draw(folder: Path, *names: str) -> None:
    """Images, each of another gray level."""
    for level, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 4), (level,) * 3).save(folder / name)


def contents(data: LabeledImages) -> list[tuple[str, str]]:
    """Class and file name of every image."""
    return [(data.classes[label], Path(data.describe(i)).name) for i, label in enumerate(data.labels)]


@pytest.fixture
def animals(tmp_path) -> Path:
    draw(tmp_path, "train/owl/c.png", "train/cat/b.png", "train/cat/a.PNG", "train/dog/deeper/d.jpg", "val/cat/e.png")
    draw(tmp_path, "train/.cache/hidden.png", "train/cat/.hidden.png")
    (tmp_path / "train" / "cat" / "notes.txt").touch()
    (tmp_path / "train" / "labels.csv").touch()
    return tmp_path


def refused(because: str, source: object, split: str | None = "train", *args: object, **kwargs: object) -> None:
    with pytest.raises(InputError) as caught:
        open_labeled(str(source), split, *args, **kwargs)  # type: ignore[arg-type]
    assert because in str(caught.value)
    assert "\n" not in str(caught.value)


class TestFolder:
    def test_classes_are_the_sorted_folders(self, animals):
        data = open_labeled(str(animals), "train")
        assert data.classes == ("cat", "dog", "owl")
        assert contents(data) == [("cat", "a.PNG"), ("cat", "b.png"), ("dog", "d.jpg"), ("owl", "c.png")]
        assert data.labels.dtype == np.int32
        assert len(data) == 4
        assert data.name == str(animals / "train")

    def test_images(self, animals):
        data = open_labeled(str(animals), "train")
        assert data.image(1).mode == "RGB"
        np.testing.assert_array_equal(data.image(1), np.ones((4, 6, 3)))
        image, label = data.example(3)
        assert (np.asarray(image) == 0).all()
        assert label == 2
        assert isinstance(label, int)

    def test_without_a_split(self, animals):
        assert contents(open_labeled(str(animals / "train"))) == contents(open_labeled(str(animals), "train"))

    def test_links_are_followed(self, animals):
        (animals / "subset" / "all").mkdir(parents=True)
        for name in ("cat", "owl"):
            (animals / "subset" / "all" / name).symlink_to(animals / "train" / name)
        assert contents(open_labeled(str(animals / "subset"), "all")) == [
            ("cat", "a.PNG"),
            ("cat", "b.png"),
            ("owl", "c.png"),
        ]

    def test_a_subset_keeps_the_order_given(self, animals):
        data = open_labeled(str(animals), "train", ["owl", "cat"])
        assert data.classes == ("owl", "cat")
        assert contents(data) == [("owl", "c.png"), ("cat", "a.PNG"), ("cat", "b.png")]
        assert data.labels.tolist() == [0, 1, 1]

    def test_training_classes_elsewhere(self, animals):
        """A further evaluation folder: labels as in training, other classes left out, some may have no images."""
        draw(animals, "stylized/zebra/z.png")
        draw(animals, "stylized/owl/o.png")
        data = open_labeled(str(animals / "stylized"), None, ("cat", "dog", "owl"), allow_missing=True)
        assert data.classes == ("cat", "dog", "owl")
        assert contents(data) == [("owl", "o.png")]
        assert data.labels.tolist() == [2]

    def test_cifar(self, reference_data):
        data = open_labeled(str(reference_data / "data" / "cifar10"), "train")
        assert len(data) == 5000
        assert np.bincount(data.labels).tolist() == [500] * 10
        assert data.classes[:3] == ("airplane", "automobile", "bird")
        assert data.image(4999).size == (32, 32)


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
        open_labeled(str(animals), "train", ["cat", "dog"])  # it is not one of these

    def test_one_class_only(self, animals):
        refused("has one class only, 'cat'", animals, "val")
        refused("has one class only, 'owl'", animals, "train", ["owl"])

    def test_images_in_no_class_folder(self, animals):
        draw(animals, "train/loose.png")
        refused(f"{animals / 'train' / 'loose.png'} is not in a class folder", animals)

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

    def test_undecodable_image(self, animals):
        data = open_labeled(str(animals), "train")
        (animals / "train" / "cat" / "b.png").write_text("not an image")
        with pytest.raises(InputError, match=re.escape(str(animals / "train" / "cat" / "b.png"))):
            data.image(1)


class TestOnlyTheseClasses:
    """For weights: images of classes that they do not know are refused, not left out."""

    def test_labels_are_those_of_the_weights(self, animals):
        data = open_labeled(str(animals), "train", ["owl", "lynx", "dog", "cat"], allow_missing=True, only_these=True)
        assert data.classes == ("owl", "lynx", "dog", "cat")
        assert contents(data) == [("owl", "c.png"), ("dog", "d.jpg"), ("cat", "a.PNG"), ("cat", "b.png")]
        assert data.labels.tolist() == [0, 2, 3, 3]

    def test_others_are_refused(self, animals):
        refused(
            f"{animals / 'train'} holds dog, owl, not among the 2 classes that the weights know (cat, lynx)",
            animals,
            "train",
            ["cat", "lynx"],
            allow_missing=True,
            only_these=True,
        )

    def test_imagenet_may_be_named_by_number(self, tmp_path):
        draw(tmp_path, "0000_tench/a.png", "999/b.png", "n01443537/c.png")
        data = open_labeled(str(tmp_path), None, wordnet_ids(), allow_missing=True, only_these=True)
        assert data.classes == wordnet_ids()
        assert data.labels.tolist() == [0, 999, 1]
        assert data.labels.dtype == np.int32


class TestOpenImages:
    """Where labels do not matter."""

    def test_folder_at_any_depth(self, animals):
        images = open_images(str(animals))
        assert [images.key(index) for index in range(len(images))] == [
            "train/cat/a.PNG",
            "train/cat/b.png",
            "train/dog/deeper/d.jpg",
            "train/owl/c.png",
            "val/cat/e.png",
        ]
        assert images.name == str(animals)
        assert images.describe(2) == str(animals / "train/dog/deeper/d.jpg")
        np.testing.assert_array_equal(images.image(1), np.ones((4, 6, 3)))

    @pytest.mark.parametrize("name", ["none", "empty"])
    def test_missing_and_empty(self, tmp_path, name):
        (tmp_path / "empty").mkdir()
        with pytest.raises(InputError, match=r"there is no folder|there are no images"):
            open_images(str(tmp_path / name))

    @pytest.mark.parametrize("source", ["tfds:cifar10", "tfds:"])
    def test_a_data_set_without_a_split(self, source):
        for opened in (open_images, open_labeled):
            with pytest.raises(InputError, match=rf"^{source} names no split; write tfds:NAME/split") as caught:
                opened(source)
            assert "\n" not in str(caught.value)


class TestSignature:
    """Changes whenever the set does, as far as files tell without being read."""

    def test_is_the_same_for_the_same_files(self, animals):
        assert Folder(animals).signature() == Folder(animals).signature()
        assert re.fullmatch("[0-9a-f]{64}", Folder(animals).signature())

    @pytest.mark.parametrize("kind", [Folder, lambda root: ClassFolder(root / "train")], ids=["flat", "classes"])
    def test_a_replaced_file_changes_it(self, animals, kind):
        path = animals / "train" / "cat" / "b.png"
        before = kind(animals).signature()
        content, times = path.read_bytes(), path.stat()
        path.write_bytes(content)  # the same, written later
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
        later = kind(animals).signature()
        path.write_bytes(content + b" ")  # another size at the same time
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        larger = kind(animals).signature()
        assert len({before, later, larger}) == 3
        path.write_bytes(content)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert kind(animals).signature() == before

    def test_a_renamed_added_or_missing_file_changes_it(self, animals):
        path, signatures = animals / "train" / "cat" / "b.png", [Folder(animals).signature()]
        path.rename(path.with_name("z.png"))
        signatures.append(Folder(animals).signature())
        draw(animals, "train/cat/y.png")
        signatures.append(Folder(animals).signature())
        (animals / "train" / "owl" / "c.png").unlink()
        signatures.append(Folder(animals).signature())
        assert len(set(signatures)) == 4

    def test_a_broken_link_is_a_file_like_others(self, animals):
        before = Folder(animals).signature()
        (animals / "val" / "cat" / "f.png").symlink_to(animals / "gone.png")
        broken = Folder(animals).signature()
        draw(animals, "gone.png")
        (animals / "gone.png").rename(animals / "gone.txt")
        (animals / "val" / "cat" / "f.png").unlink()
        (animals / "val" / "cat" / "f.png").symlink_to(animals / "gone.txt")
        assert len({before, broken, Folder(animals).signature()}) == 3

    def test_does_not_depend_on_where_the_folder_is(self, animals):
        before = Folder(animals / "train").signature()
        (animals / "train").rename(animals / "elsewhere")
        assert Folder(animals / "elsewhere").signature() == before


class TestGenerator:
    class Named(Images):
        def __init__(self, *names: str) -> None:
            self.names = names

        def __len__(self) -> int:
            return len(self.names)

        def key(self, index: int) -> str:
            return self.names[index]

    def draws(self, names: tuple[str, ...], index: int, seed: int) -> tuple[int, ...]:
        return tuple(generator(self.Named(*names), index, seed).integers(0, 2**32, 4).tolist())

    def test_depends_on_name_and_seed_alone(self):
        assert self.draws(("a", "b", "c"), 2, 7) == self.draws(("c",), 0, 7)
        assert len({self.draws((name,), 0, seed) for name in ("a", "b", "a/b") for seed in (0, 1, 2**40)}) == 9

    def test_names_that_are_not_unicode(self):
        assert self.draws(("caf\udce9.png",), 0, 0) != self.draws(("café.png",), 0, 0)
