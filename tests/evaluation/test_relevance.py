"""`evaluate.py relevance`, on a small network and small images."""

import json

import numpy as np
import pytest
from PIL import Image
from support.commands import files, refused, rows, table
from support.packages import require_package
from support.small_network import SIDE, save_run

from sparseshape_jax.evaluation import relevance as job
from sparseshape_jax.evaluation.relevance_analysis import compare
from sparseshape_jax.figures import relevance as figures
from sparseshape_jax.stimuli import edges

CLASSES = ("bird", "cat", "dog")

OWN = """
import jax.numpy as jnp
import numpy as np

def linear():
    weights = np.random.default_rng(0).normal(size=(224 * 224 * 3, 1000)[:1] + (1,)).astype('float32')
    return lambda images: jnp.repeat(images.reshape(len(images), -1) @ weights, 1000, axis=1)

def numpy_only():
    return lambda images: np.asarray(images).reshape(len(images), -1)[:, :1000]
"""


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for label in CLASSES:
        for number in range(2):
            path = tmp_path / "photos" / label / f"{label}_{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            coarse = Image.fromarray(rng.integers(0, 256, (3, 3, 3), dtype=np.uint8))
            coarse.resize((SIDE, SIDE), Image.Resampling.NEAREST).save(path)
    return tmp_path / "photos"


@pytest.fixture
def undrawn(monkeypatch):
    monkeypatch.setattr(figures, "draw", lambda *_: [])


@pytest.fixture
def explain(evaluate, small_network, photos, tmp_path):
    require_package("opencv-python-headless")
    save_run(tmp_path / "run", CLASSES)

    def run(out, *arguments):
        common = ("--data", photos, "--weights", tmp_path / "run", "--topk.after", "relu1", "--batch_size", 4)
        return evaluate("relevance", *common, *arguments, "--out", tmp_path / out)

    return run


def maps(out):
    return {path.relative_to(out).as_posix(): np.load(path) for path in sorted(out.rglob("*.npy"))}


def test_explains_every_image(explain, tmp_path):
    found = explain("out", "--fractions", "[1.0,0.3]")
    assert found.status == 0, found.err
    out = tmp_path / "out"
    own = rows(out)
    assert [row["observer"] for row in own] == ["small"] * 6 + ["small_top30"] * 6
    for row in own:
        relevance = np.load(out / row["map"])
        assert relevance.shape == (SIDE, SIDE)
        assert relevance.dtype == np.float32
        assert row["sum"] == pytest.approx(relevance.sum(), abs=1e-4)
        # What the pixels got and what was lost in the layers is the logit.
        lost = sum(sum(account[2:5]) for account in row["accounts"].values())
        assert row["sum"] + lost == pytest.approx(row["logit"], rel=1e-3, abs=1e-3)
        high = relevance > relevance[relevance > 0].mean()
        seen = edges.find_edges(np.asarray(Image.open(tmp_path / "photos" / row["picture"])))
        assert row["positive"] == high.sum()
        assert row["positive_on_edges"] == (high & seen).sum()
        assert (out / row["map"]).with_suffix(".png").is_file()
    with np.load(out / "regions.npz") as file:
        assert len(file.files) == 2 * 12
    assert {row["measure"] for row in table(out / "tests.csv")} >= {"positive_share", "positive_lift"}
    assert [row["layer"] for row in table(out / "ledger.csv")] == ["conv1", "conv2"] * 2
    assert len(table(out / "edges.csv")) == 6
    assert {"figures/sheet.png", "figures/overlap.pdf", "figures/mean-maps.png"} <= files(out)
    assert "lift" in found.out


def test_explains_the_class_that_is_asked_for(explain, tmp_path, undrawn):
    for name, argument in (("true", "true"), ("first", "0"), ("predicted", "predicted")):
        assert explain(name, "--fractions", "[1.0]", "--explain", argument).status == 0
    assert all(row["explained"] == row["class"] for row in rows(tmp_path / "true"))
    assert all(row["explained"] == 0 for row in rows(tmp_path / "first"))
    assert len({row["explained"] for row in rows(tmp_path / "predicted")} - {0}) > 0
    own = [row["map"] for row in rows(tmp_path / "true") if row["class"] == 0]
    for name in own:
        assert np.array_equal(np.load(tmp_path / "true" / name), np.load(tmp_path / "first" / name))


@pytest.mark.slow
def test_a_stopped_run_gives_the_same_files(explain, tmp_path, undrawn, monkeypatch):
    assert explain("whole", "--fractions", "[1.0,0.3]").status == 0
    write, calls = job._write_map, []

    def stopping(*arguments):
        calls.append(1)
        if len(calls) == 7:
            raise KeyboardInterrupt
        write(*arguments)

    monkeypatch.setattr(job, "_write_map", stopping)
    assert explain("stopped", "--fractions", "[1.0,0.3]").status == 130
    assert explain("stopped", "--fractions", "[1.0,0.3]").status == 0
    assert len(calls) < 7 + 12
    assert rows(tmp_path / "whole") == rows(tmp_path / "stopped")
    for name in ("tests.csv", "edges.csv", "ledger.csv", "summary.csv"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "stopped" / name).read_bytes(), name
    first, second = maps(tmp_path / "whole"), maps(tmp_path / "stopped")
    assert first.keys() == second.keys()
    assert all(np.array_equal(value, second[name]) for name, value in first.items())
    del calls[:]
    assert explain("stopped", "--fractions", "[1.0,0.3]").status == 0
    assert not calls


def test_config_repeats_a_run(explain, evaluate, tmp_path, undrawn):
    explain("out", "--fractions", "[1.0]", "--composite.name", "thesis", "--composite.layers.conv2", "zplus")
    again = evaluate("relevance", "--config", tmp_path / "out" / "config.yaml", "--out", tmp_path / "again")
    assert again.status == 0, again.err
    assert rows(tmp_path / "out") == rows(tmp_path / "again")


@pytest.mark.parametrize("method", ["gradient_times_input", "integrated_gradients", "smooth_grad"])
def test_other_methods(explain, tmp_path, undrawn, method):
    arguments = ("--fractions", "[0.3]", "--method", method, "--steps", 64, "--baseline", "black")
    found = explain("out", *arguments, "--with_edges", "false")
    assert found.status == 0, found.err
    for row in rows(tmp_path / "out"):
        assert (row["gap"] is not None) == (method == "integrated_gradients")
        assert row["gap"] is None or abs(row["gap"]) < 0.5 * abs(row["logit"]) + 1
    assert "edges" not in rows(tmp_path / "out")[0]


def test_boxes_confine_edges(explain, photos, tmp_path, undrawn):
    lines = ["filename,width,height,xmin,ymin,xmax,ymax"]
    lines += [f"{label}_0.png,{SIDE},{SIDE},4,4,12,12" for label in CLASSES]
    (tmp_path / "boxes.csv").write_text("\n".join(lines))
    assert explain("out", "--fractions", "[1.0]", "--boxes", tmp_path / "boxes.csv").status == 0
    for row in rows(tmp_path / "out"):
        boxed = row["picture"].endswith("_0.png")
        assert ("whole_edges" in row) == boxed
        assert (row["positive_in_box"] is not None) == boxed
        if boxed:
            seen = edges.find_edges(np.asarray(Image.open(photos / row["picture"])))
            assert row["edges"] == seen[4:12, 4:12].sum()
            assert row["whole_edges"] == seen.sum()
    (tmp_path / "boxes.csv").write_text(f"{lines[0]}\nother,{SIDE},{SIDE},4,4,12,12\n")
    refused(
        explain("none", "--fractions", "[1.0]", "--boxes", tmp_path / "boxes.csv"),
        "has no box of any image",
        tmp_path / "none",
    )


@pytest.mark.parametrize("mode", ["L", "RGBA", "I;16"])
def test_other_kinds_of_images_give_what_rgb_gives(explain, photos, tmp_path, undrawn, mode):
    for path in photos.rglob("*.png"):
        with Image.open(path) as image:
            gray = image.convert("L")
        gray.convert("RGB").save(path)
    assert explain("rgb", "--fractions", "[1.0]").status == 0
    for path in photos.rglob("*.png"):
        with Image.open(path) as image:
            gray = np.asarray(image.convert("L"))
        image = Image.fromarray(gray.astype(np.uint16) * 257 if mode == "I;16" else gray)
        (image if mode == "I;16" else image.convert(mode)).save(path)
        with Image.open(path) as written:
            assert written.mode == mode
    assert explain("other", "--fractions", "[1.0]").status == 0
    assert rows(tmp_path / "rgb") == rows(tmp_path / "other")


@pytest.mark.slow
def test_beside_compares_with_an_earlier_run(explain, tmp_path, undrawn):
    explain("earlier", "--fractions", "[0.3]")
    assert explain("out", "--fractions", "[1.0]", "--beside", tmp_path / "earlier").status == 0
    assert {(row["first"], row["second"]) for row in table(tmp_path / "out" / "tests.csv")} == {
        ("small", "small_top30")
    }
    other = explain("other", "--fractions", "[1.0]", "--per_class", 1)
    assert other.status == 0
    refused(
        explain("wrong", "--fractions", "[1.0]", "--beside", tmp_path / "other"),
        "has explained other images",
        tmp_path / "wrong",
    )


def test_compares_image_by_image():
    first = [{"positive_share": 0.1 * index, "positive_on_edges": index} for index in range(6)]
    second = [{"positive_share": 0.1 * index - 0.05, "positive_on_edges": 2 * index + 1} for index in range(6)]
    found = {row["measure"]: row for row in compare({"a": first, "b": second})}
    assert found["positive_share"]["more"] == 6
    assert found["positive_on_edges"]["more"] == 0
    assert found["positive_on_edges"]["r"] == pytest.approx(1)
    assert found["positive_share"]["r"] is None


def test_maps_are_red_for_and_blue_against():
    relevance = np.zeros((10, 10))
    relevance[0, 0], relevance[9, 9] = 5, -5
    found = figures.colored(relevance, None).astype(int)
    assert found[0, 0, 0] > found[0, 0, 2]
    assert found[9, 9, 2] > found[9, 9, 0]
    assert np.ptp(found[5, 5]) <= 2
    assert figures.colored(np.zeros((3, 3)), np.eye(3, dtype=bool)).shape == (3, 3, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--composite.name", "lrp"), "no composite 'lrp'"),
        (("--composite.convolution", "lrp"), "no relevance rule 'lrp'"),
        (("--composite.layers.conv9", "zplus"), "has no layer conv9"),
        (("--composite.layers.conv2", "flat"), "for the first convolution only, not for conv2"),
        (("--explain", "nothing"), "explain is 'nothing'"),
        (("--explain", 3), "there is no class 3; small has 3"),
        (("--steps", 0), "steps is 0"),
        (("--noise", -1), "noise -1"),
        (("--edges.sigma", -1), "edges.sigma is -1"),
        (("--boxes", "missing"), "there are no boxes at missing"),
        (("--beside", "missing"), "does not hold results"),
    ],
)
def test_refuses(explain, tmp_path, arguments, message):
    refused(explain("out", "--fractions", "[1.0]", *arguments), message, tmp_path / "out")


def test_edges_without_opencv(explain, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    message = r'pip install "sparseshape-jax\[edges\]"'
    refused(explain("out", "--fractions", "[1.0]"), message, tmp_path / "out")


def test_own_models(evaluate, tmp_path, undrawn):
    (tmp_path / "own_models.py").write_text(OWN)
    for label in ("n01440764", "n01443537"):
        (tmp_path / "imagenet" / label).mkdir(parents=True)
        Image.new("RGB", (224, 224), (90, 20, 30)).save(tmp_path / "imagenet" / label / "a.png")
    common = ("relevance", "--data", tmp_path / "imagenet", "--fractions", "[1.0]", "--with_edges", "false")
    out = tmp_path / "out"
    refused(evaluate(*common, "--model", "own_models:linear", "--out", out), "give --method gradient_times_input", out)
    gradient = (*common, "--method", "gradient_times_input", "--out", out)
    refused(evaluate(*gradient, "--model", "own_models:numpy_only"), "need a model written in JAX", out)
    found = evaluate(*gradient, "--model", "own_models:linear")
    assert found.status == 0, found.err
    assert json.loads((out / "results.json").read_text())["rows"][0]["sum"] == pytest.approx(
        rows(out)[0]["logit"], rel=1e-3
    )
