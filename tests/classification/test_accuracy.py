"""Accuracy counted on images whose logits are made by hand."""

import csv
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from sparseshape_jax.classification import classifier
from sparseshape_jax.classification.accuracy import Accuracy, run
from sparseshape_jax.classification.classifier import Classifier
from sparseshape_jax.data.folders import wordnet_ids
from sparseshape_jax.data.preprocessing import Preprocessing
from sparseshape_jax.errors import InputError
from sparseshape_jax.placement import TopK

CLASSES_AND_RANKS = ((0, 0), (0, 4), (7, 5), (294, 1), (294, 999), (999, 0), (999, 0))
"""Of each image: its class, and how many classes the model prefers to it."""


@pytest.fixture(autouse=True)
def reader(monkeypatch) -> None:
    """The model "reader:network": it reads class and rank from the image's colour; Top-K at 20 % costs one rank."""

    def network(top_k):
        def logits(images):
            colours = np.round(images[:, 50, 50] * 255).astype(int)
            out = np.tile(-np.arange(1000.0), (len(images), 1))
            for row, (high, low, rank) in zip(out, colours, strict=True):
                true, rank = 100 * high + low, {255: 999}.get(rank, rank) + (top_k.fraction == 0.2)
                # The other classes keep their order; the true one goes in at its rank.
                row[[*(order := np.delete(np.arange(1000), true))[:rank], true, *order[rank:]]] = -np.arange(1000.0)
            return out

        return logits

    monkeypatch.setitem(sys.modules, "reader", SimpleNamespace(network=network))
    monkeypatch.setattr(sys, "path", list(sys.path))


def paint(path: Path, true: int, rank: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (224, 224), (true // 100, true % 100, min(rank, 255))).save(path)


def by_wordnet_id(folder: Path, number: int, true: int) -> Path:
    return folder / wordnet_ids()[true] / f"{number}.png"


def by_index(folder: Path, number: int, true: int) -> Path:
    return folder / f"{true:04}_name_{number}" / "deeper" / f"{number}.PNG"


def by_bare_index(folder: Path, number: int, true: int) -> Path:
    return folder / str(true) / f"{number}.png"


def flat(folder: Path, number: int, true: int) -> Path:
    return folder / f"{true:04}_{wordnet_ids()[true]}_{number}.png"


@pytest.mark.parametrize("layout", [by_wordnet_id, by_index, by_bare_index, flat], ids=lambda layout: layout.__name__)
@pytest.mark.parametrize("batch_size", [3, 64])
def test_counts(tmp_path, layout, batch_size, capsys):
    for number, (true, rank) in enumerate(CLASSES_AND_RANKS):
        paint(layout(tmp_path / "data", number, true), true, rank)
    out = tmp_path / "out"
    results = run(
        Accuracy(
            model="reader:network",
            data=str(tmp_path / "data"),
            fractions=(1.0, 0.2, TopK(0.5, keep="rest")),
            batch_size=batch_size,
            out=str(out),
        )
    )
    common = {"model": "reader_network", "n": 7}
    names = [wordnet_ids()[true] for true in (0, 7, 294, 999)]
    dense, sparse = dict(zip(names, (1 / 2, 0, 0, 1), strict=True)), dict.fromkeys(names, 0)
    assert results == [
        {**common, "fraction": 1.0, "keep": "all", "top1": 3 / 7, "top5": 5 / 7, "per_class": dense},
        {**common, "fraction": 0.2, "keep": "top", "top1": 0, "top5": 4 / 7, "per_class": sparse},
        {**common, "fraction": 0.5, "keep": "rest", "top1": 3 / 7, "top5": 5 / 7, "per_class": dense},
    ]
    assert json.loads((out / "summary.json").read_text()) == results
    with (out / "summary.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [list(row) for row in table] == [["model", "fraction", "keep", "n", "top1", "top5"]] * 3
    assert [float(row["top5"]) for row in table] == [5 / 7, 4 / 7, 5 / 7]
    printed = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("reader")]
    assert printed == [
        ["reader_network", "1", "0.429", "0.714", "7"],
        ["reader_network", "0.2", "0.000", "0.571", "7"],
        ["reader_network", "0.5", "rest", "0.429", "0.714", "7"],
    ]


def test_equal_logits_go_to_the_lower_index(tmp_path, monkeypatch):
    monkeypatch.setitem(
        sys.modules, "even", SimpleNamespace(network=lambda: lambda images: np.zeros((len(images), 1000)))
    )
    for true in (0, 4, 5):
        paint(tmp_path / "data" / str(true) / "x.png", true, 0)
    (row,) = run(Accuracy(model="even:network", data=str(tmp_path / "data"), out=str(tmp_path / "out")))
    assert (row["top1"], row["top5"]) == (1 / 3, 2 / 3)


def test_bad_images_stop_the_run_or_are_left_out(tmp_path, capsys):
    for number, (true, rank) in enumerate(CLASSES_AND_RANKS):
        paint(tmp_path / "data" / str(true) / f"{number}.png", true, rank)
    damaged = tmp_path / "data" / "0" / "0.png"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    settings = {"model": "reader:network", "data": str(tmp_path / "data"), "fractions": (1.0,), "batch_size": 4}
    with pytest.raises(InputError, match=r"data.0.0\.png"):
        run(Accuracy(**settings, out=str(tmp_path / "stopped")))
    assert list((tmp_path / "stopped").iterdir()) == []
    (row,) = run(Accuracy(**settings, skip_bad=True, out=str(tmp_path / "out")))
    assert (row["n"], row["top1"], row["top5"], row["skipped"]) == (6, 2 / 6, 4 / 6, [str(damaged)])
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == [row]
    assert f"1 images could not be decoded and were left out: {damaged}" in capsys.readouterr().out


def test_an_unwritable_folder_is_found_out_before_the_measurement(tmp_path, monkeypatch):
    def busy():
        def logits(images):
            pytest.fail("measured first")

        return logits

    monkeypatch.setitem(sys.modules, "busy", SimpleNamespace(network=busy))
    paint(tmp_path / "data" / "0" / "x.png", 0, 0)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write to the output folder"):
        run(Accuracy(model="busy:network", data=str(tmp_path / "data"), out=str(tmp_path / "file" / "out")))


# Weights that know their classes

NAMES = ("owl", "cat", "dog")


@pytest.fixture
def named(monkeypatch):
    """A function that gives weights with class names, which take every image for the class in its red channel."""

    def make(names: tuple[str, ...] | None, count: int) -> None:
        def logits(images):
            return np.eye(count)[images[:, 9, 9, 0].astype(int) % count]

        one = Classifier("run", (TopK(1.0),), "", Preprocessing(resize=16, crop=16), {}, logits, count, names)
        monkeypatch.setattr(classifier, "build_classifiers", lambda config: [one])

    return make


def folder_of(root: Path, seen: dict[str, list[int]]) -> str:
    """Images of classes, each with what it is taken for."""
    for name, reds in seen.items():
        for number, red in enumerate(reds):
            (root / name / "deeper").mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 16), (red, 0, 0)).save(root / name / "deeper" / f"{number}.png")
    return str(root)


def test_labels_are_the_classes_that_the_weights_name(tmp_path, named, capsys):
    named(NAMES, 3)
    data = folder_of(tmp_path / "data", {"cat": [1, 1, 2], "owl": [0]})
    (row,) = run(Accuracy(data=data, batch_size=3, out=str(tmp_path / "out")))
    assert row == {
        "model": "run",
        "fraction": 1.0,
        "keep": "top",
        "n": 4,
        "top1": 3 / 4,
        "top5": None,
        "per_class": {"owl": 1.0, "cat": 2 / 3},
        "absent": ["dog"],
    }
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == [row]
    printed = capsys.readouterr().out
    assert ["run", "1", "0.750", "-", "4"] in [line.split() for line in printed.splitlines()]
    assert "1 of the 3 classes have no image" in printed


def test_five_of_more_classes(tmp_path, named):
    named(tuple("abcdefg"), 7)
    data = folder_of(tmp_path / "data", {name: [0] for name in "abcdefg"})
    (row,) = run(Accuracy(data=data, out=str(tmp_path / "out")))
    # Class 0 comes first, and of the equal others the first four follow.
    assert (row["top1"], row["top5"]) == (1 / 7, 5 / 7)
    assert "absent" not in row


def test_folders_of_other_classes_are_refused(tmp_path, named):
    named(NAMES, 3)
    data = folder_of(tmp_path / "data", {"cat": [0], **{f"fish{number}": [0] for number in range(7)}})
    message = r"holds fish0, .*fish4 and 2 more, not among the 3 classes that the weights know \(owl, cat, dog\)"
    with pytest.raises(InputError, match=message):
        run(Accuracy(data=data, out=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


def test_ten_nameless_classes_are_refused(tmp_path, named):
    named(None, 10)
    with pytest.raises(InputError, match="these weights have 10 classes, without their names"):
        run(Accuracy(data=folder_of(tmp_path / "data", {"cat": [0]}), out=str(tmp_path / "out")))


def test_imagenets_own_classes_may_be_named(tmp_path, named):
    named(wordnet_ids(), 1000)
    data = folder_of(tmp_path / "data", {"0002_white_shark": [2], wordnet_ids()[3]: [2]})
    (row,) = run(Accuracy(data=data, out=str(tmp_path / "out")))
    assert row["per_class"] == {wordnet_ids()[2]: 1.0, wordnet_ids()[3]: 0.0}
