"""`synthesize.py` from the user's side: what it writes, what it resumes, what it refuses.

The images are tiny and only VGG16's first two convolutions are used, so that a run takes a second; what the images look
like does not matter here.
"""

import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.commands import on_devices

from sparseshape_jax.cli import main
from sparseshape_jax.errors import InputError
from sparseshape_jax.figures import grid
from sparseshape_jax.jobs.synthesize import JOBS
from sparseshape_jax.models import registry
from sparseshape_jax.synthesis import batch, jobs
from sparseshape_jax.synthesis.config import TextureConfig
from sparseshape_jax.synthesis.optimize.minimize import Minimizer, Run
from sparseshape_jax.synthesis.state import State
from sparseshape_jax.synthesis.targets import default_image, read_targets
from sparseshape_jax.top_k.spec import TopK
from sparseshape_jax.weights.assign import save_safetensors

pytestmark = pytest.mark.usefixtures("packaged_vgg")

ROOT = Path(__file__).parents[2]
NAMES = ("brick", "lawn", "water")
SIZE, STEPS = 32, 30
SMALL = ("--size", SIZE, "--layers", "[relu1_1,pool1]", "--history", 8, "--topk.fraction", 0.2)
KEEP_ALL = ("--topk.keep", "all")
"""Where the mask does not matter: compiling Top-K takes as long as all the rest."""


def synthesize(*arguments: object) -> int | str | None:
    """Run the script here; the exit status."""
    try:
        return main("", JOBS, [str(argument) for argument in arguments])
    except SystemExit as stop:  # how argparse ends
        return stop.code


def summary(out: Path) -> dict[str, dict[str, Any]]:
    """The rows of a run's results, by file."""
    return {row["file"]: row for row in json.loads((out / "results.json").read_text())["rows"]}


def read_png(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image, np.float32) / 255


def frames(path: Path) -> int:
    with Image.open(path) as image:
        return image.n_frames


def turn(source: Path, destination: Path) -> None:
    """Write an image upside down."""
    with Image.open(source) as image:
        image.transpose(Image.Transpose.ROTATE_180).save(destination)


def assert_same_results(out: Path, other: Path) -> None:
    """The same files, to the last bit, and the same account of how they were made, except for the time."""
    rows, others = summary(out), summary(other)
    assert rows.keys() == others.keys()
    for file, row in rows.items():
        assert {**row, "seconds": 0} == {**others[file], "seconds": 0}
        assert (out / file).read_bytes() == (other / file).read_bytes()


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """A folder with three images of 40×32 pixels."""
    folder = tmp_path_factory.mktemp("photos")
    y, x = np.mgrid[:32, :40]
    for index, name in enumerate(NAMES):
        rng = np.random.default_rng(index)
        waves = np.stack([np.sin(x * a + y * b) for a, b in rng.uniform(-1, 1, (3, 2))], axis=-1)
        pixels = 127 + 90 * waves + rng.normal(scale=10, size=waves.shape)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def finished(photos, tmp_path_factory, packaged_vgg) -> Path:
    """The output of a run that nobody stopped: textures of the three images, in one batch."""
    out = tmp_path_factory.mktemp("finished") / "out"
    assert synthesize("texture", "--images", photos, *SMALL, "--steps", STEPS, "--out", out) == 0
    return out


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """A copy of that output, to change and to run in again."""
    return Path(shutil.copytree(finished, tmp_path / "copied"))


@pytest.fixture
def made(monkeypatch) -> list[str]:
    """The files that a run sets out to make; it is stopped there."""
    files: list[str] = []

    def make(self: batch.Batch, *_: Any) -> None:
        files.extend(task.file for task in self.tasks)
        raise KeyboardInterrupt

    monkeypatch.setattr(batch.Batch, "make", make)
    return files


def test_what_a_run_leaves(finished):
    images = [f"{name}_texture_top-0.2_seed0.png" for name in NAMES]
    expected = [*images, "config.yaml", "figures", "results.json", "summary.csv"]
    assert sorted(path.name for path in finished.iterdir()) == sorted(expected)
    assert sorted(path.name for path in (finished / "figures").iterdir()) == ["losses.pdf", "losses.png"]
    assert list(summary(finished)) == images
    for image in images:
        assert read_png(finished / image).shape == (32, 40, 3)


def test_results(finished):
    whole = json.loads((finished / "results.json").read_text())
    assert whole["job"] == "synthesize texture"
    assert whole["figures"] == ["figures/losses.png", "figures/losses.pdf"]
    assert whole["settings"]["topk"]["fraction"] == 0.2
    keys = {"losses", "evaluations", "iterations", "seconds", "status"}
    for name, row in zip(NAMES, summary(finished).values(), strict=True):
        assert keys < row.keys()
        assert (row["image"], row["objective"], row["keep"]) == (name, "texture", "top")
        assert (row["fraction"], row["seed"]) == (0.2, 0)
        assert row["top_k"] == [TopK(0.2, after=("relu1_1", "pool1")).to_config()]
        assert len(row["fingerprint"]) == 64
        assert row["status"] == "budget"
        assert row["evaluations"] == len(row["losses"]) == STEPS
        assert 0 < row["iterations"] <= STEPS
        assert row["seconds"] > 0
        assert row["losses"][0] > 1e4  # the reference's units
        assert min(row["losses"]) < 0.1 * row["losses"][0]


def test_histograms_are_the_targets_if_asked_for(photos, tmp_path, packaged_vgg):
    flags = (*SMALL, "--steps", 1, "--match_histogram", "true")
    assert synthesize("texture", "--images", photos, *flags, "--out", tmp_path) == 0
    for name in NAMES:
        ours = np.sort(read_png(tmp_path / f"{name}_texture_top-0.2_seed0.png").reshape(-1, 3), axis=0)
        target = np.sort(read_png(photos / f"{name}.png").reshape(-1, 3), axis=0)
        assert np.abs(ours - target).mean() < 1 / 255


def test_a_rerun_makes_nothing_again(copied, photos, made):
    before = {path.name: path.stat().st_mtime_ns for path in copied.glob("*seed0.png")}
    assert synthesize("texture", "--images", photos, *SMALL, "--steps", STEPS, "--out", copied) == 0
    assert made == []
    assert {path.name: path.stat().st_mtime_ns for path in copied.glob("*seed0.png")} == before


def test_settings_are_read_back(copied, made):
    assert synthesize("texture", "--config", copied / "config.yaml", "--out", copied) == 0
    assert made == []
    assert synthesize("texture", "--config", copied / "config.yaml", "--out", copied, "--steps", STEPS + 1) == 130
    assert len(made) == 3


@pytest.mark.parametrize(
    "flags",
    [
        ("--steps", 31),
        ("--topk.fraction", 0.3),
        ("--layers", "[relu1_1]"),
        ("--layer_weights", "[1,2]"),
        ("--size", 33),
        ("--pooling", "max"),
        ("--start", "noise"),
        ("--match_histogram", "true"),
        ("--whitening", 0),
    ],
    ids=lambda flags: flags[0],
)
def test_other_settings_are_another_result(copied, made, flags):
    assert synthesize("texture", "--config", copied / "config.yaml", "--out", copied, *flags) == 130
    assert len(made) == 3


def test_only_what_is_missing_or_changed_is_made_again(copied, photos, tmp_path, made):
    (copied / "lawn_texture_top-0.2_seed0.png").unlink()
    changed = Path(shutil.copytree(photos, tmp_path / "changed"))
    turn(photos / "brick.png", changed / "brick.png")
    assert synthesize("texture", "--config", copied / "config.yaml", "--out", copied, "--images", changed) == 130
    assert made == [f"{name}_texture_top-0.2_seed0.png" for name in ("brick", "lawn")]


def test_results_of_other_settings_stay(copied, monkeypatch):
    again = ("texture", "--config", copied / "config.yaml", "--out", copied)
    assert synthesize(*again, "--topk.keep", "rest", "--steps", 2) == 0
    rest, top = ([f"{name}_texture_{keep}-0.2_seed0.png" for name in NAMES] for keep in ("rest", "top"))
    assert list(summary(copied)) == rest + top
    monkeypatch.setattr(batch.Batch, "make", None)
    assert synthesize(*again, "--topk.keep", "top", "--steps", STEPS) == 0
    assert list(summary(copied)) == top + rest


@pytest.mark.slow
def test_rows_are_those_of_images_that_are_there_in_the_order_of_the_tasks(photos, tmp_path):
    arguments = ("texture", "--images", photos, *SMALL, *KEEP_ALL, "--steps", 2, "--out", tmp_path, "--seeds")
    other, own = ([f"{name}_texture_all-0.2_seed{seed}.png" for name in NAMES] for seed in (1, 0))
    assert synthesize(*arguments, "[1]") == synthesize(*arguments, "[0]") == 0
    for file in (other[1], own[0]):
        (tmp_path / file).unlink()
    assert synthesize(*arguments, "[0]") == 0
    assert list(summary(tmp_path)) == [*own, other[0], other[2]]
    assert len((tmp_path / "summary.csv").read_text().splitlines()) == 6


def test_results_are_not_taken_for_photographs(finished, photos, tmp_path, made):
    folder = Path(shutil.copytree(photos, tmp_path / "photos"))
    shutil.copytree(finished, folder / "out")
    assert synthesize("texture", "--config", finished / "config.yaml", "--images", folder, "--out", folder / "out") == 0
    assert made == []


def test_weights_in_a_file(finished, photos, vgg_trunk, tmp_path):
    weights = tmp_path / "trunk.safetensors"
    save_safetensors(vgg_trunk.network, weights)
    flags = ("--images", photos, "--weights", weights, "--steps", STEPS, "--out", tmp_path / "out")  # they say vgg16
    assert synthesize("texture", *SMALL, *flags) == 0
    for file in summary(finished):
        assert (tmp_path / "out" / file).read_bytes() == (finished / file).read_bytes()


def stop_after_saving(monkeypatch, saved: int) -> None:
    """Stop the run after its `saved`-th save."""
    write, written = State.write, []

    def stop(self: State, path: Path) -> None:
        write(self, path)
        written.append(path)
        if len(written) == saved:
            raise KeyboardInterrupt

    monkeypatch.setattr(State, "write", stop)


def starts(monkeypatch) -> list[Any]:
    """What minimizations start from, from now on."""
    seen: list[Any] = []
    minimize = Minimizer.minimize

    def spy(self: Minimizer, start: Any, *arguments: Any, **options: Any) -> Any:
        seen.append(start)
        return minimize(self, start, *arguments, **options)

    monkeypatch.setattr(Minimizer, "minimize", spy)
    return seen


def test_a_stopped_run_resumes(finished, photos, tmp_path, monkeypatch, capsys):
    arguments = ("texture", "--images", photos, *SMALL, "--steps", STEPS, "--out", tmp_path / "out")
    with monkeypatch.context() as context:
        stop_after_saving(context, 1)
        assert synthesize(*arguments) == 130
    assert "run the same command again" in capsys.readouterr().err
    assert list((tmp_path / "out").glob("*.png")) == []
    seen = starts(monkeypatch)
    assert synthesize(*arguments) == 0
    assert [start.losses.shape for start in seen if isinstance(start, Run)] == [(3, 25)]
    assert_same_results(tmp_path / "out", finished)
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")] == []


@pytest.mark.slow
def test_a_run_stopped_in_its_second_octave_resumes(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "SAVED_EVERY", 5)
    size = (*SMALL, *KEEP_ALL, "--size", 64, "--octaves", 2)
    arguments = ("texture", "--images", photos, *size, "--steps", 8, "--out")
    assert synthesize(*arguments, tmp_path / "whole") == 0
    for file, row in summary(tmp_path / "whole").items():
        assert row["evaluations"] == len(row["losses"]) == 16
        assert read_png(tmp_path / "whole" / file).shape == (64, 80, 3)
    with monkeypatch.context() as context:
        stop_after_saving(context, 2)
        assert synthesize(*arguments, tmp_path / "out") == 130
    seen = starts(monkeypatch)
    assert synthesize(*arguments, tmp_path / "out") == 0
    assert [start.losses.shape for start in seen] == [(3, 5)]
    assert_same_results(tmp_path / "out", tmp_path / "whole")


@pytest.mark.slow
def test_states_of_other_runs_stay(photos, tmp_path, monkeypatch):
    """A run neither resumes nor deletes the state of another one with the same output folder."""
    arguments = ("texture", "--images", photos, *SMALL, *KEEP_ALL, "--steps", STEPS, "--out", tmp_path)
    with monkeypatch.context() as context:
        stop_after_saving(context, 1)
        assert synthesize(*arguments) == 130
    (state,) = tmp_path.glob(".state-*.npz")
    with monkeypatch.context() as context:
        seen = starts(context)
        assert synthesize(*arguments, "--whitening", 0) == 0
        assert [isinstance(start, Run) for start in seen] == [False]
    assert list(tmp_path.glob(".state-*.npz")) == [state]
    seen = starts(monkeypatch)
    assert synthesize(*arguments) == 0
    assert [start.losses.shape for start in seen] == [(3, 25)]
    assert list(tmp_path.glob(".*")) == []


THAT_NEVER_ENDS = """
import sys, time
from sparseshape_jax.cli import main
from sparseshape_jax.jobs.synthesize import JOBS
from sparseshape_jax.synthesis.state import State

def write_and_hang(self, path):
    write(self, path)
    if self.evaluations >= 75:
        time.sleep(3600)

write, State.write = State.write, write_and_hang
main("", JOBS, sys.argv[1:])
"""
"""The script in a process that cannot finish before it is killed."""


@pytest.mark.slow
def test_a_killed_run_resumes(photos, tmp_path):
    arguments = ("texture", "--images", photos, *SMALL, "--steps", 100, "--out")
    assert synthesize(*arguments, tmp_path / "whole") == 0
    command = [sys.executable, "-c", THAT_NEVER_ENDS, *arguments, tmp_path / "out"]
    process = subprocess.Popen([str(part) for part in command], cwd=ROOT, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list((tmp_path / "out").glob(".state-*.npz")):
        time.sleep(0.01)
    time.sleep(random.Random(0).uniform(0, 0.3))
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert synthesize(*arguments, tmp_path / "out") == 0
    assert_same_results(tmp_path / "out", tmp_path / "whole")
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")] == []


def test_what_a_process_killed_while_saving_left_is_deleted(photos, tmp_path, monkeypatch):
    arguments = ("texture", "--images", photos, *SMALL, *KEEP_ALL, "--steps", STEPS, "--out", tmp_path)
    with monkeypatch.context() as context:
        stop_after_saving(context, 1)
        assert synthesize(*arguments) == 130
    (state,) = tmp_path.glob(".state-*.npz")
    (tmp_path / f".{state.stem}.1234.partial.npz").write_bytes(b"half")
    assert synthesize(*arguments) == 0
    assert list(tmp_path.glob(".*")) == []


@pytest.mark.slow
def test_snapshots(finished, photos, tmp_path):
    arguments = ("texture", "--images", photos, *SMALL, "--snapshots", 10, "--out", tmp_path, "--steps")
    assert synthesize(*arguments, STEPS) == 0
    for name in NAMES:
        stem = f"{name}_texture_top-0.2_seed0"
        snapshots = sorted(path.name for path in (tmp_path / "snapshots" / stem).iterdir())
        assert snapshots == ["0-000010.png", "0-000020.png", "0-000030.png"]
        assert frames(tmp_path / f"{stem}.gif") == 3
        assert (tmp_path / f"{stem}.png").read_bytes() == (finished / f"{stem}.png").read_bytes()
    assert synthesize(*arguments, 20) == 0
    assert frames(tmp_path / f"{stem}.gif") == 2


def test_seeds(finished, photos, tmp_path):
    flags = ("--images", photos / "brick.png", "--seeds", "[0,1,2]", "--out", tmp_path)
    assert synthesize("texture", *SMALL, "--steps", STEPS, *flags) == 0
    files = [f"brick_texture_top-0.2_seed{seed}.png" for seed in (0, 1, 2)]
    assert list(summary(tmp_path)) == files
    first, *others = (read_png(tmp_path / file) for file in files)
    assert all(np.abs(first - other).mean() > 0.01 for other in others)
    np.testing.assert_array_equal(first, read_png(finished / files[0]))


def assert_close_results(out: Path, other: Path, tolerance: float) -> None:
    rows, others = summary(out), summary(other)
    assert rows.keys() == others.keys()
    for file, row in rows.items():
        np.testing.assert_allclose(row["losses"], others[file]["losses"], rtol=tolerance)
        assert np.abs(read_png(out / file) - read_png(other / file)).mean() < 0.5 / 255


RECONSTRUCT = ("reconstruct", *SMALL, "--steps", 15, "--start", "noise")
ADAM = (*KEEP_ALL, "--optimizer", "adam", "--bounds", "clip", "--match_histogram", "false")


@pytest.mark.parametrize(("flags", "tolerance"), [(ADAM, 1e-5), ((), 5e-3)], ids=["adam", "lbfgs"])
def test_together_is_as_one_by_one(photos, tmp_path, flags, tolerance):
    """Inner products of L-BFGS round differently in a batch, and its first, bold steps amplify that."""
    for size in (1, 3):
        options = ("--images", photos, *flags, "--batch_size", size, "--out", tmp_path / str(size))
        assert synthesize(*RECONSTRUCT, *options) == 0
    assert_close_results(tmp_path / "1", tmp_path / "3", tolerance)


@pytest.mark.slow
def test_four_devices_are_as_one(photos, tmp_path):
    """Six images, two for each device: two of the eight places are filled up."""
    arguments = (*RECONSTRUCT, *KEEP_ALL, "--images", photos, "--seeds", "[0,1]")
    assert synthesize(*arguments, "--batch_size", 3, "--out", tmp_path / "one") == 0
    command = (sys.executable, "-W", "error", ROOT / "synthesize.py", *arguments, "--batch_size", 6)
    done = subprocess.run(
        [str(part) for part in (*command, "--out", tmp_path / "four")],
        env=on_devices(4),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert_close_results(tmp_path / "four", tmp_path / "one", 5e-3)


def test_an_image_of_nan_leaves_the_others_untouched(finished, photos, tmp_path, monkeypatch, capsys):
    targets = dict(read_targets(str(photos), SIZE, outside=tmp_path))
    targets["lawn"] = np.full_like(targets["lawn"], np.nan)
    monkeypatch.setattr(jobs, "read_targets", lambda *_, **__: list(targets.items()))
    config = TextureConfig(size=SIZE, layers=("relu1_1", "pool1"), history=8, topk=TopK(0.2), steps=STEPS)
    rows = {row["image"]: row for row in jobs.texture(replace(config, out=str(tmp_path)))}
    assert rows["lawn"]["status"] == "non-finite"
    assert "lawn_texture_top-0.2_seed0.png: non-finite after 1 evaluations" in capsys.readouterr().out
    whole = summary(finished)
    for name in ("brick", "water"):
        file = f"{name}_texture_top-0.2_seed0.png"
        assert rows[name]["losses"] == whole[file]["losses"]
        assert (tmp_path / file).read_bytes() == (finished / file).read_bytes()


def test_a_given_start_without_histogram(photos, tmp_path):
    """After one evaluation the best point is the start."""
    start = tmp_path / "start.png"
    turn(photos / "brick.png", start)
    flags = ("--steps", 1, "--start_image", start, "--match_histogram", "false", "--images", photos / "brick.png")
    assert synthesize("reconstruct", *SMALL, *flags, "--out", tmp_path / "out") == 0
    result = read_png(tmp_path / "out" / "brick_reconstruction_top-0.2_seed0.png")
    np.testing.assert_allclose(result, read_png(start), atol=1 / 255)


def test_smoothness_with_adam_and_clipping(photos, tmp_path):
    for smoothness in (0, 300):
        options = (
            "--images",
            photos / "brick.png",
            "--total_variation",
            smoothness,
            "--out",
            tmp_path / str(smoothness),
        )
        assert synthesize(*RECONSTRUCT, *ADAM, *options, "--steps", 40) == 0
    file = "brick_reconstruction_all-0.2_seed0.png"
    losses = summary(tmp_path / "0")[file]["losses"]
    assert min(losses) < 0.7 * losses[0]
    rough, smooth = (np.abs(np.diff(read_png(tmp_path / name / file), axis=1)).mean() for name in ("0", "300"))
    assert smooth < 0.8 * rough


def test_figure(photos, tmp_path, monkeypatch):
    drawn = []
    save = grid.save

    def keep(figure: Any, stem: Path) -> list[Path]:
        drawn.append(figure)
        return save(figure, stem)

    monkeypatch.setattr(grid, "save", keep)
    steps = ("--texture_steps", 3, "--reconstruction_steps", 2)
    flags = ("figure", "--images", photos / "brick.png", *SMALL, *steps, "--seeds", "[0,1]", "--out", tmp_path)
    assert synthesize(*flags) == 0
    kinds, keeps = ("texture", "reconstruction"), ("all", "top", "rest")
    files = [f"brick_{kind}_{keep}-0.2_seed{seed}.png" for seed in (0, 1) for kind in kinds for keep in keeps]
    assert list(summary(tmp_path)) == files
    (figure,) = drawn
    assert [len(axis.images) for axis in figure.axes] == [1] * 14
    titles = [axis.get_title().lower() for axis in figure.axes[:7]]
    assert titles[0] == "original"
    for title, kind in zip(titles[1:], [kind for kind in kinds for _ in keeps], strict=True):
        assert kind in title
    assert len(set(titles)) == 7
    np.testing.assert_allclose(figure.axes[8].images[0].get_array() / 255, read_png(tmp_path / files[6]), atol=1 / 255)
    height, width, _ = read_png(tmp_path / "figures" / "figure.png").shape
    assert width > 2 * height > 400
    assert (tmp_path / "figures" / "figure.pdf").read_bytes().startswith(b"%PDF")


def blank(path: Path, width: int, height: int, mode: str = "RGB") -> Path:
    Image.new(mode, (width, height), 128 if mode == "L" else (200, 100, 50)).save(path)
    return path


def no_folder(folder: Path) -> tuple[object, ...]:
    return ("--images", folder / "missing")


def empty_folder(folder: Path) -> tuple[object, ...]:
    (folder / "empty").mkdir()
    return ("--images", folder / "empty")


def truncated(folder: Path) -> tuple[object, ...]:
    whole = default_image().read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    return ("--images", folder / "cut.png")


def no_image(folder: Path) -> tuple[object, ...]:
    (folder / "text.png").write_text("not an image")
    return ("--images", folder)


def same_names(folder: Path) -> tuple[object, ...]:
    blank(folder / "one.png", 40, 40)
    blank(folder / "one.jpg", 40, 40)
    return ("--images", folder)


def of_size(width: int, height: int) -> Callable[[Path], tuple[object, ...]]:
    return lambda folder: ("--images", blank(folder / "sized.png", width, height))


def flags(*arguments: object) -> Callable[[Path], tuple[object, ...]]:
    return lambda folder: arguments


BAD: dict[str, tuple[Callable[[Path], tuple[object, ...]], str]] = {
    "no image": (no_folder, "there is no image .*missing"),
    "empty folder": (empty_folder, "there are no images in .*empty"),
    "truncated": (truncated, "cut.png cannot be decoded"),
    "not an image": (no_image, "text.png is not an image"),
    "same stem": (same_names, "several images in .* are called one; rename"),
    "1×1": (of_size(1, 1), "1×1 pixels; sides must be from 16 to 8192"),
    "10,000 pixels": (of_size(10_000, 20), "10000×20 pixels; sides must be from 16 to 8192"),
    "long and narrow": (of_size(2000, 20), "32×3200 pixels; the long side can have 2048"),
    "start image": (flags("--start_image", "missing.png"), "there is no image missing.png"),
    "unknown layer": (flags("--layers", "[relu1_1,pool9]"), "no activation called 'pool9'; it has conv1_1, "),
    "layer of the classifier": (flags("--layers", "[fc6]"), "no activation called 'fc6'"),
    "layer weights": (flags("--layer_weights", "[1]"), "2 layers and the layer weights"),
    "fraction 0": (flags("--topk.fraction", 0), r"fraction is 0.*it must be in \(0, 1\]"),
    "fraction above 1": (flags("--topk.fraction", 1.5), "fraction is 1.5"),
    "fraction NaN": (flags("--topk.fraction", ".nan"), "fraction is nan"),
    "keep": (flags("--topk.keep", "some"), "keep.*some"),
    "placement": (flags("--topk.after", "[pool1]"), "topk.after.* not apply"),
    "too small": (flags("--size", 31), "size is 31; it must be from 32 to 2048"),
    "too large": (flags("--size", 2049), "size is 2049"),
    "too small for the layers": (
        flags("--model", "alexnet_lpips", "--layers", "[pool5]"),
        "32×48 pixels are too small for alexnet: nothing is left at pool5",
    ),
    "octaves": (flags("--octaves", 2), "2 octaves below 32 pixels start under 32"),
    "steps": (flags("--steps", 0), "steps is 0; it must be at least 1"),
    "no seeds": (flags("--seeds", "[]"), r"seeds are \[\]"),
    "the same seed twice": (flags("--seeds", "[1,1]"), r"seeds are \[1, 1\]"),
    "negative seed": (flags("--seeds", "[-1]"), "seeds are .*from 0 to"),
    "smoothness": (flags("--total_variation", -1), "total_variation is -1.0"),
    "model": (flags("--model", "vgg17"), "no model called 'vgg17'"),
    "weights": (flags("--weights", "missing.pth"), "missing.pth"),
    "pooling": (flags("--model", "alexnet_lpips", "--pooling", "max"), "alexnet has no option pooling"),
    "history": (flags("--history", 0), "history is 0"),
    "whitening": (flags("--whitening", 1.5), "whitening is 1.5; it must be from 0 to 1"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line(tmp_path, capsys, arguments, message):
    out = tmp_path / "out"
    assert synthesize("texture", *SMALL, "--steps", 2, "--out", out, *arguments(tmp_path)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1, captured.err
    assert captured.err.startswith("error: ")
    assert re.search(message, captured.err), captured.err
    assert not out.exists()


def test_an_output_folder_that_cannot_be_made_is_one_line(photos, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert synthesize("texture", "--images", photos, *SMALL, "--out", tmp_path / "file" / "out") == 2
    assert "cannot write to the output folder" in capsys.readouterr().err


def test_images_lying_in_the_output_folder(photos, capsys):
    assert synthesize("texture", "--images", photos, *SMALL, "--out", photos) == 2
    assert "lie in the output folder; give another one with --out" in capsys.readouterr().err
    assert len(list(photos.iterdir())) == 3


def test_the_job_is_a_function_of_its_settings(finished, photos, tmp_path):
    config = TextureConfig(images=str(photos), size=SIZE, layers=("relu1_1", "pool1"), history=8, topk=TopK(0.2))
    rows = jobs.texture(replace(config, steps=STEPS, out=str(tmp_path)))
    assert rows == list(summary(tmp_path).values())
    assert_same_results(tmp_path, finished)


def test_an_architecture_without_layers_to_match_asks_for_them(vgg_trunk, monkeypatch):
    record = replace(registry.architecture("vgg16"), match=())
    monkeypatch.setitem(registry._ARCHITECTURES, "vgg16", record)
    with pytest.raises(InputError, match="no layers to match are known for vgg16; name some with --layers, among conv"):
        jobs.layers_to_match(vgg_trunk.network, None)
    assert jobs.layers_to_match(vgg_trunk.network, ("pool1",)) == ("pool1",)


@pytest.mark.parametrize("arguments", [["--help"], ["figure", "--help"]], ids=" ".join)
def test_help_starts_no_jax(arguments):
    script = (
        "import runpy, sys\n"
        "try:\n    runpy.run_path('synthesize.py', run_name='__main__')\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        "print('imported:', *sorted({'jax', 'flax', 'matplotlib', 'skimage', 'numpy', 'PIL'} & set(sys.modules)))\n"
    )
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "imported:"
