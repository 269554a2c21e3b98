"""`synthesize.py stylize` as a user runs it, with a stylizer that has no weights."""

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from support.commands import command, files
from support.images import noise
from support.toy_stylizer import Toy

from sparseshape_jax.downloads import sha256
from sparseshape_jax.stylize import job

TOY = Path(__file__).parents[1] / "support" / "toy_stylizer.py"
SIZES = ((20, 30), (20, 30), (24, 16), (20, 30), (12, 12))


@pytest.fixture(autouse=True)
def _toy(monkeypatch, compiled_programs):
    monkeypatch.setattr(job, "load_stylizer", lambda *_, **__: Toy())


@pytest.fixture
def _no_sheet(monkeypatch):
    """Drawing takes longer than all the rest."""
    monkeypatch.setattr(job, "draw_sheet", lambda *_: [])


@pytest.fixture
def run(capsys):
    return command("synthesize.py", capsys)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    for number, size in enumerate(SIZES):
        path = folder / "ab"[number % 2] / f"{number}.{('png', 'BMP')[number % 2]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(*size, seed=number)).save(path)
    return folder


@pytest.fixture
def styles(tmp_path):
    folder = tmp_path / "styles"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(noise(16, 20, seed=10 + number)).save(folder / f"s{number}.png")
    return folder


def manifest(out):
    with (out / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def tree(out):
    """Everything in a folder but the figures' and settings' paths, with hashes."""
    return {name: sha256(out / name) for name in files(out) if name.startswith(("images/", "manifest", "failed"))}


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


@pytest.mark.usefixtures("_no_sheet")
def test_photographs_that_fail_are_listed_and_the_others_are_made(run, photos, styles, tmp_path):
    out = tmp_path / "out"
    whole = (photos / "a" / "0.png").read_bytes()
    (photos / "a" / "0.png").write_bytes(whole[: len(whole) // 2])
    (photos / "a" / "text.jpg").write_text("not an image")
    Image.fromarray(noise(5, 5)).save(photos / "b" / "small.png")
    common = ("stylize", "--content", photos, "--style", styles, "--style_size", 16, "--out", out)
    found = run(*common)
    assert found.status == 1
    assert found.err.splitlines()[-1] == f"3 of 7 photographs failed; {out / 'failed.csv'} says why"
    with (out / "failed.csv").open(newline="") as file:
        failed = {line["path"]: line["reason"] for line in csv.DictReader(file)}
    assert list(failed) == ["a/0.png", "a/text.jpg", "b/small.png"]
    assert "cannot be decoded" in failed["a/0.png"]
    assert "is not an image" in failed["a/text.jpg"]
    assert "5×5 pixels; adain needs sides of at least 9, so give --size" in failed["b/small.png"]
    assert len(manifest(out)) == 4
    row = json.loads((out / "results.json").read_text())["rows"][0]
    assert (row["files"], row["failed"]) == (4, 3)
    (photos / "a" / "0.png").write_bytes(whole)
    (photos / "a" / "text.jpg").unlink()
    assert run(*common).status == 1
    assert len(manifest(out)) == 5
    (photos / "b" / "small.png").unlink()
    found = run(*common)
    assert (found.status, (out / "failed.csv").read_text()) == (0, "path,reason\n")


@pytest.mark.usefixtures("_no_sheet")
def test_pixels_of_every_kind_are_read(run, styles, tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    pixels = noise(20, 14)
    Image.fromarray(pixels[..., 0]).save(photos / "gray.png")
    Image.fromarray(np.dstack([pixels, pixels[..., :1]])).save(photos / "rgba.png")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(photos / "deep.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(pixels).save(photos / "turned.png", exif=turned)
    assert run("stylize", "--content", photos, "--style", styles, "--style_size", 16, "--out", out).status == 0
    assert {(line["width"], line["height"]) for line in manifest(out)} == {("14", "20")}
    gray, deep = (next(line for line in manifest(out) if line["content"] == f"{name}.png") for name in ("gray", "deep"))
    if gray["style"] == deep["style"]:
        assert gray["sha256"] == deep["sha256"]


@pytest.mark.usefixtures("_no_sheet")
@pytest.mark.filterwarnings("always")
def test_a_style_of_one_color_is_mentioned(run, photos, tmp_path):
    Image.new("RGB", (16, 16), "gray").save(tmp_path / "gray.png")
    flags = ("--style_size", 16, "--out", tmp_path / "out")
    found = run("stylize", "--content", photos, "--style", tmp_path / "gray.png", *flags)
    assert found.status == 0
    assert "warning: the style gray.png is of one color" in found.err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--alpha", 1.5), "alpha is 1.5; it must be from 0"),
        (("--alpha", ".nan"), "alpha is nan; it must be from 0"),
        (("--styles_per_image", 4), "styles_per_image is 4, but there are 3 styles"),
        (("--styles_per_image", 0), "styles_per_image is 0"),
        (("--out", "{photos}/out"), "is inside"),
        (("--out", "{styles}/out"), "is inside"),
        (("--style", "{photos}/none"), "there is no folder"),
        (("--style", "{empty}"), "there are no images in"),
        (("--content", "{empty}"), "there are no images in"),
        (("--size", 4), "size is 4"),
        (("--size", 16, "--crop", 20), "crop is 20 and size 16"),
        (("--batch_size", 0), "batch_size is 0"),
        (("--seed", -1), "seed is -1"),
        (("--vgg", "vgg.pth"), "vgg and decoder belong together"),
        (("--stylizer", "magenta", "--weights", "run"), "belong to --stylizer adain"),
        (("--weights", "run", "--vgg", "v", "--decoder", "d"), "give one"),
        (("--stylizer", "gatys"), "gatys"),
        (("--format", "gif"), "gif"),
    ],
)
def test_refusals(run, photos, styles, tmp_path, flags, message):
    (tmp_path / "empty").mkdir()
    places = {"photos": photos, "styles": styles, "empty": tmp_path / "empty"}
    before = files(tmp_path)
    flags = [str(flag).format(**places) for flag in flags]
    found = run("stylize", "--content", photos, "--style", styles, "--out", tmp_path / "out", *flags)
    assert found.status == 2
    assert message in found.err
    assert found.err.count("\n") == 1
    assert files(tmp_path) == before


@pytest.mark.usefixtures("_no_sheet")
def test_damaged_styles_and_equal_names_leave_nothing_behind(run, photos, styles, tmp_path):
    out = tmp_path / "out"
    (styles / "s0.png").write_text("not an image")
    (styles / "s1.png").write_text("not an image")
    for flags in ((), ("--preserve_color",)):
        found = run("stylize", "--content", photos, "--style", styles, "--out", out, *flags)
        assert found.status == 2
        assert "is not an image" in found.err.splitlines()[-1]
        assert not out.exists()
    Image.fromarray(noise(20, 20)).save(photos / "a" / "0.jpg")
    found = run("stylize", "--content", photos, "--out", out)
    assert "a/0.jpg and a/0.png" in found.err
    assert not out.exists()


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
        environment = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
        program = [sys.executable, str(TOY), *map(str, [*flags, out])]
        return subprocess.Popen(program, env=os.environ | environment, stderr=subprocess.DEVNULL)

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
