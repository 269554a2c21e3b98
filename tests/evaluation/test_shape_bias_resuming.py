"""`evaluate.py shape-bias` again in the same folder: what it measures anew, after it was stopped too."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.commands import ROOT, files, rows, table
from support.networks import random_network

from sparseshape_jax.evaluation.classifiers import Classifier
from sparseshape_jax.preprocessing import Preprocessing
from sparseshape_jax.weights.assign import save_safetensors

# The terminal's warnings: what is drawn is not the point here, and random weights rarely see anything.
pytestmark = [
    pytest.mark.filterwarnings("always:there are no records of human subjects"),
    pytest.mark.filterwarnings("always:.* has no shape or texture decision"),
]


def sparse_squeezenet(stimuli: Path, weights: Path, out: Path, *more: object) -> tuple[object, ...]:
    """Nine stimuli in three batches at two sparsities, with one Top-K on a small map so that it compiles fast."""
    flags = ("--model", "squeezenet1_1", "--weights", weights, "--stimuli", stimuli, "--out", out, "--batch_size", 3)
    return "shape-bias", *flags, "--fractions", "[1.0,0.2]", "--topk.after", "[pool5]", *more


ONE_LOOK = [1.0]
"""A run always shows its first batch to the first network, to refuse a wrong one before anything is written."""
DENSE, SPARSE = [1.0] * 3, [0.2] * 3
SPARSE_NAME = "squeezenet1_1_topK_20"


def test_a_finished_run_measures_nothing_again(evaluate, stimuli, weights, shown, tmp_path):
    out = tmp_path / "out"
    command = sparse_squeezenet(stimuli, weights, out)
    assert evaluate(*command).status == 0
    assert shown == ONE_LOOK + DENSE + SPARSE
    before = {name: (out / name).read_bytes() for name in files(out)}

    shown.clear()
    again = evaluate(*command)
    assert again.status == 0
    assert shown == ONE_LOOK
    assert "18/18" in again.err
    assert {name: (out / name).read_bytes() for name in files(out)} == before

    shown.clear()  # the size of batches does not matter, and other fractions come next to the old ones
    assert evaluate(*command, "--batch_size", 9, "--fractions", "[1.0,0.1,0.2]").status == 0
    assert shown == [1.0, 0.1]
    assert [entry["fraction"] for entry in rows(out)] == [1.0, 0.1, 0.2]

    shown.clear()  # what is not asked for stays, but is not printed
    fewer = evaluate(*command, "--fractions", "[0.2]")
    assert fewer.status == 0
    assert shown == [0.2]
    assert [entry["fraction"] for entry in rows(out)] == [0.2, 1.0, 0.1]
    assert [line["fraction"] for line in table(out / "summary.csv")] == ["0.2", "1.0", "0.1"]
    assert [line.split()[1] for line in fewer.out.splitlines() if line.startswith("squeezenet1_1 ")] == ["0.2"]

    shown.clear()  # records that are gone, or were made of other weights, are made again
    (out / "raw-data/cue-conflict/cue-conflict_squeezenet1-1-topK-20_session-1.csv").unlink()
    assert evaluate(*command).status == 0
    assert shown == ONE_LOOK + SPARSE


def _other_weights(stimuli: Path, tmp_path: Path) -> tuple[object, ...]:
    network, preprocessing = random_network("squeezenet1_1", seed=1), Preprocessing(resize=64, crop=64)
    save_safetensors(network, tmp_path / "other.safetensors", preprocessing=preprocessing)
    return "--weights", tmp_path / "other.safetensors"


def _other_placement(stimuli: Path, tmp_path: Path) -> tuple[object, ...]:
    return "--topk.after", "[pool3]"


def _other_precision(stimuli: Path, tmp_path: Path) -> tuple[object, ...]:
    return "--compute_dtype", "bfloat16"


def _other_pixels(stimuli: Path, tmp_path: Path) -> tuple[object, ...]:
    Image.new("RGB", (224, 224), "white").save(stimuli / "car" / "car1-clock1.png")
    return ()


def _other_names(stimuli: Path, tmp_path: Path) -> tuple[object, ...]:
    (stimuli / "car" / "car1-clock1.png").rename(stimuli / "car" / "car1-dog1.png")
    return ()


@pytest.mark.parametrize(
    ("change", "again"),
    [
        (_other_weights, DENSE + SPARSE),
        (_other_placement, SPARSE),
        (_other_precision, DENSE + SPARSE),
        (_other_pixels, DENSE + SPARSE),
        (_other_names, DENSE + SPARSE),
    ],
    ids=lambda value: value.__name__[1:] if callable(value) else "",
)
def test_what_other_settings_made_is_measured_again(evaluate, stimuli, weights, shown, tmp_path, change, again):
    out = tmp_path / "out"
    command = sparse_squeezenet(stimuli, weights, out)
    assert evaluate(*command).status == 0
    before = {entry["observer"]: entry["fingerprint"] for entry in rows(out)}
    shown.clear()
    changed = evaluate(*command, *change(stimuli, tmp_path))
    assert changed.status == 0, changed.err
    assert shown == ONE_LOOK + again
    now = {entry["observer"]: entry["fingerprint"] for entry in rows(out)}
    assert len(now) == 2
    assert {name for name in now if now[name] != before.get(name)} == (set(now) if DENSE[0] in again else {SPARSE_NAME})


def stop_after(monkeypatch: pytest.MonkeyPatch, batches: int, error: type[BaseException]) -> None:
    """Let the run fail once `batches` have been shown to a network."""
    logits, seen = Classifier.logits, []

    def stopping(self: Classifier, images: np.ndarray) -> np.ndarray:
        seen.append(1)
        if len(seen) > batches:
            raise error
        return logits(self, images)

    monkeypatch.setattr(Classifier, "logits", stopping)


def test_a_stopped_run_resumes(evaluate, stimuli, weights, tmp_path, monkeypatch, shown):
    command = sparse_squeezenet(stimuli, weights, tmp_path / "out")
    with monkeypatch.context() as patch:
        stop_after(patch, 1 + 3 + 2, KeyboardInterrupt)  # in the middle of the sparse network
        stopped = evaluate(*command)
    assert stopped.status == 130
    assert stopped.err.splitlines()[-1].endswith("stopped; run the same command again to resume")
    out = tmp_path / "out"
    records = "raw-data/cue-conflict/cue-conflict_squeezenet1-1{}_session-1.csv".format
    assert files(out) == {"config.yaml", "results.json", records("")}
    assert [entry["fraction"] for entry in rows(out)] == [1.0]

    shown.clear()
    assert evaluate(*command).status == 0
    assert shown == ONE_LOOK + SPARSE
    uninterrupted = tmp_path / "uninterrupted"
    assert evaluate(*command, "--out", uninterrupted).status == 0
    assert files(out) == files(uninterrupted)
    for name in files(out) - {"config.yaml", "results.json"}:
        assert (out / name).read_bytes() == (uninterrupted / name).read_bytes(), name
    assert rows(out) == rows(uninterrupted)


@pytest.mark.slow
def test_a_stopped_change_of_settings_leaves_nothing_to_confuse(
    evaluate, stimuli, weights, tmp_path, monkeypatch, shown
):
    """Records of the first weights are still there, but must not pass for those of the second."""
    out = tmp_path / "out"
    first = sparse_squeezenet(stimuli, weights, out)
    second = (*first, *_other_weights(stimuli, tmp_path))
    assert evaluate(*first).status == 0
    with monkeypatch.context() as patch:
        stop_after(patch, 1 + 3 + 2, KeyboardInterrupt)
        assert evaluate(*second).status == 130
    shown.clear()
    assert evaluate(*second).status == 0
    assert shown == ONE_LOOK + SPARSE
    shown.clear()
    assert evaluate(*first).status == 0
    assert shown == ONE_LOOK + DENSE + SPARSE


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL on this system")
def test_a_killed_run_resumes(evaluate, stimuli, weights, shown, tmp_path):
    command = sparse_squeezenet(stimuli, weights, tmp_path / "out")
    script = f"""
import os, runpy, signal, sys
from sparseshape_jax.evaluation.classifiers import Classifier
logits = Classifier.logits
def dying(self, images):
    if self.spec.fraction == 0.2:
        os.kill(os.getpid(), signal.SIGKILL)
    return logits(self, images)
Classifier.logits = dying
runpy.run_path({str(ROOT / "evaluate.py")!r}, run_name="__main__")
"""
    arguments = [sys.executable, "-c", script, *map(str, command)]
    killed = subprocess.run(arguments, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert evaluate(*command).status == 0
    assert shown == ONE_LOOK + SPARSE
    assert [entry["n"] for entry in rows(tmp_path / "out")] == [7, 7]


def test_names_that_change_places(evaluate, stimuli, weights, shown, tmp_path):
    """What shares fraction and keep is told apart by its position, so another order is other names."""
    command = sparse_squeezenet(stimuli, weights, tmp_path / "out")[:-4]
    first, second = "{fraction: 0.2, after: [pool5]}", "{fraction: 0.2, keep: top, after: [pool3]}"
    for specs in ([first, second], [second, first]):
        assert evaluate(*command, "--fractions", f"[{', '.join(specs)}]").status == 0
        names = ["squeezenet1_1_topK_20", "squeezenet1_1_topK_20_b"]
        assert [row["observer"] for row in rows(tmp_path / "out")] == names
        after = [tuple(row["top_k"][0]["after"]) for row in rows(tmp_path / "out")]
        assert after == [("pool5",), ("pool3",)][:: 1 if specs[0] == first else -1]


def test_a_model_of_ones_own_is_always_measured_again(evaluate, stimuli, shown, tmp_path):
    """Its code may have changed, and nothing tells."""
    command = ("shape-bias", "--stimuli", stimuli, "--model", "painted:network", "--fractions", "[1.0]")
    for _ in range(2):
        shown.clear()
        assert evaluate(*command).status == 0
        assert shown == [*ONE_LOOK, 1.0]
