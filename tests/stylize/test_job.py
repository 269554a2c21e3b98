"""`synthesize.py stylize` as a user runs it, with a stylizer that has no weights."""

import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from support.commands import files, on_devices
from support.images import noise
from support.stylized import manifest, tree
from support.toy_stylizer import Toy

from sparseshape_jax.downloads import sha256
from sparseshape_jax.stylize import job

TOY = Path(__file__).parents[1] / "support" / "toy_stylizer.py"
pytestmark = pytest.mark.usefixtures("_toy")


def test_every_photograph_gets_its_style(run, photos, styles, tmp_path):
    out = tmp_path / "out"
    found = run("stylize", "--content", photos, "--style", styles, "--alpha", 0.25, "--style_size", 16, "--out", out)
    assert found.status == 0
    assert "5 images, 5 of them new" in found.out
    images = {f"images/{'ab'[n % 2]}/{n}.png" for n in range(5)}
    others = {"config.yaml", "failed.csv", "figures/contact_sheet.pdf", "figures/contact_sheet.png", "manifest.csv"}
    assert files(out) == images | others | {"results.json", "summary.csv"}
    lines = manifest(out)
    assert [line["file"] for line in lines] == sorted(images)
    assert (out / "failed.csv").read_text() == "path,reason\n"
    for line in lines:
        content = np.asarray(Image.open(photos / line["content"]), np.float32) / 255
        style = np.asarray(Image.open(styles / line["style"]), np.float32)[:, 2:18].mean(axis=(0, 1)) / 255
        blurred = (content + np.roll(content, 1, axis=1)) / 2
        expected = np.floor(255 * (0.25 * style + 0.75 * blurred) + 0.5)
        made = np.asarray(Image.open(out / line["file"]), np.float32)
        assert np.abs(made - expected).max() <= 1
        assert (made != expected).mean() < 0.01  # roundings of exact halves
        assert line["sha256"] == sha256(out / line["file"])
        assert (int(line["height"]), int(line["width"])) == made.shape[:2]
        assert (line["alpha"], line["seed"], line["stylizer"]) == ("0.25", "0", "adain")


@pytest.mark.usefixtures("_no_sheet")
def test_the_result_depends_on_no_other_photograph(run, photos, styles, tmp_path):
    common = ("stylize", "--style", styles, "--style_size", 16)
    assert run(*common, "--content", photos, "--out", tmp_path / "all").status == 0
    for batch_size in (1, 16):
        out = tmp_path / f"batches of {batch_size}"
        assert run(*common, "--content", photos, "--batch_size", batch_size, "--out", out).status == 0
        assert tree(out) == tree(tmp_path / "all")
    (photos / "a" / "0.png").unlink()
    (photos / "b" / "3.BMP").unlink()
    assert run(*common, "--content", photos, "--out", tmp_path / "fewer").status == 0
    assert {line["file"]: line for line in manifest(tmp_path / "all")}.items() >= {
        line["file"]: line for line in manifest(tmp_path / "fewer")
    }.items()
    assert run(*common, "--content", photos, "--seed", 1, "--out", tmp_path / "seed").status == 0
    assert manifest(tmp_path / "seed") != manifest(tmp_path / "fewer")


@pytest.mark.usefixtures("_no_sheet")
def test_a_rerun_makes_what_is_missing_and_refuses_other_settings(run, photos, styles, tmp_path):
    out = tmp_path / "out"
    common = ("stylize", "--content", photos, "--style", styles, "--style_size", 16, "--out", out)
    assert run(*common).status == 0
    before = tree(out)
    (out / "images" / "a" / "2.png").unlink()
    (out / "manifest.csv").unlink()
    assert "5 images, 1 of them new" in run(*common).out
    assert "5 images, 0 of them new" in run(*common).out
    assert tree(out) == before
    for other in (("--alpha", 1), ("--seed", 1), ("--size", 12), ("--preserve_color",)):
        found = run(*common, *other)
        assert found.status == 2
        assert "holds images made with other settings" in found.err
        assert found.err.count("\n") == 1
    Image.fromarray(noise(16, 16)).save(styles / "s3.png")
    assert "other settings, styles" in run(*common).err
    (styles / "s3.png").unlink()
    (out / "results.json").unlink()
    assert "other settings" in run(*common).err
    assert tree(out) == before


@pytest.mark.usefixtures("_no_sheet")
@pytest.mark.parametrize("setting", ["--stylized", "--several"])
def test_names_with_the_style(run, photos, styles, tmp_path, setting):
    out = tmp_path / "out"
    flags = ("--naming", "stylized") if setting == "--stylized" else ("--styles_per_image", 2)
    common = ("stylize", "--content", photos, "--style", styles, "--style_size", 16, "--format", "jpg")
    assert run(*common, *flags, "--out", out).status == 0
    lines = manifest(out)
    assert len(lines) == (5 if setting == "--stylized" else 10)
    for line in lines:
        content, style = Path(line["content"]), Path(line["style"])
        assert line["file"] == f"images/{content.parent}/{content.stem}-stylized-{style.stem}.jpg"
        assert (out / line["file"]).exists()


@pytest.mark.usefixtures("_no_sheet")
def test_resizing_and_cropping(run, photos, styles, tmp_path):
    out = tmp_path / "out"
    flags = ("--size", 12, "--crop", 10, "--style_size", 16, "--out", out)
    assert run("stylize", "--content", photos, "--style", styles, *flags).status == 0
    assert {(line["width"], line["height"]) for line in manifest(out)} == {("10", "10")}


@pytest.mark.usefixtures("_no_sheet")
def test_colors_are_preserved(run, photos, styles, tmp_path):
    """The toy gives each photograph the mean color of its style, which is then its own."""
    out = tmp_path / "out"
    flags = ("--preserve_color", "--alpha", 1, "--style_size", 16, "--out", out)
    assert run("stylize", "--content", photos, "--style", styles, *flags).status == 0
    for line in manifest(out):
        mean = np.asarray(Image.open(photos / line["content"]), np.float32).mean(axis=(0, 1))
        made = np.asarray(Image.open(out / line["file"]), np.float32)
        assert np.abs(made - mean).max() <= 1


class Small(Toy):
    """Has memory for four photographs."""

    def restyle(self, contents, codes, alpha):
        if len(contents) > self.most:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes.")
        return super().restyle(contents, codes, alpha)


@pytest.mark.usefixtures("_no_sheet")
def test_batches_are_halved_when_memory_runs_out(run, photos, styles, tmp_path, monkeypatch):
    flags = ("stylize", "--content", photos, "--style", styles, "--style_size", 16, "--size", 16, "--crop", 16)
    assert run(*flags, "--out", tmp_path / "enough").status == 0
    monkeypatch.setattr("sparseshape_jax.parallel.on_cpu", lambda: False)
    monkeypatch.setattr(Small, "most", 1, raising=False)
    monkeypatch.setattr(job, "load_stylizer", lambda *_, **__: Small())
    found = run(*flags, "--batch_size", 4, "--out", tmp_path / "little")
    assert found.status == 0
    assert "batches of 2" in found.out
    assert "batches of 1" in found.out
    assert tree(tmp_path / "little") == tree(tmp_path / "enough")
    monkeypatch.setattr(Small, "most", 0)
    found = run(*flags, "--batch_size", 1, "--out", tmp_path / "none")
    assert found.status == 1
    assert "16×16 pixels are too many for the memory; give --size" in (tmp_path / "none" / "failed.csv").read_text()


@pytest.mark.usefixtures("_no_sheet")
def test_several_devices_and_a_killed_run(photos, styles, tmp_path):
    """On four devices, and killed as soon as there are two images: the same files."""
    for number in range(5, 40):
        Image.fromarray(noise(20, 30, seed=number)).save(photos / "a" / f"{number}.png")
    flags = ["stylize", "--content", photos, "--style", styles, "--style_size", "16", "--out"]

    def start(out, devices):
        program = [sys.executable, str(TOY), *map(str, [*flags, out])]
        return subprocess.Popen(program, env=on_devices(devices, JAX_PLATFORMS="cpu"), stderr=subprocess.DEVNULL)

    one, killed = start(tmp_path / "one", 1), start(tmp_path / "four", 4)
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "four").rglob("images/*/*.png"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    assert not (tmp_path / "four" / "manifest.csv").exists()
    assert start(tmp_path / "four", 4).wait() == 0
    assert one.wait() == 0
    assert tree(tmp_path / "four") == tree(tmp_path / "one")
    assert len(manifest(tmp_path / "one")) == 40
