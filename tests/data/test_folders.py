"""Which files of a folder are images, and which ImageNet class their names give."""

import re
from pathlib import Path

import pytest

from sparseshape_jax.data.folders import ImageNetFolder, image_files, wordnet_ids
from sparseshape_jax.errors import InputError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in image_files(folder)]


class TestImageFiles:
    def test_all_depths_and_cases_in_order(self, tmp_path):
        touch(tmp_path, "b.PNG", "a.jpg", "c/d/e.JpEg", "c/a.tiff", "notes.txt", "c/labels.csv", "png")
        assert found(tmp_path) == ["a.jpg", "b.PNG", "c/a.tiff", "c/d/e.JpEg"]

    def test_hidden_files_and_folders_do_not_count(self, tmp_path):
        touch(tmp_path, ".a.png", "._b.png", ".cache/c.png", "d/.thumbnails/e.png", "d/f.png")
        assert found(tmp_path) == ["d/f.png"]

    def test_a_hidden_folder_may_be_asked_for(self, tmp_path):
        touch(tmp_path, ".data/a.png")
        assert found(tmp_path / ".data") == ["a.png"]

    def test_folders_named_like_images_are_no_images(self, tmp_path):
        touch(tmp_path, "holiday.png/a.png")
        assert found(tmp_path) == ["holiday.png/a.png"]

    def test_links_to_folders_are_followed(self, tmp_path):
        touch(tmp_path, "all/tench/a.png", "all/goldfish/b.png")
        (tmp_path / "subset").mkdir()
        (tmp_path / "subset" / "tench").symlink_to(tmp_path / "all" / "tench")
        assert found(tmp_path / "subset") == ["tench/a.png"]

    def test_broken_links_count_so_that_reading_them_names_them(self, tmp_path):
        (tmp_path / "a.png").symlink_to(tmp_path / "gone.png")
        assert found(tmp_path) == ["a.png"]

    def test_missing(self, tmp_path):
        with pytest.raises(InputError, match=re.escape(f"there is no folder {tmp_path / 'none'}")):
            image_files(tmp_path / "none")

    def test_file_instead(self, tmp_path):
        touch(tmp_path, "a.png")
        with pytest.raises(InputError, match="is not a folder"):
            image_files(tmp_path / "a.png")

    def test_no_images(self, tmp_path):
        touch(tmp_path, "readme.txt", ".hidden.png", "sub/notes.md")
        with pytest.raises(InputError, match=re.escape(f"there are no images in {tmp_path}")):
            image_files(tmp_path)


class TestWordnetIds:
    def test_a_thousand_sorted_ids(self):
        ids = wordnet_ids()
        assert len(set(ids)) == 1000
        assert list(ids) == sorted(ids)
        assert all(re.fullmatch(r"n\d{8}", wordnet_id) for wordnet_id in ids)

    def test_agree_with_the_sample_images(self, reference_data):
        """Their names say both: `0002_n01484850_great_white_shark.jpg`."""
        names = [path.name.split("_") for path in (reference_data / "data" / "imagenet-samples").iterdir()]
        assert len(names) == 500
        for index, wordnet_id, *_ in names:
            assert wordnet_ids()[int(index)] == wordnet_id


class TestImageNetFolder:
    def test_folders_by_wordnet_id(self, tmp_path):
        touch(tmp_path, "n01440764/b.JPEG", "n15075141/c.JPEG", "n01443537_goldfish/deeper/a.JPEG")
        images = ImageNetFolder(tmp_path)
        assert [path.name for path in images.paths] == ["b.JPEG", "a.JPEG", "c.JPEG"]
        assert images.labels.tolist() == [0, 1, 999]

    def test_folders_by_class_index(self, tmp_path):
        touch(tmp_path, "7/a.png", "0000_tench/a.png", "999-toilet tissue/a.png", "042/n01443537.png")
        images = ImageNetFolder(tmp_path)
        assert [path.parent.name for path in images.paths] == ["0000_tench", "042", "7", "999-toilet tissue"]
        assert images.labels.tolist() == [0, 42, 7, 999]

    def test_images_by_their_own_names(self, tmp_path):
        touch(tmp_path, "n01443537_17.JPEG", "0002_n01484850_great_white_shark.jpg", "5.png")
        images = ImageNetFolder(tmp_path)
        assert [path.name for path in images.paths] == [
            "0002_n01484850_great_white_shark.jpg",
            "5.png",
            "n01443537_17.JPEG",
        ]
        assert images.labels.tolist() == [2, 5, 1]

    def test_sample_images(self, reference_data):
        images = ImageNetFolder(reference_data / "data" / "imagenet-samples")
        assert images.labels.tolist() == [int(path.name[:4]) for path in images.paths] == list(range(0, 1000, 2))

    @pytest.mark.parametrize(
        "name", ["tench/a.png", "n00000000/a.png", "n014407640/a.png", "1000/a.png", "val/n01440764/a.png", "a.png"]
    )
    def test_a_name_without_a_class(self, tmp_path, name):
        touch(tmp_path, "n01440764/a.png", name)
        with pytest.raises(InputError, match=re.escape(f"no ImageNet class can be read from {name.split('/')[0]!r}")):
            ImageNetFolder(tmp_path)

    def test_missing_and_empty(self, tmp_path):
        with pytest.raises(InputError, match="there is no folder"):
            ImageNetFolder(tmp_path / "none")
        with pytest.raises(InputError, match="there are no images"):
            ImageNetFolder(tmp_path)
