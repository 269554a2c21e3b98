"""`synthesize.py cue-conflict` from the user's side, with a network of two convolutions and tiny pictures.

What stimuli look like does not matter here.
"""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.commands import files, refused, results, table
from support.images import noise

from sparseshape_jax.stimuli.cue_conflict import CueConflict
from sparseshape_jax.synthesis.batch import Batch
from sparseshape_jax.synthesis.cue_conflict import inspection, job
from sparseshape_jax.weights.load import load

STEPS = 6


def tree(out: Path) -> dict[str, bytes]:
    """All files but those that name the folder, and the PDF."""
    left_out = (".pdf", "config.yaml", "results.json")
    return {name: (out / name).read_bytes() for name in files(out) if not name.endswith(left_out)}


def test_what_is_written(whole, pictures):
    stimuli = CueConflict(whole)  # as evaluate.py shape-bias reads it
    assert len(stimuli) == 6
    assert stimuli.image(0).size == (32, 32)
    plan, checks, sources = (table(whole / f"{name}.csv") for name in ("plan", "checks", "sources"))
    assert [line["file"] for line in plan] == [line["file"] for line in checks]
    assert {(line["shape"], line["texture"]) for line in plan} == set(
        zip(stimuli.categories, stimuli.textures, strict=True)
    )
    assert len(sources) == 12
    named = {(line["role"], line["name"]): line["picture"] for line in sources}
    for line in plan:
        shape, texture = Path(line["file"]).stem.split("-")
        assert named["content", shape] == line["content"]
        assert named["style", texture] == line["style"]
    for line in checks:
        for name in ("content relu1", "style conv1", "style relu1"):
            assert 0 <= float(line[f"{name} residual"]) < 10
    rows = results(whole)["rows"]
    assert [row["file"] for row in rows] == [line["file"] for line in plan]
    assert {row["evaluations"] for row in rows} == {STEPS}
    assert (whole / "figures" / "contact_sheet.png").is_file()
    assert len(table(whole / "summary.csv")) == 6


def test_a_rerun_makes_nothing(synthesize, whole):
    before = tree(whole)
    done = synthesize("--out", whole)
    assert done.status == 0
    assert tree(whole) == before


def test_a_stimulus_that_was_deleted_is_made_again(synthesize, whole):
    before = tree(whole)
    next((whole / "cue-conflict" / "cat").glob("*.png")).unlink()
    assert synthesize("--out", whole).status == 0
    assert tree(whole) == before


def test_batch_size_changes_nothing(synthesize, whole, tmp_path):
    assert synthesize("--out", tmp_path / "out", "--batch_size", 1).status == 0
    assert tree(tmp_path / "out") == tree(whole)


@pytest.mark.slow
def test_shards_together_are_the_set(synthesize, whole, tmp_path):
    out = tmp_path / "out"
    for shard in ("1/2", "2/2"):
        assert synthesize("--out", out, "--shard", shard).status == 0
    assert len(table(out / "shards" / "1-of-2" / "checks.csv")) == 3
    times = {path: path.stat().st_mtime_ns for path in (out / "cue-conflict").rglob("*.png")}
    assert len(times) == 6
    assert synthesize("--out", out).status == 0
    assert {path: path.stat().st_mtime_ns for path in times} == times  # collected, not made again
    collected = {name: data for name, data in tree(out).items() if not name.startswith("shards/")}
    assert collected == tree(whole)


@pytest.mark.slow
def test_starts_scales_and_statistics(synthesize, tmp_path):
    one = ("--pairs", 1)
    made = {}
    for name, flags in {
        "recolored": (),
        "content": ("--start", "content"),
        "flat": ("--start", "flat"),
        "scales": ("--work_size", 45, "--scales_from", 32),
        "wasserstein": ("--statistics", "wasserstein", "--units", "absolute", "--total_variation", 0.1),
    }.items():
        assert synthesize("--out", tmp_path / name, *one, *flags).status == 0, name
        (line,) = table(tmp_path / name / "checks.csv")
        made[name] = line["sha256"]
        with Image.open(tmp_path / name / line["file"]) as image:
            assert image.size == (32, 32)
    assert len(set(made.values())) == len(made)
    (row,) = results(tmp_path / "scales")["rows"]
    assert row["evaluations"] == 2 * STEPS


def test_unfinished_stimuli_are_listed(synthesize, tmp_path):
    done = synthesize("--out", tmp_path / "out", "--pairs", 2, "--steps", 1, "--max_residual", 1e-9)
    assert done.status == 0
    assert re.search(r"unfinished, with a style residual above 1e-09: cue-conflict/\S+, cue-conflict/\S+;", done.out)
    assert {line["finished"] for line in table(tmp_path / "out" / "checks.csv")} == {"False"}


def test_stimuli_that_are_not_finite_are_unfinished(synthesize, monkeypatch, tmp_path):
    def broken(self, folder, state_file, progress):
        account = {"evaluations": 1, "iterations": 0, "status": "non-finite"}
        return [(np.full((32, 32, 3), np.nan), account) for _ in self.tasks]

    monkeypatch.setattr(Batch, "make", broken)
    monkeypatch.setattr(job, "residuals", lambda *_: lambda stimuli, *_: np.full((len(stimuli), 3), np.nan))
    for _ in range(2):  # a rerun reads the rows from the file
        done = synthesize("--out", tmp_path / "out", "--pairs", 1)
        assert done.status == 0, done.err
        assert "unfinished" in done.out
        (line,) = table(tmp_path / "out" / "checks.csv")
        assert (line["finished"], line["style relu1 residual"], line["status"]) == ("False", "", "non-finite")


def test_the_plan_can_be_looked_at_first(synthesize, whole, tmp_path):
    out = tmp_path / "out"
    assert synthesize("--out", out, "--dry_run").status == 0
    assert files(out) == {"plan.csv", "sources.csv"}
    assert (out / "plan.csv").read_bytes() == (whole / "plan.csv").read_bytes()


def test_settings_are_not_mixed(synthesize, whole):
    before = tree(whole)
    for flags in (("--steps", STEPS + 1), ("--seed", 5)):
        done = synthesize("--out", whole, *flags)
        assert done.status == 2
        assert re.search("holds a set made of other pictures, or with other settings", done.err)
    assert tree(whole) == before


def test_doubtful_pictures_are_named_and_left_out(synthesize, small_weights, monkeypatch, tmp_path):
    """The judge takes every picture for a cat."""
    judge = load(None, weights=small_weights)
    monkeypatch.setattr(inspection, "load", lambda *_, **__: judge)
    monkeypatch.setattr(inspection, "recognized_as", lambda _loaded, _pictures, sources: dict.fromkeys(sources, "cat"))
    check = ("--check_model", "judge", "--dry_run")
    done = synthesize("--out", tmp_path / "out", *check)
    assert done.status == 0
    for what in ("photographs", "textures"):
        assert f"{what} that judge does not recognize: dog/0.png, dog/1.png, elephant/0.png" in done.out
    assert {line["recognized_as"] for line in table(tmp_path / "out" / "sources.csv")} == {"cat"}
    refused(
        synthesize("--out", tmp_path / "none", *check, "--only_recognized"),
        "judge recognizes no picture of dog, elephant in --content",
        tmp_path / "none",
    )
    two = lambda _loaded, _pictures, sources: {source: "cat" for source in sources if source.number == 1}  # noqa: E731
    monkeypatch.setattr(inspection, "recognized_as", two)
    done = synthesize("--out", tmp_path / "left", *check, "--only_recognized")
    assert done.status == 0
    assert "photographs that judge does not recognize (left out): dog/0.png, elephant/0.png\n" in done.out
    assert {line["content"] for line in table(tmp_path / "left" / "plan.csv")} == {
        "cat/0.png",
        "cat/1.png",
        "dog/1.png",
        "elephant/1.png",
    }


def broken(folder: Path, name: str) -> None:
    """Spoil the folder of textures as `name` says."""
    path = folder / "cat" / "0.png"
    if name == "truncated":
        path.write_bytes(path.read_bytes()[:300])
    elif name == "text":
        path.write_text("no image")
    elif name == "tiny":
        Image.fromarray(noise(5, 5)).save(path)
    elif name == "one color":
        Image.new("RGB", (40, 40), "red").save(path)
    elif name == "empty class":
        for file in (folder / "cat").iterdir():
            file.unlink()
    elif name == "loose":
        shutil.move(path, folder / "0.png")
    elif name == "empty":
        shutil.rmtree(folder)
        folder.mkdir()
    elif name == "missing":
        shutil.rmtree(folder)
    elif name == "other categories":
        (folder / "cat").rename(folder / "zebra")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("truncated", "cat/0.png cannot be decoded|cat/0.png is not an image"),
        ("text", "cat/0.png is not an image"),
        ("tiny", "cat/0.png has 5×5 pixels; sides must be from 16"),
        ("one color", "cat/0.png has one color only"),
        ("empty class", "the class folder .*cat has no images"),
        ("loose", "0.png is not in a class folder"),
        ("empty", "there are no class folders in"),
        ("missing", "there is no folder"),
        ("other categories", "only --content has cat and only --style has zebra"),
    ],
)
def test_bad_pictures(synthesize, pictures, tmp_path, name, message):
    textures = tmp_path / "textures"
    shutil.copytree(pictures[1], textures)
    broken(textures, name)
    refused(synthesize("--out", tmp_path / "out", "--style", textures), message, tmp_path / "out")


def test_pictures_of_other_kinds(synthesize, paint, tmp_path):
    """Gray, with transparency, of 16 bits, and turned by EXIF."""
    photos, textures = paint(tmp_path / "photos", cat=1, dog=1), paint(tmp_path / "textures", cat=1, dog=1)
    pixels = noise(40, 60)
    Image.fromarray(pixels[:, :, 0]).save(photos / "cat" / "0.png")
    Image.fromarray(np.dstack([pixels, pixels[:, :, :1]])).save(photos / "dog" / "0.png")
    Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 257).save(textures / "cat" / "0.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(textures / "dog" / "0.JPG", exif=exif)
    (textures / "dog" / "0.png").unlink()
    done = synthesize("--out", tmp_path / "out", "--content", photos, "--style", textures, "--dry_run")
    assert done.status == 0, done.err
    assert len(table(tmp_path / "out" / "plan.csv")) == 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--steps", 0), "steps is 0"),
        (("--size", 8), "size is 8; it must be from 32"),
        (("--scales_from", 64), "scales_from is 64; it must be from 32 to 32"),
        (("--pairs", 0), "pairs is 0; it can be balanced, all"),
        (("--pairs", "some"), "pairs"),
        (("--pairs", 25), "pairs is 25, and these pictures make 24 stimuli"),
        (("--per_pair", 5), "make 4 stimuli, and per_pair is 5"),
        (("--content_weight", ".nan"), "content_weight is nan"),
        (("--style_weights", 1, 2, 3), "give one of 0 or more for each of the 2 style layers"),
        (("--style_weights", 0, 0), "not only zeros"),
        (("--style_layers", "relu9"), "small has no activation called relu9; choose others with --content_layer"),
        (("--shard", "3/2"), "shard is 3/2"),
        (("--only_recognized",), "only_recognized needs a check_model"),
        (("--weights", "missing.pth"), "missing.pth"),
    ],
)
def test_settings_that_are_refused(synthesize, tmp_path, flags, message):
    refused(synthesize("--out", tmp_path / "out", *flags), message, tmp_path / "out")


@pytest.mark.parametrize("side", [0, 1])
def test_output_inside_the_pictures(synthesize, pictures, side):
    out = pictures[side] / "out"
    refused(synthesize("--out", out), f"the output folder .* is inside --{('content', 'style')[side]}", out)
    assert not out.exists()
