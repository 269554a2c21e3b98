"""`evaluate.py local-global`, on a small network and small images."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from support.commands import files, refused, rows, table
from support.packages import require_package
from support.small_network import SIDE, save_run

from sparseshape_jax.data.folders import ClassFolder
from sparseshape_jax.data.images import seed_of
from sparseshape_jax.evaluation import local_global_analysis as analysis
from sparseshape_jax.evaluation.classifiers import Classifier
from sparseshape_jax.evaluation.conditions import Condition, make_conditions, read_pictures
from sparseshape_jax.evaluation.local_global_config import LocalGlobalConfig
from sparseshape_jax.figures import local_global as figures
from sparseshape_jax.stimuli import write
from sparseshape_jax.stimuli.config import StimuliConfig

CLASSES = ("bird", "cat", "dog")
SIZES = ("--blocks", 8, 4, "--patches", 2, 5, "--passes", 2, "--variants", 2)


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for label in CLASSES:
        for number in range(2):
            path = tmp_path / "photos" / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
            coarse.resize((SIDE, SIDE)).save(path)
    return tmp_path / "photos"


@pytest.fixture
def undrawn(monkeypatch):
    monkeypatch.setattr(figures, "draw", lambda *_: [])


@pytest.fixture
def measure(evaluate, small_network, photos, tmp_path):
    save_run(tmp_path / "run", CLASSES)

    def run(out, *arguments, data=photos, weights="run"):
        common = ("--data", data, "--weights", tmp_path / weights, "--topk.after", "relu1", "--batch_size", 16)
        return evaluate("local-global", *common, *SIZES, *arguments, "--out", tmp_path / out)

    return run


def seen(out):
    with (out / "pictures.csv").open() as file:
        return list(csv.DictReader(file))


def test_measures_every_image_in_every_condition(measure, tmp_path):
    found = measure("out", "--fractions", "[1.0,0.3]")
    assert found.status == 0, found.err
    out = tmp_path / "out"
    lines = seen(out)
    # intact; 2 blocks × 2 variants; 1 + 16 and 1 + 4 patches; 2 passes; difference and its inverse
    assert len(lines) == 2 * 6 * (1 + 4 + 17 + 5 + 2 + 2)
    assert [row["observer"] for row in rows(out)] == ["small", "small_top30"]
    for line in lines:
        probability = float(line["probability"])
        assert 0 < probability <= float(line["predicted_probability"]) <= 1
        assert (line["predicted"] == line["class"]) == (line["correct"] == "1")
    curves = {(row["observer"], row["set"], row["size"], row["kind"]): row for row in table(out / "curves.csv")}
    own = [line for line in lines if (line["observer"], line["set"], line["size"]) == ("small", "scrambled", "8")]
    mean = np.mean([float(line["probability"]) for line in own])
    assert float(curves["small", "scrambled", "8", ""]["probability"]) == pytest.approx(mean)
    row = next(row for row in rows(out) if row["observer"] == "small")
    assert row["probability_scrambled_8"] == pytest.approx(mean)
    assert float(curves["small", "intact", "16", ""]["relative_probability"]) == 1
    tests = table(out / "tests.csv")
    assert {row["first"] for row in tests} == {"small"}
    assert {row["pooled"] for row in tests} == {"", "pooled"}
    pooled = next(row for row in tests if row["pooled"] and row["set"] == "scrambled")
    assert int(pooled["n"]) == 6 * (1 + 4)
    interaction = table(out / "interaction.csv")
    assert [row["size"] for row in interaction] == ["2", "5", ""] * 2
    assert {"figures/scrambled.png", "figures/scatter.pdf", "figures/conditions.png"} <= files(out)
    assert "mean probability of the true class" in found.out


def test_the_effects_of_patches_are_sums_of_logits(measure, tmp_path, undrawn):
    measure("out", "--fractions", "[1.0]", "--sets", "patched")
    lines = [line for line in seen(tmp_path / "out") if line["size"] in ("16", "5")]
    pictures = sorted({line["picture"] for line in lines})
    x, y = [], []
    for picture in pictures:
        own = {line["variant"]: float(line["logit"]) for line in lines if line["picture"] == picture}
        assert len(own) == 6
        x.append(sum(own[""] - own[str(index)] for index in range(4)))
        y.append(own[""] - own["all"])
    row = next(row for row in table(tmp_path / "out" / "interaction.csv") if row["size"] == "5")
    assert float(row["r"]) == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-5)


def test_conditions_are_the_pixels_of_the_written_sets(photos, tmp_path):
    config = LocalGlobalConfig(data=str(photos))
    conditions = [
        Condition("scrambled", 8, "1"),
        Condition("patched", 5, "all"),
        Condition("patched", 5, "2"),
        Condition("smoothed", 2),
        Condition("difference", 1, "absolute"),
        Condition("difference", 1, "inverse"),
    ]
    names = ("8_1", "5_all", "5_02", "2", "absolute", "inverse")
    images = ClassFolder(photos)
    for condition, name in zip(conditions, names, strict=True):
        out = tmp_path / "sets" / name
        write.run(
            StimuliConfig(
                images=str(photos), sets=(condition.set,), conditions=(name,), size=SIDE, seed=4, out=str(out)
            )
        )
        for index in range(len(images)):
            pixels = np.asarray(images.image(index))
            made = make_conditions(pixels, [condition], config, seed_of(images, index, 4))[0]
            path = out / condition.set / name / images.key(index)
            assert np.array_equal(made, np.asarray(Image.open(path))), name


def test_a_stopped_run_gives_the_same_files(measure, tmp_path, undrawn, monkeypatch):
    assert measure("whole", "--fractions", "[1.0,0.3]").status == 0
    logits, calls = Classifier.logits, []

    def stopping(self, images):
        calls.append(1)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return logits(self, images)

    monkeypatch.setattr(Classifier, "logits", stopping)
    assert measure("stopped", "--fractions", "[1.0,0.3]").status == 130
    assert not (tmp_path / "stopped" / "pictures.csv").exists()
    assert measure("stopped", "--fractions", "[1.0,0.3]").status == 0
    assert len(calls) < 9 + 6 * 2 * 2  # the first two images were not shown again
    for name in ("pictures.csv", "curves.csv", "tests.csv", "interaction.csv", "summary.csv"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "stopped" / name).read_bytes(), name
    assert not list((tmp_path / "stopped").glob(".state*"))


def test_a_rerun_shows_nothing_and_another_fraction_only_what_is_new(measure, tmp_path, undrawn, shown):
    measure("out", "--fractions", "[1.0]")
    first = (tmp_path / "out" / "pictures.csv").read_bytes()
    del shown[:]
    assert measure("out", "--fractions", "[1.0]").status == 0
    assert shown == []
    assert (tmp_path / "out" / "pictures.csv").read_bytes() == first
    measure("out", "--fractions", "[1.0,0.3]")
    assert set(shown) == {0.3}
    assert (tmp_path / "out" / "tests.csv").read_text()


def test_config_repeats_a_run(measure, evaluate, tmp_path, undrawn):
    measure("out", "--fractions", "[1.0]", "--per_class", 1, "--seed", 3)
    again = evaluate("local-global", "--config", tmp_path / "out" / "config.yaml", "--out", tmp_path / "again")
    assert again.status == 0, again.err
    assert (tmp_path / "out" / "pictures.csv").read_bytes() == (tmp_path / "again" / "pictures.csv").read_bytes()
    more = measure("more", "--fractions", "[1.0]", "--per_class", 2, "--seed", 3)
    assert more.status == 0
    lines = (tmp_path / "more" / "pictures.csv").read_text().splitlines()
    assert set((tmp_path / "out" / "pictures.csv").read_text().splitlines()) < set(lines)


@pytest.mark.slow
def test_beside_compares_with_an_earlier_run(measure, tmp_path, undrawn):
    save_run(tmp_path / "other", CLASSES, seed=5)
    measure("earlier", "--fractions", "[0.3]", weights="other")
    assert measure("out", "--fractions", "[1.0]", "--beside", tmp_path / "earlier").status == 0
    assert {row["second"] for row in table(tmp_path / "out" / "tests.csv")} == {"small_top30"}
    assert [row["observer"] for row in rows(tmp_path / "out")] == ["small"]
    refused(
        measure("wrong", "--fractions", "[1.0]", "--per_class", 1, "--beside", tmp_path / "earlier"),
        "was measured on other images",
        tmp_path / "wrong",
    )
    refused(
        measure("lacking", "--fractions", "[1.0]", "--beside", tmp_path / "earlier", "--passes", 3),
        "has not seen smoothed 3",
        tmp_path / "lacking",
    )
    refused(
        measure("nothing", "--fractions", "[1.0]", "--beside", tmp_path),
        "does not hold results of evaluate local-global",
        tmp_path / "nothing",
    )


def test_an_observer_against_itself_does_not_differ(measure, tmp_path, undrawn):
    measure("out", "--fractions", "[1.0]")
    (found,) = read_pictures(tmp_path / "out" / "pictures.csv").values()
    tested = analysis.tests([found, replace(found, observer="again")], 0)
    assert {row["wilcoxon_p"] for row in tested} == {1}
    assert {row["note"] for row in tested} == {"no difference"}
    assert {row["relative_difference"] for row in tested if not row["pooled"]} == {0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--blocks", 5), "blocks of 5 pixels do not divide"),
        (("--blocks", 16), "one block"),
        (("--blocks", 0), "blocks are"),
        (("--patches", 17), "patches of 17 pixels do not fit"),
        (("--patches", 0), "patches are"),
        (("--color", 0, 0, 256), "from 0 to 255"),
        (("--color", 0, 0), "red, green and blue"),
        (("--smoothing", 0), "smoothing is 0"),
        (("--smoothing", "guided"), "--smoothing: Expected a float or 'bilateral'"),
        (("--preprocessing.mean", 0, 0), "preprocessing.mean is"),
        (("--preprocessing.std", 1, 1, 0), "each must be above 0"),
        (("--passes", 0), "passes 0"),
        (("--variants", 0), "variants is 0"),
        (("--sets", "shuffled"), "give some of scrambled, patched"),
        (("--per_class", 0), "per_class is 0"),
        (("--seed", -1), "seed is -1"),
    ],
)
def test_refuses(measure, tmp_path, arguments, message):
    refused(measure("out", "--fractions", "[1.0]", *arguments), message, tmp_path / "out")


def test_normalization_can_be_changed(measure, tmp_path, undrawn):
    save_run(tmp_path / "plain", CLASSES, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    sets = ("--fractions", "[1.0]", "--sets", "scrambled")
    changed = measure("changed", *sets, "--preprocessing.mean", 0, 0, 0, "--preprocessing.std", 1, 1, 1, weights="run")
    assert changed.status == 0, changed.err
    measure("plain_weights", *sets, weights="plain")
    measure("usual", *sets)
    changed, plain, usual = (
        (tmp_path / name / "pictures.csv").read_bytes() for name in ("changed", "plain_weights", "usual")
    )
    assert changed == plain
    assert changed != usual


def test_the_bilateral_filter_smooths_too(measure, tmp_path, undrawn, monkeypatch):
    require_package("opencv-python-headless")
    for name, smoothing in (("bilateral", "bilateral"), ("l0", 0.005)):
        found = measure(name, "--fractions", "[1.0]", "--sets", "smoothed", "--smoothing", smoothing)
        assert found.status == 0, found.err
    bilateral, l0 = (seen(tmp_path / name) for name in ("bilateral", "l0"))
    for one, other in zip(bilateral, l0, strict=True):
        assert (one["logit"] == other["logit"]) == (one["set"] == "intact")
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    message = r'pip install "sparseshape-jax\[edges\]"'
    refused(measure("out", "--fractions", "[1.0]", "--smoothing", "bilateral"), message, tmp_path / "out")


@pytest.mark.parametrize("mode", ["L", "RGBA", "I;16", "P"])
def test_other_kinds_of_images_give_what_rgb_gives(measure, photos, tmp_path, undrawn, mode):
    """Gray ones, since 16 bits have no colors."""
    for path in photos.rglob("*.png"):
        with Image.open(path) as image:
            gray = np.asarray(image.convert("L"))
        other = tmp_path / "other" / path.relative_to(photos)
        other.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(gray).convert("RGB").save(path)
        converted = gray.astype(np.uint16) * 257 if mode == "I;16" else gray
        image = Image.fromarray(converted)
        (image if mode == "I;16" else image.convert(mode)).save(other)
        with Image.open(other) as written:
            assert written.mode == mode
    common = ("--fractions", "[1.0]", "--sets", "scrambled", "smoothed")
    assert measure("rgb", *common).status == 0
    assert measure("others", *common, data=tmp_path / "other").status == 0
    assert (tmp_path / "rgb" / "pictures.csv").read_bytes() == (tmp_path / "others" / "pictures.csv").read_bytes()


def test_refuses_fewer_than_three_images(measure, photos, tmp_path):
    (photos / "dog" / "0.png").unlink()
    (photos / "dog" / "1.png").unlink()
    (photos / "dog").rmdir()
    refused(
        measure("out", "--fractions", "[1.0]", "--per_class", 1),
        "has 2 images to show; tests need at least 3",
        tmp_path / "out",
    )
