"""A whole run of train.py few-shot: what it leaves behind, resuming, going back to the best, and what it refuses."""

import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors.numpy import load_file
from support.commands import ROOT, files, log_of, refused, results, training
from support.killed import kill

from sparseshape_jax import parallel
from sparseshape_jax.few_shot.measure import Evaluator, Measured
from sparseshape_jax.few_shot.task import FewShotTask

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # an iteration takes minutes to compile

DISTANCE = "vgg16-fid@64"


def of_kind(out: Path, kind: str) -> list[dict]:
    return [row for row in log_of(out) if row["kind"] == kind]


def same_weights(one: Path, other: Path) -> None:
    for name in ("last.safetensors", "best.safetensors"):
        ours, theirs = load_file(one / name), load_file(other / name)
        assert ours.keys() == theirs.keys()
        for key, array in ours.items():
            np.testing.assert_array_equal(array, theirs[key], err_msg=f"{name}: {key}")


def shape(path: Path) -> tuple[int, ...]:
    with Image.open(path) as image:
        return np.asarray(image).shape


def test_a_run_leaves_behind_what_people_need(trained, train):
    assert {"config.yaml", "metrics.jsonl", "last.safetensors", "best.safetensors", "results.json"} <= files(trained)
    assert {"figures/curves.png", "figures/curves.pdf", "figures/samples.png"} <= files(trained)
    for step in (2, 4, 6):
        # Four pictures of 64 pixels two by two; five columns, as many rows as the batch has pictures.
        assert shape(trained / "samples" / f"{step:06d}.png") == (130, 130, 3)
        assert shape(trained / "reconstructions" / f"{step:06d}.png") == (4 * 34 - 2, 5 * 34 - 2, 3)
    trainings = of_kind(trained, "train")
    assert [row["step"] for row in trainings] == list(range(1, 7))
    terms = {"hinge_real", "hinge_fake", "generator", "lpips_big", "lpips_small", "lpips_part"}
    assert terms | {"logit_real", "logit_fake", "change"} <= trainings[0].keys()
    measured = of_kind(trained, "eval")
    assert [row["step"] for row in measured] == [0, 2, 4, 6]
    facts = {"protocol": "clean", "features": "vgg16", "statistics": "standing", "n_fake": 10, "n_real": 10}
    for row in measured:
        assert facts.items() <= row.items()
        assert {DISTANCE, "vgg16-kid@64", "rank_fake", "rank_real"} <= row.keys()
    assert [row["step"] for row in results(trained)["rows"]] == [0, 2, 4, 6]
    assert [spec["after"] for spec in results(trained)["rows"][0]["top_k"]] == [["feat_32"]]

    # What is finished is not done again, and the same folder takes no other settings.
    logged, before = log_of(trained), results(trained)
    again = train(trained)
    assert again.status == 0, again.err
    assert f"{'best':<12} {min(measured[1:], key=lambda row: row[DISTANCE])['step']:9}" in again.out
    assert log_of(trained) == logged
    assert results(trained) == before
    assert "average; give the same settings" in train(trained, "--average", "0.9").err


def test_more_iterations_continue_a_run(trained, train, tmp_path):
    shutil.copytree(trained, tmp_path / "out")
    assert train(tmp_path / "out", "--iterations", "8").status == 0
    assert log_of(tmp_path / "out")[: len(log_of(trained))] == log_of(trained)
    assert of_kind(tmp_path / "out", "eval")[-1]["step"] == 8


@pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_at_any_moment_it_ends_with_the_same_bits(flags, train, trained, tmp_path, times):
    """Also while saving, and while going back: with patience 1, that happens at every evaluation without a new best."""
    more = ("--checkpoint_every", "1", "--iterations", str(6 * times))
    whole, out = trained if times == 1 else tmp_path / "whole", tmp_path / "killed"
    assert train(whole, *more).status == 0
    kill(lambda: training(flags(out, *more)), out, times=times, longest=0.5)
    done = train(out, *more)
    assert done.status == 0, done.err
    assert "resuming at step" in done.out
    same_weights(whole, out)
    assert log_of(whole) == log_of(out)
    assert files(whole / "samples") == files(out / "samples")


def test_going_back_restores_the_best_state_but_for_noise(train, tmp_path, monkeypatch):
    """With a rigged distance: new bests at 2 and 4, then none; patience 2."""
    distances = iter([5.0, 9.0, 3.0, 4.0, 3.5, 6.0, 7.0])  # the second is the untrained generator's
    states, returned = {}, []
    end, back = FewShotTask.end_epoch, FewShotTask._return

    def measure(self, weights):
        value = next(distances)
        return Measured(value, {DISTANCE: value, "n_fake": 10, "n_real": 10, "protocol": "clean"})

    def end_epoch(self, state, epoch):
        states[epoch.step] = parallel.unreplicate(state)
        return end(self, state, epoch)

    def going_back(self, found, best, step):
        result = back(self, found, best, step)
        returned.append((step, parallel.unreplicate(found), parallel.unreplicate(result)))
        return result

    monkeypatch.setattr(Evaluator, "measure", measure)
    monkeypatch.setattr(FewShotTask, "end_epoch", end_epoch)
    monkeypatch.setattr(FewShotTask, "_return", going_back)
    out, bound = tmp_path / "out", 1e-3
    more = ("--iterations", "12", "--evaluation.patience", "2", "--evaluation.noise", str(bound))
    done = train(out, *more)
    assert done.status == 0, done.err
    assert [(row["step"], row["to_step"]) for row in of_kind(out, "rollback")] == [(8, 4), (12, 4)]
    assert "went back to the best 2 times" in done.out
    assert [row["step"] for row in of_kind(out, "train")] == list(range(1, 13)), "every iteration counts once"

    for step, found, result in returned:
        for ours, theirs in zip(jax.tree.leaves(found.gan), jax.tree.leaves(states[4].gan), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert int(result.gan.step) == step
        before, after = found.gan.generator, result.gan.generator
        moved = [
            np.abs(ours - theirs)
            for ours, theirs in zip(jax.tree.leaves(before.params), jax.tree.leaves(after.params), strict=True)
        ]
        assert all(0 < change.max() <= bound * (1 + 1e-4) for change in moved)
        assert np.concatenate([change.ravel() for change in moved]).mean() == pytest.approx(bound / 2, rel=0.05)
        rest = result.gan._replace(step=found.gan.step, generator=after._replace(params=before.params))
        for ours, theirs in zip(jax.tree.leaves(rest), jax.tree.leaves(found.gan), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    first, second = (jax.tree.leaves(result.gan.generator.params) for _, _, result in returned)
    assert any((one != other).any() for one, other in zip(first, second, strict=True)), "the noise differs each time"


def test_measuring_leaves_training_as_it_is(train, trained, tmp_path):
    """The same iterations, measured half as often and on other pictures, end with the same generator."""
    more = ("--evaluation.every", "6", "--evaluation.samples", "12", "--evaluation.patience", "0")
    assert train(tmp_path / "rare", *more).status == 0
    assert train(tmp_path / "often", "--evaluation.patience", "0").status == 0
    ours, theirs = (load_file(tmp_path / name / "last.safetensors") for name in ("rare", "often"))
    for key, array in ours.items():
        np.testing.assert_array_equal(array, theirs[key], err_msg=key)


def test_dry_run(train, tmp_path):
    done = train(tmp_path / "out", "--dry_run")
    assert done.status == 0, done.err
    assert "5% after feat_32" in done.out
    assert "TFLOP per iteration" in done.out
    assert files(tmp_path / "out") == {"first-batch.png"}
    assert shape(tmp_path / "out" / "first-batch.png") == (130, 130, 3)


@pytest.mark.slow
def test_the_papers_way_of_sampling(train, tmp_path):
    done = train(tmp_path / "out", "--evaluation.protocol", "paper", "--iterations", "2")
    assert done.status == 0, done.err
    for row in of_kind(tmp_path / "out", "eval"):
        assert row["statistics"] == "batch"
        assert len(row[f"{DISTANCE} repeats"]) == 3
        assert row[DISTANCE] == min(row[f"{DISTANCE} repeats"])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--data.path", "nowhere"), "there is no folder nowhere"),
        (("--data.size", "96"), r"size is 96; it can be 64, 128, 256, 512, 1024"),
        (("--data.size", "2048"), r"size is 2048"),
        (("--data.size", "512", "--networks.ngf", "3"), "ngf is 3; the network for 512 pixels needs at least 4"),
        (("--batch_size", "1"), "batch_size is 1; batch statistics need at least 2 pictures"),
        (("--batch_size", "12"), r"batch_size is 12; .* has 10 images, so it must be from 1 to 10"),
        (("--sparsity", "128_5"), r"has no activation called 'feat_128'"),
        (("--sparsity", "32-5"), r"'32-5' is not a Top-K placement"),
        (("--topk.fraction", "0"), r"keep fraction is 0"),
        (("--topk.fraction", "1.5"), r"keep fraction is 1.5"),
        (("--iterations", "7"), r"iterations is 7; it must be a multiple of evaluation.every, 2"),
        (("--log_every", "4"), r"evaluation.every is 2; it must be a multiple of log_every, 4"),
        (("--augment", "color", "blur"), "Expected one of .color., .translation., .cutout.. Got value: blur"),
        (("--evaluation.protocol", "tf"), "says how Inception's input is resized"),
        (("--evaluation.inception", "x.pth"), "leave one of the two out"),
    ],
)
def test_bad_input_is_refused_in_one_line(train, tmp_path, more, message):
    refused(train(tmp_path / "out", *more), message, tmp_path / "out")


def test_bad_pictures_are_refused_or_left_out(train, pictures, tmp_path):
    folder, out = tmp_path / "bad", tmp_path / "out"
    folder.mkdir()
    refused(train(out, "--data.path", str(folder)), "there are no images in", out)
    shutil.copy(pictures / "0.png", folder)
    refused(train(out, "--data.path", str(folder)), "has one picture", out)
    shutil.copytree(pictures, folder, dirs_exist_ok=True)
    (folder / "cut.png").write_bytes((pictures / "0.png").read_bytes()[:200])
    refused(train(out, "--data.path", str(folder)), r"cut\.png", out)
    done = train(out, "--data.path", str(folder), "--data.skip_bad", "--iterations", "2")
    assert done.status == 0, done.err
    assert "1 pictures were left out" in done.out
    assert "cut.png" in results(out)["skipped"][0]


def test_a_loss_that_is_not_finite_is_named_and_not_saved(train, trained, tmp_path):
    out = tmp_path / "out"
    done = train(out, "--learning_rate", "1e30", "--iterations", "4")
    assert done.status == 2
    assert "are not finite" in done.err
    assert "lpips_big" in done.err
    assert not (out / "last.safetensors").exists()


def test_another_distance_than_before_is_refused(train, trained, tmp_path):
    shutil.copytree(trained, tmp_path / "out")
    log = tmp_path / "out" / "metrics.jsonl"
    log.write_text(log.read_text().replace(DISTANCE, "fid"))
    done = train(tmp_path / "out")
    assert done.status == 2
    assert f"was measured by fid, and now it would be {DISTANCE}" in done.err


def test_settings_import_no_jax():
    code = "import sys, sparseshape_jax.few_shot.config; print('jax' in sys.modules, 'numpy' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["False", "False"]


def test_the_defaults_are_the_references(flags, tmp_path):
    settings = yaml.safe_load((ROOT / "configs" / "few_shot" / "jeep.yaml").read_text())
    assert settings["topk"] == {"fraction": 0.05, "after": ["feat_32"]}
