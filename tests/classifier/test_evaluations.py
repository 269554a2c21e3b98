"""Evaluation in a run of train.py: plateaus of the learning rate, scores by class, evaluation between epochs."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file
from support.colored_noise import write_noise
from support.commands import log_of

from sparseshape_jax.classifier.task import ClassifierTask
from sparseshape_jax.cli import main

SETTINGS = {
    "model": "resnet_small",
    "topk": {"fraction": 0.2},
    "optimizer": {"learning_rate": 0.02},
    "schedule": {"kind": "plateau", "patience": 0, "factor": 0.5, "threshold": 0.9},
    "epochs": 4,
    "eval_steps": 2,
    "batch_size": 8,
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of colored noise: 14 images each to train on, 7, 6 and 5 to evaluate."""
    counts = {"train": (14, 14, 14), "val": (7, 6, 5)}
    return write_noise(tmp_path_factory.mktemp("photos"), counts, tint=60)


@pytest.fixture
def run(small_train, photos, tmp_path):
    def run(out: Path, *more: str) -> int:
        data = {"path": str(photos), "image_size": 16, "resize": 16, "threads": 2}
        data["augment"] = {"crop": "random_resized", "padding": 2, "scale": [0.5, 1.0]}
        (tmp_path / "settings.yaml").write_text(yaml.safe_dump(SETTINGS | {"data": data}))
        flags = ["classifier", "--config", str(tmp_path / "settings.yaml"), "--out", str(out), *more]
        return main("", small_train["JOBS"], flags)

    return run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs") / "whole"


@pytest.fixture
def whole_run(run, whole) -> Path:
    """A run that nothing interrupted."""
    if not whole.exists():
        assert run(whole) == 0
    return whole


def test_the_learning_rate_falls_when_the_loss_on_val_does_not(whole_run):
    train = [row for row in log_of(whole_run) if row["kind"] == "train"]
    losses = [row["loss"] for row in log_of(whole_run) if row["kind"] == "eval" and row["epoch"] in (1, 2, 3, 4)]
    expected, lowest, rate = [], np.inf, 0.02
    for loss in losses:
        expected.append(pytest.approx(rate, rel=1e-6))
        lowest, rate = (loss, rate) if loss < 0.1 * lowest else (lowest, rate * 0.5)
    assert [row["learning_rate"] for row in train] == expected
    assert train[-1]["learning_rate"] < 0.02


def test_a_plateau_changes_what_is_learned(run, whole_run, tmp_path):
    assert run(tmp_path / "constant", "--schedule.kind", "constant") == 0
    one, other = (load_file(folder / "last.safetensors") for folder in (whole_run, tmp_path / "constant"))
    assert any((one[name] != other[name]).any() for name in one)
    assert log_of(tmp_path / "constant")[:6] == log_of(whole_run)[:6], "the first epoch is the same"


def test_evaluations_by_steps_stand_between_those_of_epochs(run, whole_run, tmp_path, capfd):
    evaluated = [(row["step"], row["epoch"]) for row in log_of(whole_run) if row["kind"] == "eval"]
    assert evaluated == [(step, pytest.approx(step / 5)) for step in (2, 4, 5, 6, 8, 10, 12, 14, 15, 16, 18, 20)]
    results = json.loads((whole_run / "results.json").read_text())["rows"]
    assert [row["epoch"] for row in results] == [epoch for _, epoch in evaluated]
    assert len({row["fingerprint"] for row in results}) == 12
    capfd.readouterr()
    assert run(tmp_path / "without", "--eval_steps", "0") == 0
    assert "best top-1 (epoch)" in capfd.readouterr().out
    assert log_of(tmp_path / "without") == [row for row in log_of(whole_run) if row["epoch"] % 1 == 0]
    for name in ("last", "best"):
        one, other = (load_file(folder / f"{name}.safetensors") for folder in (whole_run, tmp_path / "without"))
        for key, array in one.items():
            np.testing.assert_array_equal(array, other[key], err_msg=key)


def test_scores_by_class_belong_together(whole_run):
    for row in (row for row in log_of(whole_run) if row["kind"] == "eval"):
        assert list(row["per_class"]) == list(row["f1"]) == ["blue", "green", "red"]
        hits = [round(share * count) for share, count in zip(row["per_class"].values(), (7, 6, 5), strict=True)]
        assert sum(hits) / 18 == pytest.approx(row["top1"])
        # From F1 and the hits follows how often each class was chosen, and that is 18 times in all.
        chosen = [
            2 * hit / f1 - count if f1 else None
            for hit, f1, count in zip(hits, row["f1"].values(), (7, 6, 5), strict=True)
        ]
        if None not in chosen:
            assert sum(chosen) == pytest.approx(18)


@pytest.mark.parametrize("step", [1, 5, 7], ids=["before an evaluation", "after a reduction", "in an epoch"])
def test_stopped_anywhere_it_ends_with_the_same_bits(run, whole_run, tmp_path, monkeypatch, step):
    real, out = ClassifierTask.step, tmp_path / "stopped"

    def stopping(self, state, batch, number):
        if number == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, state, batch, number)

    with monkeypatch.context() as patch:
        patch.setattr(ClassifierTask, "step", stopping)
        assert run(out) == 130
    assert max(int(path.name) for path in (out / "checkpoints").iterdir()) == step + 1
    assert run(out) == 0
    assert log_of(out) == log_of(whole_run)
    for name in ("last", "best"):
        one, other = (load_file(folder / f"{name}.safetensors") for folder in (whole_run, out))
        for key, array in one.items():
            np.testing.assert_array_equal(array, other[key], err_msg=key)


def test_bad_settings_are_refused(run, tmp_path, capfd):
    for more, message in (
        (("--eval_steps", "-1"), "eval_steps is -1; it must be from 0 to"),
        (("--schedule.patience", "-1"), "schedule.patience is -1; it must be from 0 to"),
        (("--schedule.factor", "2"), "schedule.factor is 2.0; it must be from 0 to 1"),
        (("--data.augment.padding", "-1"), "padding is -1; it must not be negative"),
        (("--data.augment.crop", "center"), "padding is 2, but crop is center"),
    ):
        assert run(tmp_path / "out", *more) == 2
        assert message in capfd.readouterr().err
    assert not (tmp_path / "out").exists()
