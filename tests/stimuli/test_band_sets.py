"""`synthesize.py band-sets`: what it leaves, rerun, killed, refused; and the authors' arrays."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from support.commands import ROOT, command, files, refused, rows

from sparseshape_jax.data.open import open_labeled
from sparseshape_jax.stimuli import frequency

SMALL = ("--size", 16, "--train", 3, "--val", 2, "--test", 2)


@pytest.fixture
def run(capsys):
    return command("synthesize.py", capsys)


def contents(out: Path) -> dict[str, bytes]:
    """The sets' own files, by name."""
    return {name: (out / name).read_bytes() for name in files(out) if name.startswith("syn_") or name == "sets.yaml"}


def test_sets_are_class_folders_and_arrays(run, tmp_path):
    done = run("band-sets", *SMALL, "--out", tmp_path / "syn")
    assert done.status == 0, done.err
    assert "112 images, 112 of them new" in done.out
    for band in (1, 2, 3, 4):
        for split, count in (("train", 3), ("val", 2), ("test", 2)):
            folder = tmp_path / "syn" / f"syn_{band}" / split
            found = open_labeled(str(folder.parent), split)
            assert found.classes == frequency.CLASSES
            images, labels = np.load(folder / "images.npy"), np.load(folder / "labels.npy")
            np.testing.assert_array_equal(labels, np.repeat(np.arange(4), count))
            np.testing.assert_array_equal(found.labels, labels)
            np.testing.assert_array_equal(np.stack([found.image(index) for index in range(len(found))]), images)
            expected = frequency.image(band, 2, split, 1, size=16)
            np.testing.assert_array_equal(images[2 * count + 1], frequency.pixels(expected))
    settings = yaml.safe_load((tmp_path / "syn" / "sets.yaml").read_text())
    assert settings["stripes"]["syn_3"] == {"c0": [0, 5], "c1": [5, 0]}
    assert {"size": 16, "train": 3, "cue": 1.25, "share": 0.5, "seed": 0, "contrast": 0.172}.items() <= settings.items()
    assert [(row["set"], row["split"], row["images"]) for row in rows(tmp_path / "syn")][:2] == [
        ("syn_1", "train", 12),
        ("syn_1", "val", 8),
    ]
    expected_figures = {f"figures/{name}.{kind}" for name in ("contact_sheet", "spectra") for kind in ("png", "pdf")}
    assert expected_figures <= files(tmp_path / "syn")


def test_a_rerun_makes_what_is_missing(run, tmp_path):
    assert run("band-sets", *SMALL, "--bands", 2, 4, "--out", tmp_path / "syn").status == 0
    before = contents(tmp_path / "syn")
    kept = tmp_path / "syn" / "syn_4" / "val" / "c1" / "00000.png"
    written = kept.stat().st_mtime_ns
    for name in ("syn_4/val/c1/00001.png", "syn_2/test/images.npy", "syn_2/train/labels.npy"):
        (tmp_path / "syn" / name).unlink()
    shutil.rmtree(tmp_path / "syn" / "syn_2" / "test" / "c3")
    done = run("band-sets", *SMALL, "--bands", 2, 4, "--out", tmp_path / "syn")
    assert "56 images, 3 of them new" in done.out
    assert contents(tmp_path / "syn") == before
    assert kept.stat().st_mtime_ns == written
    assert run("band-sets", *SMALL, "--bands", 1, "--out", tmp_path / "syn").status == 0, "one more set"
    assert len(rows(tmp_path / "syn")) == 9


def test_a_killed_run_is_completed_to_the_same_files(run, tmp_path):
    counts = ("--train", 60, "--val", 1, "--test", 1, "--bands", "[3]")
    out = tmp_path / "killed"
    arguments = [sys.executable, str(ROOT / "synthesize.py"), "band-sets", *map(str, counts), "--out", str(out)]
    killed = subprocess.Popen(arguments, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not (out / "syn_3" / "train" / "c0" / "00009.png").exists() and time.monotonic() < until:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    (out / "syn_3" / "train" / "c0" / ".00010.7.partial.png").write_bytes(b"half an image")
    assert (out / "syn_3" / "train" / "c0" / "00009.png").exists()
    assert not (out / "results.json").exists() or not rows(out), "it was killed on the way"
    assert run("band-sets", *counts, "--out", out).status == 0
    assert run("band-sets", *counts, "--out", tmp_path / "whole").status == 0
    assert files(out) == files(tmp_path / "whole")
    assert contents(out) == contents(tmp_path / "whole")
    hashes = [[row["sha256"] for row in rows(folder)] for folder in (out, tmp_path / "whole")]
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--size", 40), "size is 40; it must be a multiple of 16"),
        (("--size", 0), "size is 0; it must be a multiple of 16"),
        (("--cue", 0), r"cue is 0\.0; it must be above 0"),
        (("--cue", ".nan"), "cue is nan; it must be above 0"),
        (("--share", 0), r"share is 0\.0; it must be above 0 and below 1"),
        (("--share", 1), r"share is 1\.0; it must be above 0 and below 1"),
        (("--bands", 0), r"bands are \[0\]; give some of 1, 2, 3 and 4, each once"),
        (("--bands", 2, 2), r"bands are \[2, 2\]; give some of 1, 2, 3 and 4, each once"),
        (("--bands", "[]"), r"bands are \[\]; give some of 1, 2, 3 and 4"),
        (("--seed", -1), "seed is -1; it must be at least 0"),
        (("--val", 0), "val is 0; it must be from 1 to 99999 images per class"),
    ],
)
def test_bad_settings_are_refused(run, tmp_path, flags, message):
    refused(run("band-sets", *flags, "--out", tmp_path / "syn"), message, tmp_path / "syn")


def test_other_settings_in_the_same_folder_are_refused(run, tmp_path):
    settings = (*SMALL, "--bands", 1)
    assert run("band-sets", *settings, "--out", tmp_path).status == 0
    before = contents(tmp_path)
    for other in (("--seed", 1), ("--cue", 2), ("--share", 0.3), ("--test", 3), ("--size", 32)):
        done = run("band-sets", *settings, *other, "--out", tmp_path)
        assert done.status == 2
        assert "holds sets made with other settings" in done.err
    (tmp_path / "sets.yaml").write_text("[")
    assert "other settings" in run("band-sets", *settings, "--out", tmp_path).err
    (tmp_path / "sets.yaml").unlink()
    assert "holds images, but no sets.yaml" in run("band-sets", *settings, "--out", tmp_path).err
    assert contents(tmp_path) | {"sets.yaml": before["sets.yaml"]} == before


@pytest.fixture
def authors(reference_data):
    return reference_data / "goldens" / "frequency" / "authors_format"


def test_the_authors_arrays_become_class_folders(run, authors, tmp_path):
    out, source = tmp_path / "theirs", authors / "train_data_complex_special_1_par.npy"
    done = run("band-sets", "--arrays", source, "--out", out)
    assert done.status == 0, done.err
    expected = np.load(authors / "expected.npz")
    split = out / "complex_special_1_par" / "train"
    np.testing.assert_array_equal(np.load(split / "images.npy"), expected["images"])
    np.testing.assert_array_equal(np.load(split / "labels.npy"), expected["labels"])
    for label, index, image in zip((0, 1, 2, 3, 3, 0), (0, 0, 0, 0, 1, 1), expected["images"], strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(split / f"c{label}" / f"{index:05}.png")), image)
    assert run("band-sets", "--arrays", source, "--out", out).out.endswith("0 of them new\n")
    assert "other settings" in run("band-sets", *SMALL, "--out", out).err


class Harm:
    def __reduce__(self):
        return os.system, ("true",)


def test_arrays_that_are_no_images_are_refused(run, authors, tmp_path):
    labels = np.arange(6)
    good = [np.zeros((3, 8, 8), np.float32)] * 6

    def attempt(data: object, message: str, name: str = "train_data_x.npy", labels: object = labels) -> None:
        folder = tmp_path / "arrays"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        np.save(folder / name, data)
        np.save(folder / name.replace("data", "label"), labels)
        refused(run("band-sets", "--arrays", folder / name, "--out", tmp_path / "out"), message, tmp_path / "out")

    attempt(good, r"is not called train_data\*\.npy", name="data_train.npy")
    attempt([image[:1] for image in good], r"does not hold images of one shape \(3, H, W\)")
    attempt(np.full((6, 3, 8, 8), np.nan), "holds a value that is not a number")
    attempt(good, "does not hold one class number for each of the 6 images", labels=labels[:5])
    attempt(good, "does not hold one class number for each of the 6 images", labels=labels - 1)
    objects = np.empty(1, object)
    objects[0] = Harm()
    attempt(objects, r"asks for (posix|nt)\.system, .* refused")
    whole = (authors / "train_data_complex_special_1_par.npy").read_bytes()
    for damaged, message in (
        (whole[:-100], "is damaged, cut short"),
        (whole[:60], "is damaged, cut short"),
        (b"", "is not a file of weights"),
        (pickle.dumps({}), "holds no arrays"),
    ):
        (tmp_path / "train_data_y.npy").write_bytes(damaged)
        result = run("band-sets", "--arrays", tmp_path / "train_data_y.npy", "--out", tmp_path / "out")
        refused(result, rf"train_data_y\.npy {message}", tmp_path / "out")
    missing = run("band-sets", "--arrays", tmp_path / "train_data_z.npy", "--out", tmp_path / "out")
    refused(missing, "cannot read .*train_data_z", tmp_path / "out")
