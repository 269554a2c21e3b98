"""`synthesize.py stimuli`: what it writes, that a run can be stopped and repeated, and what it refuses."""

import hashlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from PIL import Image
from support.commands import command, results, rows, table
from support.images import noise

from sparseshape_jax.data.decoding import read_image
from sparseshape_jax.data.images import Images
from sparseshape_jax.stimuli import sets
from sparseshape_jax.stimuli.stimulus_set import Stimulus, StimulusSet

Run = Callable[..., SimpleNamespace]


@pytest.fixture
def run(images, tmp_path, capsys) -> Run:
    """The command on the four images, from flags to what it printed."""
    script = command("synthesize.py", capsys)

    def run(*arguments: str, out: str = "out") -> SimpleNamespace:
        return script("stimuli", "--images", images, "--out", tmp_path / out, *arguments)

    return run


def contents(folder: Path) -> dict[str, bytes]:
    """All complete stimuli below a folder: no previews, and no files that are being written."""
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.png"))}
    return {
        name: path.read_bytes()
        for name, path in found.items()
        if not name.startswith("figures/") and not path.name.startswith(".")
    }


def manifest(folder: Path) -> list[dict[str, str]]:
    return table(folder / "manifest.csv")


class Offset(StimulusSet):
    """Images with a constant added to each, which is drawn up to the condition."""

    conditions = ("9", "99")

    def make(self, image: np.ndarray, condition: str, rng: np.random.Generator) -> np.ndarray:
        return image + rng.integers(1, int(condition), dtype=np.uint8)


class Numbered(Offset):
    """The same, in files that are named by the image's number."""

    def plan(self, name, images: Images, conditions, design) -> Iterator[Stimulus]:
        for condition in conditions:
            for index in range(len(images)):
                yield Stimulus(index, condition, PurePosixPath(name, f"{index}-{condition}.png"))


class Flattened(Offset):
    """Two conditions that would write the same files."""

    def plan(self, name, images: Images, conditions, design) -> Iterator[Stimulus]:
        for condition in conditions:
            for index in range(len(images)):
                yield Stimulus(index, condition, PurePosixPath(name, f"{index}.png"))


class TestFiles:
    def test_same_paths_as_png(self, run, images, tmp_path):
        assert run().status == 0
        out = tmp_path / "out"
        assert list(contents(out / "shuffled" / "4")) == ["c.png", "cat/a.png", "cat/b.png", "dog/deeper/a.png"]
        made = np.asarray(read_image(out / "shuffled" / "4" / "cat" / "b.png"))
        original = noise(10, 13, 1)
        np.testing.assert_array_equal(np.sort(made, axis=-1), np.sort(original, axis=-1))
        assert (made != original).any()
        config = yaml.safe_load((out / "config.yaml").read_text())
        assert config == {
            "images": str(images),
            "sets": ["shuffled"],
            "conditions": None,
            "design": "split",
            "per_class": None,
            "dry_run": False,
            "size": None,
            "seed": 0,
            "out": str(out),
        }
        assert sorted(path.name for path in out.iterdir()) == [
            "config.yaml",
            "figures",
            "manifest.csv",
            "results.json",
            "shuffled",
            "summary.csv",
        ]

    def test_manifest_and_rows(self, run, tmp_path):
        run("--conditions", "4", "2")
        out = tmp_path / "out"
        lines = manifest(out)
        assert list(lines[0]) == ["image", "set", "condition", "file", "drawn", "sha256"]
        assert [line["file"] for line in lines] == list(contents(out))
        for line in lines:
            assert line["sha256"] == hashlib.sha256((out / line["file"]).read_bytes()).hexdigest()
            assert line["file"] == f"shuffled/{line['condition']}/{Path(line['image']).with_suffix('.png')}"
            assert line["set"] == "shuffled"
        assert {line["image"] for line in lines} == {"c.png", "cat/a.png", "cat/b.bmp", "dog/deeper/a.png"}
        found = results(out)
        assert found["job"] == "synthesize stimuli"
        assert [(row["set"], row["condition"], row["files"]) for row in found["rows"]] == [
            ("shuffled", "4", 4),
            ("shuffled", "2", 4),
        ]
        assert table(out / "summary.csv") == [
            {"set": "shuffled", "condition": "4", "files": "4"},
            {"set": "shuffled", "condition": "2", "files": "4"},
        ]

    def test_conditions_differ(self, run, tmp_path):
        run("--conditions", "4", "2")
        made = contents(tmp_path / "out" / "shuffled")
        assert all(made[f"4/{name}"] != made[f"2/{name}"] for name in ("c.png", "cat/a.png"))

    def test_same_seed_same_files_and_other_seeds_and_paths_others(self, run, images, tmp_path):
        Image.fromarray(noise(10, 13, 0)).save(images / "cat" / "twin.png")  # of cat/a.png
        for out, seed in (("one", "3"), ("two", "3"), ("three", "4")):
            assert run("--seed", seed, out=out).status == 0
        one, two, three = (contents(tmp_path / out / "shuffled" / "4") for out in ("one", "two", "three"))
        assert one == two
        assert all(one[name] != three[name] for name in one)
        assert one["cat/a.png"] != one["cat/twin.png"]

    def test_a_file_does_not_depend_on_the_other_images(self, run, images, tmp_path):
        assert run(out="all").status == 0
        (images / "c.png").unlink()
        (images / "cat" / "a.png").unlink()
        assert run(out="some").status == 0
        assert contents(tmp_path / "some").items() < contents(tmp_path / "all").items()

    def test_images_may_be_resized_and_cropped_first(self, run, tmp_path):
        run("--size", "8")
        sizes = {read_image(path).size for path in (tmp_path / "out" / "shuffled").rglob("*.png")}
        assert sizes == {(8, 8)}

    def test_the_settings_can_be_given_again_as_a_file(self, run, tmp_path, capsys):
        run("--conditions", "4", "2", "--seed", "3")
        before, lines = contents(tmp_path / "out"), manifest(tmp_path / "out")
        next((tmp_path / "out" / "shuffled").rglob("*.png")).unlink()
        again = command("synthesize.py", capsys)("stimuli", "--config", tmp_path / "out" / "config.yaml")
        assert again.status == 0
        assert "8 stimuli, 1 of them new" in again.out
        assert contents(tmp_path / "out") == before
        assert manifest(tmp_path / "out") == lines


def test_help_names_every_set(capsys):
    """By hand, because settings import none of them."""
    text = " ".join(command("synthesize.py", capsys)("stimuli", "--help").out.split())
    assert "shuffled" in sets.names()
    for name in (*sets.names(), *sets.GROUPS):
        assert re.search(rf"\b{name}[ ,;(]", text), name


@pytest.mark.usefixtures("own_sets")
class TestOwnSets:
    def test_is_written_like_the_others(self, run, images, tmp_path):
        sets.register("offset", Offset())
        assert run("--sets", "offset").status == 0
        out = tmp_path / "out"
        assert len(contents(out / "offset" / "9")) == len(contents(out / "offset" / "99")) == 4
        original = np.asarray(read_image(images / "cat" / "b.bmp"))
        for condition in Offset.conditions:
            added = np.asarray(read_image(out / "offset" / condition / "cat" / "b.png")) - original
            assert len(np.unique(added)) == 1
            assert 0 < added[0, 0, 0] < int(condition)
        assert {(line["set"], line["condition"]) for line in manifest(out)} == {("offset", "9"), ("offset", "99")}

    def test_several_at_once(self, run, tmp_path):
        sets.register("offset", Offset())
        result = run("--sets", "shuffled", "offset")
        assert "12 stimuli, 12 of them new" in result.out
        assert [(row["set"], row["condition"]) for row in rows(tmp_path / "out")] == [
            ("shuffled", "4"),
            ("offset", "9"),
            ("offset", "99"),
        ]
        assert len(manifest(tmp_path / "out")) == 12

    def test_may_have_a_layout_of_its_own(self, run, images, tmp_path):
        sets.register("numbered", Numbered())
        run("--sets", "numbered")
        assert sorted(contents(tmp_path / "out" / "numbered")) == sorted(
            f"{index}-{condition}.png" for index in range(4) for condition in ("9", "99")
        )
        lines = {line["file"]: line["image"] for line in manifest(tmp_path / "out")}
        assert lines["numbered/2-9.png"] == "cat/b.bmp"

    def test_may_want_a_size(self, run, tmp_path):
        class Small(Offset):
            size = 8

        sets.register("small", Small())
        run("--sets", "small", "shuffled")
        out = tmp_path / "out"
        assert {read_image(path).size for path in (out / "small").rglob("*.png")} == {(8, 8)}
        assert {read_image(path).size for path in (out / "shuffled").rglob("*.png")} == {(13, 10)}
        run("--sets", "small", "--size", "9", out="larger")
        assert {read_image(path).size for path in (tmp_path / "larger" / "small").rglob("*.png")} == {(9, 9)}


class TestAgain:
    def test_makes_only_what_is_missing(self, run, tmp_path):
        assert run().status == 0
        out = tmp_path / "out"
        before, lines = contents(out), manifest(out)
        (out / "shuffled" / "4" / "c.png").unlink()
        kept = out / "shuffled" / "4" / "cat" / "a.png"
        stamp = kept.stat().st_mtime_ns
        again = run()
        assert again.status == 0
        assert contents(out) == before
        assert manifest(out) == lines
        assert kept.stat().st_mtime_ns == stamp
        assert "4 stimuli, 1 of them new" in again.out

    def test_new_images_are_added(self, run, images, tmp_path):
        run()
        before = contents(tmp_path / "out")
        Image.fromarray(noise(4, 4)).save(images / "z.png")
        assert "5 stimuli, 1 of them new" in run().out
        assert before.items() < contents(tmp_path / "out").items()
        assert len(manifest(tmp_path / "out")) == 5
        assert [row["files"] for row in rows(tmp_path / "out")] == [5]

    def test_other_conditions_and_sets_of_the_folder_stay(self, run, own_sets, tmp_path):
        """Files, rows and lines of the manifest, also where the other set has settings of its own."""
        sets.register("offset", Offset())
        run("--conditions", "4")
        first = manifest(tmp_path / "out")
        run("--conditions", "2")
        run("--sets", "offset", "--seed", "7")
        out = tmp_path / "out"
        assert [line for line in manifest(out) if line in first] == first
        assert len(manifest(out)) == len(contents(out)) == 16
        assert [line["file"] for line in manifest(out)] == list(contents(out))
        assert {(row["set"], row["condition"]) for row in rows(out)} == {
            ("shuffled", "4"),
            ("shuffled", "2"),
            ("offset", "9"),
            ("offset", "99"),
        }
        before = manifest(out)
        run("--conditions", "4")
        assert manifest(out) == before

    def test_killed_half_way(self, tmp_path):
        """Killed without a chance to tidy up, and given again: the same files and the same manifest."""
        for index in range(30):
            path = tmp_path / "images" / f"{index % 3}" / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise(6, 6, index)).save(path)

        def start(out: str) -> subprocess.Popen:
            arguments = ["stimuli", "--images", "images", "--sets", "slow", "--out", out]
            command = [sys.executable, "-W", "error", "-c", SLOW, *arguments]
            return subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        assert start("whole").wait(timeout=120) == 0
        process = start("out")
        deadline = time.monotonic() + 120
        while len(contents(tmp_path / "out" / "slow")) < 5:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        made = contents(tmp_path / "out")
        assert 5 <= len(made) < 60
        assert not (tmp_path / "out" / "manifest.csv").exists()
        assert start("out").wait(timeout=120) == 0
        whole, resumed = contents(tmp_path / "whole"), contents(tmp_path / "out")
        assert len(whole) == 60
        assert resumed == whole
        assert made.items() < whole.items()
        for name in ("manifest.csv", "summary.csv"):
            assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
        assert rows(tmp_path / "out") == rows(tmp_path / "whole")


SLOW = """
import sys, time
import numpy as np
from sparseshape_jax.cli import Job, main
from sparseshape_jax.stimuli import sets
from sparseshape_jax.stimuli.config import StimuliConfig
from sparseshape_jax.stimuli.stimulus_set import StimulusSet

class Slow(StimulusSet):
    conditions = ("1", "2")

    def make(self, image, condition, rng):
        time.sleep(0.05)
        return image + rng.integers(0, 256, image.shape, dtype=np.uint8) // np.uint8(condition)

sets.register("slow", Slow())
jobs = {"stimuli": Job(StimuliConfig, "sparseshape_jax.stimuli.write:run")}
raise SystemExit(main("", jobs, sys.argv[1:]))
"""


class TestBadInput:
    def refused(self, result: SimpleNamespace, because: str) -> None:
        assert result.status == 2
        last = result.err.strip().splitlines()[-1]
        assert re.match("error: ", last)
        assert because in last

    @pytest.mark.parametrize(
        ("arguments", "because"),
        [
            (("--conditions", "0"), "the set shuffled has no condition '0'"),
            (("--seed", "-1"), "seed is -1"),
            (("--size", "4"), "size is 4"),
            (("--sets", "crumpled"), "no set of stimuli called 'crumpled'; there are shuffled"),
            (("--sets", "shuffled", "shuffled"), "give at least one, each once"),
            (("--sets", "[]"), "give at least one, each once"),
            (("--conditions", "[]"), "at least one condition"),
            (("--conditions", "4", "4"), "give each once"),
            (("--sets", "shuffled", "other", "--conditions", "4"), "conditions belong to one set"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
    )
    def test_settings(self, run, tmp_path, arguments, because):
        self.refused(run(*arguments), because)
        assert not (tmp_path / "out").exists()

    def test_images_must_be_given(self, capsys):
        self.refused(command("synthesize.py", capsys)("stimuli"), "images")

    def test_no_folder(self, tmp_path, capsys):
        script = command("synthesize.py", capsys)
        self.refused(script("stimuli", "--images", tmp_path / "none", "--out", tmp_path / "out"), "there is no folder")

    @pytest.mark.parametrize("out", ["images", "images/shuffled"])
    def test_out_among_the_images(self, run, out):
        self.refused(run(out=out), "is inside")

    @pytest.mark.parametrize("change", [("--seed", "1"), ("--size", "8"), ("--images", "twins")], ids=str)
    def test_out_holds_files_made_otherwise(self, run, images, tmp_path, monkeypatch, change):
        monkeypatch.chdir(tmp_path)
        assert run().status == 0
        images.rename("twins")
        images.mkdir()
        Path("twins/c.png").rename(images / "c.png")
        before = contents(tmp_path / "out")
        self.refused(run(*change), "holds the set shuffled made with other settings")
        assert contents(tmp_path / "out") == before
        assert run().status == 0

    @pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text("{")], ids=["lost", "damaged"])
    def test_files_that_nothing_is_known_of(self, run, tmp_path, spoil):
        """Without results.json nobody can say how the files there were made."""
        run()
        before = contents(tmp_path / "out")
        spoil(tmp_path / "out" / "results.json")
        self.refused(run("--seed", "1"), "made with other settings")
        assert contents(tmp_path / "out") == before
        assert run("--seed", "1", "--conditions", "2").status == 0

    @pytest.mark.parametrize(
        "content", [b"", b"a,b\n1,2\n", b"\xff\xfe\x00", b"image,set,condition,file,sha256\nx,y\n"]
    )
    def test_a_damaged_manifest(self, run, tmp_path, content):
        run()
        (tmp_path / "out" / "manifest.csv").write_bytes(content)
        self.refused(run("--conditions", "2"), "manifest.csv is not a manifest of stimuli, or is damaged")
        assert (tmp_path / "out" / "manifest.csv").read_bytes() == content
        assert not (tmp_path / "out" / "shuffled" / "2").exists()

    def test_names_that_would_collide(self, run, images, tmp_path):
        Image.fromarray(noise(4, 4)).save(images / "cat" / "a.jpg")
        self.refused(run(), "cat/a.jpg and cat/a.png")
        assert not (tmp_path / "out").exists()

    def test_conditions_that_would_collide(self, run, own_sets, tmp_path):
        sets.register("flattened", Flattened())
        self.refused(run("--sets", "flattened"), "would both become flattened/0.png")
        assert not (tmp_path / "out").exists()
        assert run("--sets", "flattened", "--conditions", "9").status == 0

    def test_damaged_image(self, run, images, tmp_path):
        good = (images / "dog" / "deeper" / "a.png").read_bytes()
        (images / "dog" / "deeper" / "a.png").write_text("not an image")
        self.refused(run(), "dog/deeper/a.png is not an image")
        assert not list((tmp_path / "out").rglob("*.partial*"))
        (images / "dog" / "deeper" / "a.png").write_bytes(good)
        assert run().status == 0
        assert len(manifest(tmp_path / "out")) == 4

    def test_unwritable(self, run, tmp_path):
        (tmp_path / "file").touch()
        self.refused(run(out="file/out"), "cannot write to the output folder")
