"""What `synthesize.py stylize` does with bad input."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from support.commands import files
from support.images import noise
from support.stylized import manifest

pytestmark = pytest.mark.usefixtures("_toy")


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
