"""`evaluate.py accuracy` again in the same folder, also after it was stopped halfway."""

import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from support.commands import ROOT, files, results, rows
from support.images import noise
from support.small_network import SIDE, save_run

from sparseshape_jax.data import loader
from sparseshape_jax.evaluation import accuracy
from sparseshape_jax.evaluation.classifiers import Classifier
from sparseshape_jax.top_k.spec import TopK


@pytest.fixture
def run_and_data(tmp_path, small_network, own_place) -> tuple[object, ...]:
    """A command for a network of three classes at two sparsities: 13 images, two of them bad, in batches of three."""
    trained = (TopK(0.2, keep="rest", after=("conv1",)),)
    save_run(tmp_path / "run", ("a", "b", "c"), trained)
    for number in range(13):
        path = tmp_path / "data" / "abc"[number // 5] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(SIDE, SIDE, number)).save(path)
    for name in ("a/04.png", "c/12.png"):
        (tmp_path / "data" / name).write_text("no image")
    flags = ("--weights", "run", "--data", "data", "--fractions", "[1.0,trained]", "--batch_size", 3)
    return "accuracy", *flags, "--skip_bad", "--out", "out"


@pytest.fixture
def decoded(monkeypatch) -> list[int]:
    """Grows by one whenever an image is decoded."""
    seen: list[int] = []
    prepare = loader.prepare

    def counted(*arguments):
        seen.append(1)
        return prepare(*arguments)

    monkeypatch.setattr(loader, "prepare", counted)
    return seen


def test_a_finished_run_decodes_nothing_again(evaluate, run_and_data, decoded, shown, tmp_path):
    assert evaluate(*run_and_data).status == 0
    assert (len(decoded), shown) == (11, [1.0, 0.2] * 4)
    before = {name: (tmp_path / "out" / name).read_bytes() for name in files(tmp_path / "out")}
    decoded.clear()
    shown.clear()
    again = evaluate(*run_and_data)
    assert (decoded, shown) == ([], [])
    assert {name: (tmp_path / "out" / name).read_bytes() for name in files(tmp_path / "out")} == before
    assert "2 images could not be decoded and were left out: data/a/04.png, data/c/12.png" in again.out
    assert ["small", "0.2", "rest", "trained"] in [line.split()[:4] for line in again.out.splitlines()]

    # What is new is measured, next to what is there; what is not asked for stays, but is not printed.
    other = evaluate(*run_and_data, "--fractions", "[0.5,1.0]")
    assert shown == [0.5] * 4
    assert [(row["fraction"], row["keep"]) for row in rows(tmp_path / "out")] == [
        (0.5, "rest"),
        (1.0, "all"),
        (0.2, "rest"),
    ]
    assert [line.split()[1] for line in other.out.splitlines() if line.startswith("small")] == ["0.5", "1"]

    # Other images, or other weights.
    shown.clear()
    Image.fromarray(noise(SIDE, SIDE, 99)).save(tmp_path / "data" / "b" / "99.png")
    assert evaluate(*run_and_data).status == 0
    assert shown == [1.0, 0.2] * 4
    shown.clear()
    save_run(tmp_path / "run", ("a", "b", "c"), (TopK(0.2, keep="rest", after=("conv1",)),), seed=1)
    assert evaluate(*run_and_data).status == 0
    assert shown == [1.0, 0.2] * 4


def stop_after(monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    """Press Ctrl-C once a batch has been shown `calls` times."""
    logits, seen = Classifier.logits, []

    def stopping(self: Classifier, images: np.ndarray) -> np.ndarray:
        if len(seen) == calls:
            raise KeyboardInterrupt
        seen.append(1)
        return logits(self, images)

    monkeypatch.setattr(Classifier, "logits", stopping)


@pytest.mark.parametrize(("calls", "left"), [(0, 4), (1, 4), (2, 3), (5, 2), (7, 1)])
def test_a_stopped_run_resumes(evaluate, run_and_data, shown, tmp_path, monkeypatch, calls, left):
    assert evaluate(*run_and_data, "--out", "uninterrupted").status == 0
    monkeypatch.setattr(accuracy, "SAVED_EVERY", 0)
    with monkeypatch.context() as patch:
        stop_after(patch, calls)
        assert evaluate(*run_and_data).status == 130
    saved = files(tmp_path / "out")
    assert len(saved) == (1 if left < 4 else 0)
    assert all(name.startswith(".state-") for name in saved)
    shown.clear()
    resumed = evaluate(*run_and_data)
    assert resumed.status == 0, resumed.err
    assert shown == [1.0, 0.2] * left
    assert rows(tmp_path / "out") == rows(tmp_path / "uninterrupted")
    assert results(tmp_path / "out")["skipped"] == ["data/a/04.png", "data/c/12.png"]
    assert files(tmp_path / "out") == files(tmp_path / "uninterrupted")


@pytest.mark.parametrize("last", ["bad", "good"])
def test_a_run_stopped_at_its_very_end_resumes(evaluate, run_and_data, shown, tmp_path, monkeypatch, last):
    """All images are counted, but no row is written yet."""
    if last == "good":
        (tmp_path / "data" / "c" / "12.png").unlink()
    assert evaluate(*run_and_data, "--out", "uninterrupted").status == 0
    monkeypatch.setattr(accuracy, "SAVED_EVERY", 0)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(accuracy.Tally, "row", interrupt)
        assert evaluate(*run_and_data).status == 130
    shown.clear()
    resumed = evaluate(*run_and_data)
    assert resumed.status == 0, resumed.err
    assert shown == []
    assert rows(tmp_path / "out") == rows(tmp_path / "uninterrupted")
    assert files(tmp_path / "out") == files(tmp_path / "uninterrupted")


def test_what_is_left_of_a_stopped_run_is_not_for_other_images(evaluate, run_and_data, shown, tmp_path, monkeypatch):
    monkeypatch.setattr(accuracy, "SAVED_EVERY", 0)
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        assert evaluate(*run_and_data).status == 130
    Image.fromarray(noise(SIDE, SIDE, 99)).save(tmp_path / "data" / "a" / "00.png")
    shown.clear()
    assert evaluate(*run_and_data).status == 0
    assert shown == [1.0, 0.2] * 4


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL on this system")
def test_a_killed_run_resumes(evaluate, run_and_data, shown, tmp_path):
    script = f"""
import os, runpy, signal, sys
sys.path.insert(0, {str(ROOT / "tests")!r})
from support.small_network import SMALL
from sparseshape_jax.evaluation import accuracy
from sparseshape_jax.evaluation.classifiers import Classifier
from sparseshape_jax.models import register
register("small", SMALL)
accuracy.SAVED_EVERY = 0
logits, seen = Classifier.logits, []
def dying(self, images):
    if len(seen) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    seen.append(1)
    return logits(self, images)
Classifier.logits = dying
runpy.run_path({str(ROOT / "evaluate.py")!r}, run_name="__main__")
"""
    arguments = [sys.executable, "-c", script, *map(str, run_and_data)]
    killed = subprocess.run(arguments, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert evaluate(*run_and_data).status == 0
    assert shown == [1.0, 0.2] * 2
    assert evaluate(*run_and_data, "--out", "uninterrupted").status == 0
    assert rows(tmp_path / "out") == rows(tmp_path / "uninterrupted")
