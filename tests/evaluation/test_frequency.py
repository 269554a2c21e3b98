"""`evaluate.py frequency`, on a small network and small images."""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from support.commands import files, refused, results, rows, table
from support.small_network import SIDE, save_run

from sparseshape_jax import TopK, frequency
from sparseshape_jax.evaluation.frequency import dfm as dfm_job
from sparseshape_jax.evaluation.frequency import network as network_module
from sparseshape_jax.figures import frequency as figures
from sparseshape_jax.figures import frequency_joint, frequency_rates
from sparseshape_jax.frequency import joint
from sparseshape_jax.frequency import losses as losses_module
from sparseshape_jax.frequency.filtered import cross_entropy
from sparseshape_jax.weights.load import load

CLASSES = ("bird", "cat", "dog")
EACH = 4

OWN = """
import numpy as np

def model():
    def logits(images):
        assert isinstance(images, np.ndarray) and images.dtype == np.float32
        out = np.zeros((len(images), 1000), np.float32)
        out[:, :3] = images.mean(axis=(1, 2))
        return out
    return logits

def broken():
    return lambda images: np.full((len(images), 1000), np.nan)

def short():
    return lambda images: np.zeros(len(images))
"""


def draw_photos(folder, classes=CLASSES, size=(SIDE, SIDE)):
    for label, name in enumerate(classes):
        for number in range(EACH):
            path = folder / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng([label, number])
            Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    return folder


@pytest.fixture
def photos(tmp_path):
    return draw_photos(tmp_path / "photos")


@pytest.fixture
def undrawn(monkeypatch):
    for module, name in (
        (figures, "draw_dfm"),
        (frequency_joint, "draw_joint"),
        (figures, "draw_bands"),
        (figures, "draw_adcs"),
        (frequency_rates, "draw_test"),
        (frequency_rates, "draw_sheet"),
        (frequency_rates, "draw_compare"),
    ):
        monkeypatch.setattr(module, name, lambda *_: [])


@pytest.fixture
def measure(evaluate, small_network, photos, tmp_path):
    for name, seed in (("run", 0), ("other", 1)):
        save_run(tmp_path / name, CLASSES, seed=seed)

    def run(job, out, *arguments, data=photos, weights="run"):
        common = ("--data", data, "--weights", tmp_path / weights, "--batch_size", 32)
        return evaluate("frequency", job, *common, *arguments, "--out", tmp_path / out)

    return run


@pytest.fixture
def compare(evaluate, tmp_path):
    def run(out, *arguments):
        return evaluate("frequency", "compare", *arguments, "--out", tmp_path / out)

    return run


def loaded(tmp_path, name="run"):
    return load(None, weights=tmp_path / name, trunk_only=False, dtype=jnp.float32)


def inputs(tmp_path, photos):
    """What the network sees, in the order of class folders and names."""
    found = [np.asarray(Image.open(path)) for path in sorted(photos.rglob("*.png"))]
    return np.asarray(loaded(tmp_path).preprocessing.from_bytes(np.stack(found)), np.float32)


def arrays(path):
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def test_dominant_frequencies(measure, photos, tmp_path):
    found = measure("dfm", "out", "--patch", 4)
    assert found.status == 0, found.err
    out = tmp_path / "out"
    groups = frequency.groups(SIDE, 4)
    images, labels = inputs(tmp_path, photos), np.repeat(np.arange(3), EACH)
    expected = frequency.image_losses(loaded(tmp_path).network, images, labels, groups, batch_size=32)
    losses = arrays(out / "losses.npz")
    np.testing.assert_allclose(losses["loss"], expected, atol=1e-5)
    whole = cross_entropy(loaded(tmp_path).network(jnp.asarray(images)), jnp.asarray(labels))
    np.testing.assert_allclose(losses["baseline"], whole, atol=1e-5)
    np.testing.assert_array_equal(losses["group"], groups.of)
    assert losses["names"].tolist() == [f"{name}/{number}.png" for name in CLASSES for number in range(EACH)]
    maps = arrays(out / "maps.npz")
    means = losses["loss"].reshape(3, EACH, -1).mean(axis=1, dtype=float)
    np.testing.assert_array_equal(maps["loss"], groups.spread(means))
    power = (np.abs(np.fft.fftshift(np.fft.fft2(images, axes=(1, 2)), axes=(1, 2))) ** 2).sum(axis=-1)
    np.testing.assert_allclose(maps["energy"], power.reshape(3, EACH, SIDE, SIDE).mean(axis=1), rtol=1e-4)
    own = rows(out)
    assert [(row["class"], row["share"]) for row in own] == [(c, x) for c in CLASSES for x in (0.01, 0.05, 0.1, 0.2)]
    for row in own:
        label, number = CLASSES.index(row["class"]), maps["shares"].tolist().index(row["share"])
        mask = maps["masks"][label, number]
        np.testing.assert_array_equal(mask, frequency.dominant(means[label], groups, row["share"]))
        assert row["kept"] == mask.sum() >= row["share"] * SIDE**2 - 1
        assert row["energy_share"] == pytest.approx(maps["energy"][label][mask > 0].sum() / maps["energy"][label].sum())
        assert -1 <= row["half_rank_correlation"] <= 1
        assert 0 <= row["half_iou"] <= 1
    assert {"masks.png", "losses.pdf", "filtered.png"} <= {path.name for path in (out / "figures").iterdir()}
    assert "half IoU" in found.out
    assert not list(out.glob(".state*"))


def test_a_finished_run_is_drawn_again_without_the_network(measure, tmp_path, monkeypatch, undrawn):
    assert measure("dfm", "out", "--patch", 4).status == 0
    before = (tmp_path / "out" / "losses.npz").read_bytes()

    def fail(*_, **__):
        raise AssertionError("the network was run")

    monkeypatch.setattr(network_module, "show", fail)
    found = measure("dfm", "out", "--patch", 4, "--top", 0.3, "--seed", 5)
    assert found.status == 0, found.err
    assert (tmp_path / "out" / "losses.npz").read_bytes() == before
    assert arrays(tmp_path / "out" / "maps.npz")["shares"].tolist() == [0.3]
    assert {row["share"] for row in rows(tmp_path / "out")} >= {0.3}


@pytest.mark.parametrize(
    ("arguments", "options", "what"),
    [
        (("--patch", 2), {}, "patch"),
        (("--patch", 4, "--per_class", 2), {}, "images"),
        (("--patch", 4), {"weights": "other"}, "network"),
        (("--patch", 4, "--fraction", 0.5, "--topk.after", "relu1"), {}, "network"),
        (("--patch", 4, "--screen", 0.5), {}, "screen, seed"),
        (("--method", "joint"), {}, "method, candidates, seed, patch, symmetry"),
    ],
)
def test_a_folder_holds_results_of_one_kind(measure, tmp_path, undrawn, arguments, options, what):
    assert measure("dfm", "out", "--patch", 4).status == 0
    before = (tmp_path / "out" / "losses.npz").read_bytes()
    found = measure("dfm", "out", *arguments, **options)
    assert found.status == 2
    assert f"holds results with another {what}; give another folder" in found.err
    assert (tmp_path / "out" / "losses.npz").read_bytes() == before
    assert "of another job" in measure("bands", "out").err


def test_a_damaged_file_of_losses(measure, tmp_path, undrawn):
    assert measure("dfm", "out", "--patch", 4).status == 0
    path = tmp_path / "out" / "losses.npz"
    path.write_bytes(path.read_bytes()[:200])
    found = measure("dfm", "out", "--patch", 4)
    assert found.status == 2
    assert "losses.npz is damaged or cut short" in found.err


def test_top_k_that_the_weights_were_trained_with(measure, photos, tmp_path, undrawn):
    spec = TopK(0.3, after=("relu1",))
    save_run(tmp_path / "sparse", CLASSES, (spec,))
    images, labels = inputs(tmp_path, photos), np.repeat(np.arange(3), EACH)
    groups = frequency.groups(SIDE, 4)
    for out, arguments, at in (("trained", (), {"relu1": spec}), ("dense", ("--fraction", 1), {})):
        found = measure("dfm", out, "--patch", 4, *arguments, weights="sparse")
        assert found.status == 0, found.err
        expected = frequency.image_losses(loaded(tmp_path).network, images, labels, groups, at=at)
        np.testing.assert_allclose(arrays(tmp_path / out / "losses.npz")["loss"], expected, atol=1e-5)
        assert bool(rows(tmp_path / out)[0]["top_k"]) == bool(at)


def test_the_references_groups(measure, tmp_path, undrawn):
    found = measure("dfm", "out", "--patch", 2, "--symmetry", "reference")
    assert found.status == 0, found.err
    maps = arrays(tmp_path / "out" / "maps.npz")
    groups = frequency.groups(SIDE, 2, "reference")
    loss = arrays(tmp_path / "out" / "losses.npz")["loss"].reshape(3, EACH, -1).astype(float)
    # One batch: the class's losses, and log 3 for each of the others' images.
    expected = (loss.sum(axis=1) + 2 * EACH * np.log(3)) / (3 * EACH)
    np.testing.assert_allclose(maps["reference_loss"], groups.spread(expected), atol=1e-12)
    assert np.isnan(maps["loss"][:, groups.of < 0]).all()
    assert (groups.of < 0).any()


def test_a_screen(measure, compare, tmp_path, undrawn):
    assert measure("dfm", "all", "--patch", 2).status == 0
    found = measure("dfm", "screened", "--patch", 2, "--screen", 0.5)
    assert found.status == 0, found.err
    assert "expected misses" in found.out
    whole, screened = (arrays(tmp_path / name / "losses.npz") for name in ("all", "screened"))
    known = ~np.isnan(screened["loss"])
    np.testing.assert_allclose(screened["loss"][known], whole["loss"][known], atol=1e-5)
    count = whole["loss"].shape[1]
    energy = arrays(tmp_path / "all" / "maps.npz")["energy"]
    for label in range(3):
        own = known[label * EACH : label * EACH + EACH]
        audited = screened["audited"][label]
        assert (own == own[0]).all()
        assert own[0].sum() == round(count / 2) + audited.sum()
        totals = np.bincount(whole["group"].ravel(), weights=energy[label].ravel())
        assert totals[own[0] & ~audited].min() >= totals[~own[0]].max()
    assert all(row["expected_misses"] is not None for row in rows(tmp_path / "screened"))
    maps = arrays(tmp_path / "screened" / "maps.npz")
    assert not maps["masks"][np.isnan(maps["loss"])[:, None].repeat(4, axis=1)].any()
    # compare says how much of the exhaustive masks is found.
    runs = ("--runs", tmp_path / "all", tmp_path / "screened")
    compared = compare("compared", *runs)
    assert compared.status == 0, compared.err
    exhaustive = arrays(tmp_path / "all" / "maps.npz")["masks"]
    for pair in table(tmp_path / "compared" / "pairs.csv"):
        label = CLASSES.index(pair["class"])
        number = [0.01, 0.05, 0.1, 0.2].index(float(pair["share"]))
        one, other = exhaustive[label, number] > 0, maps["masks"][label, number] > 0
        assert float(pair["recall"]) == pytest.approx((one & other).sum() / one.sum())
        assert float(pair["iou"]) == pytest.approx((one & other).sum() / (one | other).sum())


def test_filtered_images(measure, compare, photos, tmp_path):
    assert measure("dfm", "both/dfm", "--patch", 2, "--select", "even", "--top", 0.1, 0.3).status == 0
    found = measure("test", "both/test", "--masks", tmp_path / "both" / "dfm", "--controls", 2)
    assert found.status == 0, found.err
    assert "6 of the 12 images have helped to choose the masks" in found.out
    out = tmp_path / "both" / "test"
    images, labels = inputs(tmp_path, photos), np.repeat(np.arange(3), EACH)
    network = loaded(tmp_path).network
    maps = arrays(tmp_path / "both" / "dfm" / "maps.npz")
    whole = frequency.rates(np.asarray(network(jnp.asarray(images))).argmax(axis=1), labels, 3)
    own = rows(out)
    assert len(own) == 6
    for row in own:
        label, number = CLASSES.index(row["class"]), maps["shares"].tolist().index(row["share"])
        predicted = np.asarray(network(frequency.keep(images, maps["masks"][label, number]))).argmax(axis=1)
        expected = frequency.rates(predicted, labels, 3)
        assert row["tpr"] == pytest.approx(expected.tpr[label])
        assert row["fpr"] == pytest.approx(expected.fpr[label])
        assert row["tpr_unfiltered"] == pytest.approx(whole.tpr[label])
        assert row["control_tpr_lowest"] <= row["control_tpr"] <= row["control_tpr_highest"]
        matrix = table(out / "confusion" / f"top{100 * row['share']:g}_{row['class']}.csv")
        np.testing.assert_array_equal([[int(line[c]) for c in CLASSES] for line in matrix], expected.confusion)
    assert {"figures/rates.png", "figures/filtered.pdf", "confusion/unfiltered.csv"} <= files(out)
    # The other half has not chosen the masks; a rerun does not measure again.
    odd = measure("test", "odd", "--masks", tmp_path / "both" / "dfm", "--select", "odd", "--top", 0.1)
    assert "none of the images has helped" in odd.out
    assert {row["share"] for row in rows(tmp_path / "odd")} == {0.1}
    compared = compare("compared", "--runs", tmp_path / "both")
    assert compared.status == 0, compared.err
    assert rows(tmp_path / "compared")[0]["tpr"] == own[0]["tpr"]


def test_masks_of_another_network_and_of_a_pickle(measure, tmp_path, undrawn):
    assert measure("dfm", "dfm", "--patch", 2, "--top", 0.2).status == 0
    found = measure("test", "transfer", "--masks", tmp_path / "dfm", weights="other")
    assert found.status == 0, found.err
    maps = arrays(tmp_path / "dfm" / "maps.npz")
    np.savez(tmp_path / "dfm" / "maps.npz", **{name: maps[name] for name in maps if name != "method"})  # of before
    found = measure("test", "transfer", "--masks", tmp_path / "dfm", weights="other")
    assert found.status == 0, found.err
    masks = maps["masks"][:, 0]
    path = tmp_path / "DFM.pkl"
    path.write_bytes(pickle.dumps({label: mask.astype(np.float32) for label, mask in enumerate(masks)}))
    found = measure("test", "pickle", "--masks", path, weights="other")
    assert found.status == 0, found.err
    assert "not known on which images" in found.out
    both = [[(row["tpr"], row["fpr"]) for row in rows(tmp_path / name)] for name in ("transfer", "pickle")]
    assert both[0] == both[1]


JOINT = ("--method", "joint", "--candidates", 12, "--seed", 3)
CELLS = (4, 8, 16)
"""Of the stages at 16 pixels."""


def test_joint_masks(measure, photos, tmp_path):
    found = measure("dfm", "out", *JOINT)
    assert found.status == 0, found.err
    assert "stage 3 of 3, 16×16 cells: candidates keep" in found.out
    out = tmp_path / "out"
    images, labels = inputs(tmp_path, photos), jnp.repeat(jnp.arange(3), EACH)
    network = loaded(tmp_path).network
    losses, maps = arrays(out / "losses.npz"), arrays(out / "maps.npz")
    assert losses["loss"].shape == (3, 3 * EACH, 12)
    np.testing.assert_allclose(losses["baseline"], cross_entropy(network(jnp.asarray(images)), labels), atol=1e-5)
    before = None
    for stage, cells in enumerate(CELLS):
        masks = joint.candidates(SIDE, cells, 12, np.random.default_rng([3, stage]), before)
        for number in (0, 5, 11):
            expected = cross_entropy(network(frequency.keep(images, masks[number])), labels)
            np.testing.assert_allclose(losses["loss"][stage][:, number], expected, atol=1e-5)
        means = losses["loss"][stage].reshape(3, EACH, 12).mean(axis=1, dtype=float)
        before = masks, joint.best(means)
    best = masks[means.argmin(axis=1)]
    np.testing.assert_array_equal(maps["masks"][:, 0], best)
    np.testing.assert_allclose(maps["often"], [masks[own].mean(axis=0) for own in before[1]])
    assert np.isnan(maps["loss"]).all()
    assert maps["method"] == "joint"
    own = rows(out)
    assert [row["class"] for row in own] == list(CLASSES)
    for row, mask, loss in zip(own, best, means, strict=True):
        assert row["share"] == maps["shares"][0] == joint.expected_share(3) == 0.42
        assert (row["kept"], row["joint_loss"], row["method"]) == (mask.sum(), loss.min(), "joint")
        assert (row["stages"], row["candidates"]) == (3, 12)
        assert 0 <= row["half_iou"] <= 1
        assert row["chance_iou"] == pytest.approx(joint.chance_iou(masks))
    drawn = {"masks.png", "often.png", "stages.pdf", "filtered.png"}
    assert drawn <= {path.name for path in (out / "figures").iterdir()}
    assert not list(out.glob(".state*"))


def test_joint_masks_are_tested_and_compared(measure, compare, photos, tmp_path, undrawn):
    assert measure("dfm", "both/dfm", *JOINT).status == 0
    found = measure("test", "both/test", "--masks", tmp_path / "both" / "dfm", "--controls", 2)
    assert found.status == 0, found.err
    network, images = loaded(tmp_path).network, inputs(tmp_path, photos)
    masks = arrays(tmp_path / "both" / "dfm" / "maps.npz")["masks"][:, 0]
    for label, row in enumerate(rows(tmp_path / "both" / "test")):
        right = np.asarray(network(frequency.keep(images, masks[label]))).argmax(axis=1) == label
        assert row["tpr"] == right[label * EACH : label * EACH + EACH].mean()
        assert row["control_tpr"] is not None
    assert measure("dfm", "other", *JOINT, weights="other").status == 0
    compared = compare("compared", "--runs", tmp_path / "both", tmp_path / "other")
    assert compared.status == 0, compared.err
    assert all(pair["rank_correlation"] == "" and pair["iou"] for pair in table(tmp_path / "compared" / "pairs.csv"))


def test_a_search_for_joint_masks_resumes(measure, tmp_path, monkeypatch, undrawn):
    """Stopped anywhere, it ends with the bytes of an undisturbed one, and evaluates no stage twice."""
    monkeypatch.setattr(losses_module, "SAVED_EVERY", 0.0)
    stages = []

    def show(filtered, *arguments, progress, **options):
        stages.append(0)

        def stopping(count):
            stages[-1] += count
            progress(count)
            if (len(stages), stages[-1]) >= stop:
                raise KeyboardInterrupt

        return losses_module.show(filtered, *arguments, progress=stopping, **options)

    assert measure("dfm", "whole", *JOINT).status == 0
    monkeypatch.setattr(network_module, "show", show)
    pairs = 12 * 3 * EACH
    for number, stop in enumerate([(1, 40), (2, 100)]):
        stages.clear()
        assert measure("dfm", f"out{number}", *JOINT).status != 0
        assert not (tmp_path / f"out{number}" / "maps.npz").exists()
        done = len(stages) - 1
        stages.clear()
        stop = (9, 0)
        found = measure("dfm", f"out{number}", *JOINT)
        assert found.status == 0, found.err
        assert len(stages) == 3 - done
        assert stages[-1] == pairs
        for name in ("losses.npz", "maps.npz"):
            same = (tmp_path / f"out{number}" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
            assert same, name
    stages.clear()
    assert measure("dfm", "whole", *JOINT).status == 0
    assert not stages
    damaged = tmp_path / "whole" / "losses.npz"
    damaged.write_bytes(damaged.read_bytes()[:200])
    assert "losses.npz is damaged or cut short" in measure("dfm", "whole", *JOINT).err


def test_joint_masks_of_classes_with_one_image(measure, tmp_path, undrawn):
    found = measure("dfm", "out", *JOINT, "--per_class", 1)
    assert found.status == 0, found.err
    assert "no halves" in found.out
    assert rows(tmp_path / "out")[0]["half_iou"] is None


def test_bands(measure, photos, tmp_path):
    found = measure("bands", "out")
    assert found.status == 0, found.err
    images, labels = inputs(tmp_path, photos), np.repeat(np.arange(3), EACH)
    network = loaded(tmp_path).network
    own = rows(tmp_path / "out")
    assert len(own) == 12
    for row in own:
        for kind, masks in zip(("without", "alone"), frequency.band_filters(SIDE), strict=True):
            right = np.asarray(network(frequency.keep(images, masks[row["band"] - 1]))).argmax(axis=1) == labels
            assert row[f"accuracy_{kind}"] == right[labels == CLASSES.index(row["class"])].mean()
    assert "figures/bands.png" in files(tmp_path / "out")


def test_spectra_of_classes(evaluate, photos, tmp_path):
    arguments = ("frequency", "adcs", "--data", photos, "--size", SIDE, "--out", tmp_path / "out")
    found = evaluate(*arguments)
    assert found.status == 0, found.err
    images = np.stack([np.asarray(Image.open(path)) for path in sorted(photos.rglob("*.png"))]) / 255
    images = (images - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    amplitude = np.abs(np.fft.fftshift(np.fft.fft2(images, axes=(1, 2)), axes=(1, 2))) @ (0.2989, 0.5870, 0.1140)
    mean = amplitude.reshape(3, EACH, SIDE, SIDE).mean(axis=1)
    stored = arrays(tmp_path / "out" / "adcs.npz")
    np.testing.assert_allclose(stored["amplitude"], mean, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(stored["adcs"], np.sign(mean[:, None] - mean[None]).sum(axis=1))
    assert "figures/adcs.png" in files(tmp_path / "out")
    alone = evaluate(*arguments[:-1], tmp_path / "one", "--classes", "cat")
    assert alone.status == 0
    assert "there is one class only" in alone.out


def test_spectra_with_the_preprocessing_of_weights(measure, tmp_path, undrawn):
    found = measure("adcs", "out")
    assert found.status == 0, found.err
    assert arrays(tmp_path / "out" / "adcs.npz")["adcs"].shape == (3, SIDE, SIDE)


def test_images_are_chosen_by_class_and_name(measure, tmp_path, undrawn):
    chosen = {}
    for name, arguments in (
        ("even", ("--select", "even")),
        ("odd", ("--select", "odd")),
        ("first", ("--per_class", 1, "--classes", "dog", "bird")),
    ):
        found = measure("dfm", name, "--patch", 8, *arguments)
        assert found.status == 0, found.err
        chosen[name] = arrays(tmp_path / name / "losses.npz")["names"].tolist()
    assert chosen["even"] == [f"{name}/{number}.png" for name in CLASSES for number in (0, 2)]
    assert chosen["odd"] == [f"{name}/{number}.png" for name in CLASSES for number in (1, 3)]
    assert chosen["first"] == ["bird/0.png", "dog/0.png"]
    assert "no halves" in found.out
    assert rows(tmp_path / "first")[0]["half_iou"] is None


def test_classes_without_images_are_listed(measure, tmp_path, photos, undrawn):
    few = draw_photos(tmp_path / "few", CLASSES[:2])
    found = measure("bands", "out", data=few)
    assert found.status == 0, found.err
    assert "1 of the 3 classes have no image" in found.out
    assert {row["class"] for row in rows(tmp_path / "out")} == set(CLASSES[:2])


def test_squashed_images(measure, tmp_path, undrawn):
    wide = draw_photos(tmp_path / "wide", size=(24, 40))
    assert measure("dfm", "cut", "--patch", 8, data=wide).status == 0
    assert measure("dfm", "squashed", "--patch", 8, "--squash", data=wide).status == 0
    prints = [arrays(tmp_path / name / "maps.npz")["prints"].tolist() for name in ("cut", "squashed")]
    assert not set(prints[0]) & set(prints[1])


def test_bad_images_are_skipped_and_listed(measure, tmp_path, photos, undrawn):
    (photos / "cat" / "1.png").write_bytes(b"nonsense")
    refused(measure("bands", "refused"), "1.png is not an image", tmp_path / "refused")
    found = measure("bands", "out", "--skip_bad")
    assert found.status == 0, found.err
    assert results(tmp_path / "out")["skipped"] == [str(photos / "cat" / "1.png")]


@pytest.mark.slow
def test_a_model_of_the_users_own(evaluate, tmp_path, undrawn):
    (tmp_path / "my_model.py").write_text(OWN)
    photos = draw_photos(tmp_path / "net", ("0_tench", "1_goldfish", "2_shark"), size=(224, 224))
    arguments = ("frequency", "dfm", "--data", photos, "--per_class", 1, "--patch", 112)
    found = evaluate(*arguments, "--model", "my_model:model", "--out", tmp_path / "out")
    assert found.status == 0, found.err
    assert "takes images in [0, 1]; they are filtered there" in found.out
    losses = arrays(tmp_path / "out" / "losses.npz")
    means = np.stack([np.asarray(Image.open(p)).mean(axis=(0, 1)) for p in sorted(photos.rglob("0.png"))]) / 255
    logits = np.concatenate([means, np.zeros((3, 997))], axis=1)
    expected = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(3), np.arange(3)]
    np.testing.assert_allclose(losses["baseline"], expected, atol=1e-5)
    for name, message in (("broken", "logits that are not numbers for 0_tench/0.png"), ("short", r"shape \(\d+,\)")):
        found = evaluate(*arguments, "--model", f"my_model:{name}", "--out", tmp_path / name)
        assert found.status == 2
        assert files(tmp_path / name) == set()
        assert re.search(message, found.err)
    sys.modules.pop("my_model", None)


@pytest.mark.parametrize(
    ("job", "arguments", "message"),
    [
        ("dfm", ("--patch", 0), "patch is 0; it must be from 1 to half"),
        ("dfm", ("--patch", 9), "patch is 9; for images of 16 pixels it must be from 1 to 8"),
        ("dfm", ("--patch", 3, "--symmetry", "reference"), "patch is 3; with symmetry reference it must divide"),
        ("dfm", ("--top", 0), r"top is \[0.0\]; give shares above 0"),
        ("dfm", ("--top", 1.5), "at most 1"),
        ("dfm", ("--top", 0.1, 0.1), "each once"),
        ("dfm", ("--screen", 1), "screen is 1; it must be between 0 and 1"),
        ("dfm", ("--screen", 0.5, "--symmetry", "reference"), "leave out --screen"),
        ("dfm", ("--method", "joint", "--patch", 2), "draws whole masks; leave out --patch$"),
        ("dfm", ("--method", "joint", "--top", 0.2, "--screen", 0.5), "leave out --top, --screen$"),
        ("dfm", ("--method", "joint", "--symmetry", "reference"), "leave out --symmetry reference$"),
        ("dfm", ("--method", "joint", "--candidates", 9), "candidates is 9; it must be at least 10"),
        ("dfm", ("--candidates", 50), "leave out --candidates, or add --method joint"),
        ("dfm", ("--method", "other"), "method"),
        ("dfm", ("--seed", -1), "seed is -1"),
        ("dfm", ("--per_class", 0), "per_class is 0"),
        ("dfm", ("--classes", "cat", "cat"), "each once"),
        ("dfm", ("--classes", "horse"), "no images of horse; it has bird, cat, dog"),
        ("dfm", ("--batch_size", 0), "batch_size is 0"),
        ("dfm", ("--fraction", 2), "fraction"),
        ("dfm", ("--topk.keep", "rest"), "say how much it keeps, too: --fraction"),
        ("dfm", ("--weights", "nowhere"), "nowhere"),
        ("test", ("--masks", "nowhere"), "there are no masks nowhere"),
        ("test", (), "masks"),
        ("test", ("--masks", "run"), "run has no maps.npz: it holds no run of"),
        ("test", ("--masks", "unfinished"), "it holds an unfinished run of dfm"),
        ("test", ("--masks", "stages"), "it holds an unfinished run of dfm"),
        ("test", ("--masks", "ones.pkl", "--classes", "cat"), "false positives need another class"),
        ("test", ("--masks", "ones.pkl", "--controls", -1), "controls are -1"),
        ("test", ("--masks", "ones.pkl", "--top", 0.1), "leave it out"),
        ("test", ("--masks", "two.pkl"), "two.pkl has 2 masks, and there are images of 3 classes"),
        ("test", ("--masks", "small.pkl"), r"have 8×8 frequencies, and the network's images 16×16"),
        ("test", ("--masks", "flat.pkl"), "masks are squares"),
        ("test", ("--masks", "halves.pkl"), "values other than 0 and 1; give masks, not maps of losses"),
        ("test", ("--masks", "empty.pkl"), "keep nothing for bird, cat, dog"),
        ("test", ("--masks", "code.pkl"), "asks for posix.system"),
        ("test", ("--masks", "code.npy"), "asks for posix.system"),
        ("adcs", ("--size", 1), "at least 2 pixels"),
        ("adcs", ("--std", "[0,1,1]"), "each must be above 0"),
    ],
)
def test_refusals(measure, evaluate, tmp_path, photos, undrawn, job, arguments, message):
    bad_files()
    if job == "adcs":
        found = evaluate("frequency", job, "--data", photos, *arguments, "--out", tmp_path / "out")
    else:
        found = measure(job, "out", *arguments)
    refused(found, message, tmp_path / "out")


class Code:
    def __reduce__(self):
        return os.system, ("touch witness",)


def bad_files():
    """In the working folder: pickles of masks, only the first of which is good, and a run that was killed."""
    ones = np.ones((SIDE, SIDE), np.float32)
    for name, masks in {
        "ones": [ones] * 3,
        "two": [ones] * 2,
        "small": [np.ones((8, 8), np.float32)] * 3,
        "flat": [np.ones((8, 9), np.float32)] * 3,
        "halves": [ones / 2] * 3,
        "empty": [0 * ones] * 3,
        "code": [Code()] * 3,
    }.items():
        Path(f"{name}.pkl").write_bytes(pickle.dumps(dict(enumerate(masks))))
    with Path("code.npy").open("wb") as file:
        np.save(file, np.array([Code()], object), allow_pickle=True)
    Path("unfinished").mkdir()
    Path("unfinished/.state-0.npz").write_bytes(b"")
    Path("stages").mkdir()
    Path("stages/losses.npz").write_bytes(b"")


def test_masks_of_other_classes_or_shares(measure, tmp_path, photos, undrawn):
    assert measure("dfm", "dfm", "--patch", 4, "--classes", "bird", "cat").status == 0
    found = measure("test", "out", "--masks", tmp_path / "dfm")
    refused(found, "masks in .* are for bird, cat, and the images are of dog", tmp_path / "out")
    found = measure("test", "out", "--masks", tmp_path / "dfm", "--classes", "bird", "cat", "--top", 0.5)
    refused(found, "no masks for 0.5; it has 0.01, 0.05, 0.1, 0.2", tmp_path / "out")
    path = tmp_path / "dfm" / "maps.npz"
    path.write_bytes(path.read_bytes()[:300])
    found = measure("test", "out", "--masks", tmp_path / "dfm")
    refused(found, "maps.npz is damaged or cut short", tmp_path / "out")


def test_runs_that_cannot_be_compared(measure, compare, tmp_path, undrawn):
    assert measure("dfm", "one", "--patch", 4, "--classes", "bird", "cat").status == 0
    assert measure("dfm", "two", "--patch", 4, "--classes", "dog").status == 0
    one, two = tmp_path / "one", tmp_path / "two"
    refused(compare("out", "--runs", one, two), "no class, or no share, in common", tmp_path / "out")
    refused(compare("out", "--runs", one, one), "each once", tmp_path / "out")
    refused(compare("out", "--runs", tmp_path / "run"), "has no maps.npz", tmp_path / "out")


KILLED = """
import sys
sys.path[:0] = [{tests!r}, {root!r}]
from support.small_network import SMALL
from sparseshape_jax.frequency import losses
from sparseshape_jax.models import register
from sparseshape_jax.cli import main
from sparseshape_jax.jobs import evaluate
register("small", SMALL)
losses.SAVED_EVERY = 0.02
raise SystemExit(main("", evaluate.JOBS, sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [("--patch", "1"), ("--method", "joint", "--candidates", "40")], ids=["removal", "joint"]
)
def test_killed_at_any_moment(tmp_path, small_network, arguments):
    """The same bytes as an undisturbed run."""
    photos = draw_photos(tmp_path / "photos")
    save_run(tmp_path / "run", CLASSES)
    code = KILLED.format(tests=str(Path(__file__).parents[1]), root=str(Path(__file__).parents[2]))
    command = [
        sys.executable,
        "-c",
        code,
        "frequency",
        "dfm",
        "--data",
        str(photos),
        "--weights",
        str(tmp_path / "run"),
    ]
    command += [*arguments, "--batch_size", "2", "--out"]
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    out = tmp_path / "out"
    rng = np.random.default_rng(0)
    kills = 0
    while kills < 3:
        process = subprocess.Popen([*command, str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before = {path: path.stat().st_mtime_ns for path in out.glob(".state*")} if out.is_dir() else {}
        while process.poll() is None:
            time.sleep(0.005)
            now = {path: path.stat().st_mtime_ns for path in out.glob(".state*.npz")} if out.is_dir() else {}
            if now != before and now:
                time.sleep(rng.uniform(0, 0.03))
                process.send_signal(signal.SIGKILL)
                break
        if process.wait() == -signal.SIGKILL:
            kills += 1
        assert kills or not (out / "maps.npz").exists()
        if process.returncode == 0:
            break
    assert kills == 3
    assert not (out / "maps.npz").exists()
    subprocess.run([*command, str(out)], check=True, capture_output=True)
    for name in ("losses.npz", "maps.npz"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert json.loads((out / "results.json").read_text())["rows"]


def test_losses_are_summed_as_the_reference_does():
    """Batches of 100, a short one at the end, and a class that is in both."""
    rng = np.random.default_rng(0)
    label = np.sort(rng.integers(0, 3, 130))
    loss = rng.random((130, 4)).astype(np.float32)
    record = dfm_job.Losses(loss, loss[:, 0], np.arange(4), np.zeros((3, 4), bool), label, label, np.arange(3), None)
    expected = np.zeros((3, 4))
    for one in range(3):
        for start, stop in ((0, 100), (100, 130)):
            own = label[start:stop] == one
            if own.any():
                total = loss[start:stop][own].sum(axis=0, dtype=float) + (~own).sum() * np.log(5)
                expected[one] += total / (stop - start)
    np.testing.assert_allclose(dfm_job.reference_loss(record, 5), expected, rtol=1e-12)
