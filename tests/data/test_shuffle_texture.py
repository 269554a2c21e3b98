"""Texture-shuffled copies: which pixels may change and how, and that a run can be stopped and repeated."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from sparseshape_jax.data.shuffle_texture import main, shuffle_texture


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path) -> Path:
    for seed, name in enumerate(("cat/a.png", "cat/b.bmp", "dog/deeper/a.png", "c.png")):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(10, 13, seed)).save(tmp_path / "images" / name)
    return tmp_path


def shuffle(folder: Path, *arguments: str, out: str = "out") -> int:
    return main(["--images", str(folder / "images"), "--out", str(folder / out), *arguments])


def copies(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.png"))}


class TestShuffle:
    @pytest.mark.parametrize("patch", [1, 3, 4, 50])
    def test_every_block_has_one_permutation_of_the_channels(self, patch):
        image = noise(10, 13)
        shuffled = shuffle_texture(image, patch, np.random.default_rng(1))
        assert shuffled.dtype == np.uint8
        assert shuffled.shape == image.shape
        for top in range(0, 10, patch):
            for left in range(0, 13, patch):
                block = np.s_[top : top + patch, left : left + patch]
                orders = [
                    order
                    for order in ([0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0])
                    if np.array_equal(shuffled[block], image[block][..., order])
                ]
                assert orders

    def test_all_six_permutations_are_drawn_alike(self):
        image = np.broadcast_to(np.array([1, 2, 3], np.uint8), (60, 60, 3))
        shuffled = shuffle_texture(image, 1, np.random.default_rng(0))
        counts = Counter(map(tuple, shuffled.reshape(-1, 3).tolist()))
        assert len(counts) == 6
        assert all(500 < count < 700 for count in counts.values())

    def test_neighbouring_blocks_are_independent(self):
        """Six permutations on two blocks: 36 pairs, all drawn alike."""
        image = np.broadcast_to(np.array([1, 2, 3], np.uint8), (200, 72, 3))
        shuffled = shuffle_texture(image, 1, np.random.default_rng(0)).reshape(-1, 2, 3)
        counts = Counter(tuple(pair.ravel().tolist()) for pair in shuffled)
        assert len(counts) == 36
        assert all(130 < count < 270 for count in counts.values())

    def test_grey_stays(self):
        image = np.repeat(noise(9, 9)[..., :1], 3, axis=-1)
        np.testing.assert_array_equal(shuffle_texture(image, 4, np.random.default_rng(0)), image)


class TestCommand:
    def test_same_paths_as_png(self, folder):
        assert shuffle(folder) == 0
        assert list(copies(folder / "out")) == ["c.png", "cat/a.png", "cat/b.png", "dog/deeper/a.png"]
        made = np.asarray(Image.open(folder / "out" / "cat" / "b.png"))
        original = noise(10, 13, 1)
        np.testing.assert_array_equal(np.sort(made, axis=-1), np.sort(original, axis=-1))
        assert (made != original).any()
        config = yaml.safe_load((folder / "out" / "config.yaml").read_text())
        assert config == {
            "images": str(folder / "images"),
            "out": str(folder / "out"),
            "patch": 4,
            "seed": 0,
        }

    def test_same_seed_same_copies_and_other_seeds_and_paths_others(self, folder):
        Image.fromarray(noise(10, 13, 0)).save(folder / "images" / "cat" / "twin.png")  # of cat/a.png
        for out, seed in (("one", "3"), ("two", "3"), ("three", "4")):
            assert shuffle(folder, "--seed", seed, out=out) == 0
        one, two, three = (copies(folder / out) for out in ("one", "two", "three"))
        assert one == two
        assert all(one[name] != three[name] for name in one)
        assert one["cat/a.png"] != one["cat/twin.png"]

    def test_a_copy_does_not_depend_on_the_other_pictures(self, folder):
        assert shuffle(folder, out="all") == 0
        (folder / "images" / "c.png").unlink()
        (folder / "images" / "cat" / "a.png").unlink()
        assert shuffle(folder, out="some") == 0
        assert copies(folder / "some").items() < copies(folder / "all").items()

    def test_run_again_makes_only_what_is_missing(self, folder, capsys):
        assert shuffle(folder) == 0
        before = copies(folder / "out")
        (folder / "out" / "c.png").unlink()
        kept = folder / "out" / "cat" / "a.png"
        stamp = kept.stat().st_mtime_ns
        assert shuffle(folder) == 0
        assert copies(folder / "out") == before
        assert kept.stat().st_mtime_ns == stamp
        assert "4 pictures, 1 of them new" in capsys.readouterr().out


class TestBadInput:
    def refused(self, capsys: pytest.CaptureFixture, because: str, folder: Path, *arguments: str, out: str = "out"):
        assert shuffle(folder, *arguments, out=out) == 2
        last = capsys.readouterr().err.strip().splitlines()[-1]
        assert re.match("error: ", last)
        assert because in last

    @pytest.mark.parametrize(
        ("arguments", "because"), [(("--patch", "0"), "patch is 0"), (("--seed", "-1"), "seed is -1")]
    )
    def test_settings(self, folder, capsys, arguments, because):
        self.refused(capsys, because, folder, *arguments)

    def test_no_folder(self, tmp_path, capsys):
        self.refused(capsys, "there is no folder", tmp_path)

    @pytest.mark.parametrize("out", ["images", "images/shuffled"])
    def test_out_among_the_pictures(self, folder, capsys, out):
        self.refused(capsys, "is inside", folder, out=out)

    def test_out_holds_copies_made_otherwise(self, folder, capsys):
        assert shuffle(folder) == 0
        before = copies(folder / "out")
        self.refused(capsys, "made with other settings", folder, "--patch", "5")
        assert copies(folder / "out") == before

    def test_names_that_would_collide(self, folder, capsys):
        Image.fromarray(noise(4, 4)).save(folder / "images" / "cat" / "a.jpg")
        self.refused(capsys, "cat/a.jpg and cat/a.png", folder)

    def test_damaged_picture(self, folder, capsys):
        (folder / "images" / "dog" / "deeper" / "a.png").write_text("not a picture")
        self.refused(capsys, "dog/deeper/a.png is not an image", folder)
        assert not list((folder / "out").rglob("*.partial*"))

    def test_unwritable(self, folder, capsys):
        (folder / "file").touch()
        self.refused(capsys, "cannot write to the output folder", folder, out="file/out")
