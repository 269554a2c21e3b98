"""synthesize.py sample: files, the same picture whatever it is made with, walks, nearest pictures, bad input."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from support.commands import command, files, refused, rows, table

from sparseshape_jax.few_shot.lpips import LPIPS
from sparseshape_jax.few_shot.nearest import distances

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # an iteration takes minutes to compile


@pytest.fixture
def synthesize(capsys):
    return command("synthesize.py", capsys)


def picture(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.fixture
def sample(trained, synthesize, tmp_path):
    def sample(name, *more):
        out = tmp_path / name
        done = synthesize("sample", "--weights", trained, "--out", out, *more)
        assert done.status == 0, done.err
        return out

    return sample


def test_samples_depend_on_weights_seed_and_number_only(sample, trained):
    out = sample("out", "--count", "5")
    assert {f"images/{index:05d}.png" for index in range(5)} | {"grid.png", "samples.json"} <= files(out)
    assert picture(out / "images" / "00004.png").shape == (64, 64, 3)
    for more in (("--batch_size", "2"), ("--batch_size", "1")):
        other = sample("other", "--count", "3", *more)
        assert not (other / "images" / "00003.png").exists(), "of an earlier run with more"
        for index in range(3):
            name = f"images/{index:05d}.png"
            assert (other / name).read_bytes() == (out / name).read_bytes()
    written = json.loads((out / "samples.json").read_text())
    assert (written["seed"], written["statistics"], written["truncation"]) == (0, "standing", 1)
    assert [row["index"] for row in written["samples"]] == list(range(5))
    assert [row["image"] for row in rows(out)] == [row["image"] for row in written["samples"]]
    # The pages that training draws show the same pictures, of its last and of its best weights.
    grid = picture(trained / "figures" / "samples.png")
    np.testing.assert_array_equal(grid[:64, :64], picture(out / "images" / "00000.png"))
    np.testing.assert_array_equal(grid[66:130, 66:130], picture(out / "images" / "00003.png"))
    assert table(out / "summary.csv")[0]["image"] == "images/00000.png"


def test_other_settings_give_other_pictures(sample):
    names = {
        "plain": (),
        "seed": ("--seed", "1"),
        "truncation": ("--truncation", "0.5"),
        "statistics": ("--statistics", "batch"),
        "sparsity": ("--sparsity", "32_50"),
    }
    found = {
        name: picture(sample(name, "--count", "1", *more) / "images" / "00000.png") for name, more in names.items()
    }
    for name in names:
        if name != "plain":
            assert (found[name] != found["plain"]).any(), name


def test_a_walk_begins_and_ends_at_the_latents_pictures(sample):
    out = sample("out", "--interpolate", "3", "--frames", "4")
    plain = sample("plain", "--count", "3")
    strip = picture(out / "strip.png")
    assert strip.shape == (3 * 66 - 2, 8 * 66 - 2, 3)
    ends = [picture(plain / "images" / f"{index:05d}.png") for index in (0, 1, 2, 0)]
    for leg in range(3):
        row = strip[66 * leg : 66 * leg + 64]
        np.testing.assert_array_equal(row[:, :64], ends[leg])
        np.testing.assert_array_equal(row[:, -64:], ends[leg + 1])
    with Image.open(out / "walk.gif") as gif:
        assert (gif.n_frames, gif.size, gif.info["loop"]) == (12, (64, 64), 0)


def test_nearest_pictures_and_a_selection(sample, pictures):
    out = sample("out", "--count", "6", "--nearest", pictures, "--select", "0.34")
    found = rows(out)
    assert {row["nearest"] for row in found} <= {f"{index}.png" for index in range(10)}
    assert sum(row["selected"] for row in found) == 2
    assert max(row["distance"] for row in found if row["selected"]) <= min(
        row["distance"] for row in found if not row["selected"]
    )
    assert {"figures/nearest.png", "figures/nearest.pdf", "selection.png"} <= files(out)
    assert json.loads((out / "samples.json").read_text())["selection"]["fraction"] == 0.34
    assert picture(out / "selection.png").shape == (64, 130, 3)


def test_a_picture_is_nearest_to_itself(pictures):
    reals = [np.asarray(Image.open(pictures / f"{index}.png").resize((64, 64))) for index in range(5)]
    found = distances(reals[:3], reals, LPIPS.load())
    np.testing.assert_allclose(np.diag(found), 0, atol=1e-5)
    assert (found.argmin(axis=1) == range(3)).all()
    np.testing.assert_allclose(found[0, 1], found[1, 0], rtol=1e-4)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--weights", "nowhere"), "nowhere has no generator"),
        (("--weights", "nowhere.pth"), "nowhere.pth"),
        (("--nearest", "nowhere"), "there is no folder nowhere"),
        (("--select", "0.1"), "give them with --nearest DIR"),
        (("--select", "2", "--nearest", "."), r"select is 2.0; it must be in \(0, 1\]"),
        (("--interpolate", "1"), "a walk needs at least 2 latents"),
        (("--interpolate", "2", "--statistics", "batch"), "needs statistics standing"),
        (("--interpolate", "2", "--nearest", "."), "exclude each other"),
        (("--count", "0"), "count is 0"),
        (("--sparsity", "128_5"), "has no activation called 'feat_128'"),
        (("--sparsity", "5"), "is not a Top-K placement"),
    ],
)
def test_bad_input_is_refused_in_one_line(trained, synthesize, tmp_path, more, message):
    given = more if "--weights" in more else ("--weights", trained, *more)
    refused(synthesize("sample", "--out", tmp_path / "out", *given), message, tmp_path / "out")


def test_damaged_weights_are_refused(trained, synthesize, tmp_path):
    whole = (trained / "best.safetensors").read_bytes()
    for name, content in (("cut", whole[:1000]), ("text", b"not weights")):
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(content)
        refused(synthesize("sample", "--weights", path, "--out", tmp_path / "out"), path.name, tmp_path / "out")
    (tmp_path / "empty").mkdir()
    done = synthesize("sample", "--weights", tmp_path / "empty", "--out", tmp_path / "out")
    refused(done, "empty has no generator", tmp_path / "out")


def test_the_folder_of_real_pictures_is_not_written_to(trained, synthesize, pictures, tmp_path):
    shutil.copytree(pictures, tmp_path / "reals")
    given = ("--weights", trained, "--nearest", tmp_path / "reals", "--out", tmp_path / "reals" / "out")
    refused(synthesize("sample", *given), "is inside", tmp_path / "reals" / "out")
