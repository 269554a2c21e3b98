"""Sweeps over placements and fractions, against counting image by image with the network itself."""

import json
import re
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from support.commands import files, refused, results, rows, table
from support.networks import random_network
from support.small_network import save_run

from sparseshape_jax.errors import InputError
from sparseshape_jax.evaluation.config import SweepConfig
from sparseshape_jax.evaluation.sweep import AccuracyMetric, ShapeBiasMetric, placements_of, run
from sparseshape_jax.figures import heat_maps
from sparseshape_jax.models import Network
from sparseshape_jax.observers.categories import CATEGORIES
from sparseshape_jax.observers.decisions import decide
from sparseshape_jax.preprocessing import Preprocessing
from sparseshape_jax.top_k.spec import TopK, TopKChanges
from sparseshape_jax.weights.assign import save_safetensors
from sparseshape_jax.weights.load import load

SIDE = 56
WANTED = Preprocessing(resize=SIDE, crop=SIDE)
PLACEMENTS, FRACTIONS = ("pool3", "pool5", "pool3+pool5"), (0.5, 0.1)
PAIRS = [(a, b) for a in ("bird", "dog", "truck") for b in ("bird", "dog", "car", "oven")]


def normalized(path: Path) -> jax.Array:
    with Image.open(path) as image:
        return WANTED.normalize(jnp.asarray(np.asarray(image)[None], jnp.float32) / 255)


@pytest.fixture(scope="module")
def network() -> Network:
    return random_network("squeezenet1_1", gain=1.4)


@pytest.fixture(scope="module")
def place(tmp_path_factory, network) -> Path:
    """Weights; stimuli; and data whose labels are what the network without Top-K sees."""
    root = tmp_path_factory.mktemp("sweep")
    save_safetensors(network, root / "weights.safetensors", preprocessing=WANTED)
    rng = np.random.default_rng(1)

    def noise(path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8))
        coarse.resize((SIDE, SIDE)).save(path)
        return path

    names = [f"{shape}/{shape}{number}-{texture}1.png" for number, (shape, texture) in enumerate(PAIRS, start=1)]
    images = [noise(root / "new" / f"{number}.png") for number in range(9)]
    stimuli = [noise(root / "stimuli" / name) for name in names]
    seen = np.asarray(network(jnp.concatenate([normalized(path) for path in (*images, *stimuli)])))
    for path, logits in zip(images, seen, strict=False):
        (root / "data" / str(logits.argmax())).mkdir(parents=True, exist_ok=True)
        path.rename(root / "data" / str(logits.argmax()) / path.name)
    return root


def settings(place: Path, out: Path, **changes: object) -> SweepConfig:
    given = {
        "data": str(place / "data"),
        "stimuli": str(place / "stimuli"),
        "weights": str(place / "weights.safetensors"),
    }
    sweep = {"placements": PLACEMENTS, "fractions": FRACTIONS, "batch_size": 5, "out": str(out)}
    return SweepConfig(**{**given, **sweep, **changes})


@pytest.fixture(scope="module")
def finished(place, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "out"
    run(settings(place, out))
    return out


@pytest.fixture
def measured(monkeypatch) -> list[int]:
    """Grows by one whenever a cell is measured. Nothing is drawn, which would take longer."""
    cells: list[int] = []
    original = ShapeBiasMetric.__call__

    def counted(self, logits, progress):
        cells.append(1)
        return original(self, logits, progress)

    monkeypatch.setattr(ShapeBiasMetric, "__call__", counted)
    monkeypatch.setattr(heat_maps, "draw", lambda *_: [])
    return cells


def test_every_cell_is_what_counting_one_by_one_gives(finished, place, network):
    cells = rows(finished)
    expected = [("dense", 1.0)] + [(placement, fraction) for placement in PLACEMENTS for fraction in FRACTIONS]
    assert [(row["placement"], row["fraction"]) for row in cells] == expected
    images = sorted((place / "data").rglob("*.png"))
    stimuli = sorted((place / "stimuli").rglob("*.png"))
    inputs = jnp.concatenate([normalized(path) for path in (*images, *stimuli)])
    dense = np.asarray(jax.nn.log_softmax(network(inputs[: len(images)])))
    for row in cells:
        names = row["placement"].split("+") if row["placement"] != "dense" else []
        placed = [TopK(row["fraction"], after=tuple(names)).to_config()] if names else []
        assert (row["model"], row["keep"], row["top_k"]) == ("squeezenet1_1", "top" if names else "all", placed)
        logits = np.asarray(network(inputs, at=dict.fromkeys(names, TopK(row["fraction"]))))
        right = [int(path.parent.name) == one.argmax() for path, one in zip(images, logits, strict=False)]
        five = [int(path.parent.name) in np.argsort(-one)[:5] for path, one in zip(images, logits, strict=False)]
        assert (row["n"], row["top1"], row["top5"]) == (9, sum(right) / 9, sum(five) / 9)
        assert sum(row["per_class"].values()) <= len(row["per_class"]) <= 9
        shape = texture = conflicts = 0
        for path, decision in zip(stimuli, decide(logits[len(images) :]), strict=True):
            one, other = (part.rstrip("0123456789") for part in path.stem.split("-"))
            conflicts += one != other
            shape += one != other and CATEGORIES[decision] == one
            texture += one != other and CATEGORIES[decision] == other
        assert (row["n_stimuli"], row["shape"], row["texture"]) == (conflicts, shape, texture)
        assert row["cue_accuracy"] == (shape + texture) / conflicts
        assert row["shape_bias"] == (shape / (shape + texture) if shape + texture else None)
        assert sum(counts["shape"] for counts in row["by_category"].values()) == shape
    assert cells[0]["top1"] == 1
    assert len({row["top1"] for row in cells}) > 2
    losses = [one[int(path.parent.name)] for path, one in zip(images, dense, strict=True)]
    assert cells[0]["loss"] == pytest.approx(-np.mean(losses), rel=1e-4)


def test_what_a_run_leaves(finished):
    figures = ("accuracy", "accuracy-by-class", "shape-bias", "shape-bias-by-category")
    drawn = {f"figures/{name}.{suffix}" for name in figures for suffix in ("png", "pdf")}
    assert files(finished) == {"config.yaml", "results.json", "summary.csv"} | drawn
    assert list(results(finished)) == ["job", "software", "hardware", "settings", "rows", "figures", "skipped"]
    assert results(finished)["job"] == "evaluate sweep"
    assert set(results(finished)["figures"]) == drawn
    for row, entry in zip(table(finished / "summary.csv"), rows(finished), strict=True):
        assert float(row["top1"]) == entry["top1"]
        assert {key: float(row[f"top1_{key}"]) for key in entry["per_class"]} == entry["per_class"]
        assert {f"shape_bias_{category}" for category in CATEGORIES} <= set(row)
        assert "fingerprint" not in row


def test_a_finished_run_measures_nothing_again(finished, place, tmp_path, measured):
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    assert run(settings(place, out)) == rows(out) == rows(finished)
    assert measured == []


def test_only_what_is_new_is_measured(finished, place, tmp_path, measured):
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    cells = run(settings(place, out, placements=("pool5+pool3", "pool5"), fractions=(0.1, 0.3)))
    assert measured == [1, 1]
    known = {(row["placement"], row["fraction"]): row for row in rows(finished)}
    for row in cells:
        assert row == known.get((row["placement"], row["fraction"]), row)
    assert [(row["placement"], row["fraction"]) for row in cells[1:3]] == [("pool3+pool5", 0.1), ("pool3+pool5", 0.3)]


def test_cells_that_are_not_asked_for_stay(finished, place, tmp_path, monkeypatch, capsys, measured):
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    drawn = []
    monkeypatch.setattr(heat_maps, "draw", lambda folder, cells, model: drawn.append(list(cells)) or [])
    asked = run(settings(place, out, placements=("pool5",), fractions=(0.1,)))
    assert measured == []
    assert [(row["placement"], row["fraction"]) for row in asked] == [("dense", 1.0), ("pool5", 0.1)]
    assert drawn == [asked]
    printed = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert [words for words in printed if words[:1] and words[0] in ("dense", *PLACEMENTS)] == [
        ["dense", "1"],
        ["pool5", "0.1"],
    ]
    before = rows(finished)
    assert rows(out) == asked + [row for row in before if row not in asked]
    assert len(table(out / "summary.csv")) == len(before) == 7
    # The whole sweep is there still.
    assert run(settings(place, out)) == rows(out) == before
    assert measured == []


@pytest.mark.parametrize("change", ["weights", "pixels", "top-k"])
def test_what_other_settings_made_is_measured_again(finished, place, tmp_path, measured, change):
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    new = Path(shutil.copytree(place, tmp_path / "place"))
    changes: dict[str, object] = {"placements": ("pool5",), "fractions": (0.1,)}
    if change == "weights":
        save_safetensors(
            random_network("squeezenet1_1", seed=1, gain=1.4), new / "weights.safetensors", preprocessing=WANTED
        )
    elif change == "pixels":
        path = next((new / "data").rglob("*.png"))
        Image.new("RGB", (SIDE, SIDE)).save(path)
    else:
        changes["topk"] = TopKChanges(keep="rest")
    run(settings(new, out, **changes))
    assert len(measured) == (1 if change == "top-k" else 2)  # without Top-K its settings do not matter


def test_a_stopped_run_resumes(finished, place, tmp_path, monkeypatch, measured):
    count = AccuracyMetric.__call__
    monkeypatch.setattr(AccuracyMetric, "__call__", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    config = settings(place, tmp_path / "out", placements=("pool5",))
    with pytest.raises(KeyboardInterrupt):
        run(config)
    assert not (tmp_path / "out" / "results.json").exists()

    def third_time_unlucky(*arguments: object) -> dict:
        if len(measured) == 4:  # one before, and two cells
            raise KeyboardInterrupt
        return count(*arguments)

    monkeypatch.setattr(AccuracyMetric, "__call__", third_time_unlucky)
    with pytest.raises(KeyboardInterrupt):
        run(config)
    assert [row["placement"] for row in rows(tmp_path / "out")] == ["dense", "pool5"]
    assert len(run(config)) == 3
    assert len(measured) == 5
    known = {row["fingerprint"]: row for row in rows(finished)}
    assert all(row == known[row["fingerprint"]] for row in rows(tmp_path / "out"))


@pytest.mark.slow
def test_a_training_run_is_swept_by_its_own_classes(tmp_path, place, capsys, measured):
    options = {"num_classes": 3}
    metadata = {
        "options": json.dumps(options),
        "classes": json.dumps(["a", "b", "c"]),
        "topk": json.dumps([TopK(0.2, keep="rest", after=("pool1", "pool5")).to_config()]),
    }
    trained = random_network("squeezenet1_1", gain=1.4, **options)
    save_safetensors(trained, tmp_path / "run" / "last.safetensors", metadata, preprocessing=WANTED)
    for number, path in enumerate(sorted((place / "data").rglob("*.png"))):
        (tmp_path / "data" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "data" / "ab"[number % 2] / f"{number}.png")
    (tmp_path / "data" / "a" / "bad.png").write_text("no image")
    given = {"weights": str(tmp_path / "run"), "data": str(tmp_path / "data"), "out": str(tmp_path / "out")}
    loaded = load(None, weights=tmp_path / "run")
    assert placements_of(SweepConfig(**given), loaded) == (
        "pool1",
        "pool3",
        "pool5",
        "pool1+pool3+pool5",
        "pool1+pool5",
    )
    dense, sparse = run(SweepConfig(**given, placements=("pool5",), fractions=(0.2,), skip_bad=True))
    paths = sorted((tmp_path / "data").rglob("[0-9].png"))
    logits = trained(jnp.concatenate(list(map(normalized, paths))), at={"pool5": TopK(0.2, keep="rest")})
    right = [
        one == "abc"[best] for one, best in zip((p.parent.name for p in paths), logits.argmax(axis=1), strict=True)
    ]
    assert (sparse["n"], sparse["top1"], sparse["top5"]) == (9, sum(right) / 9, None)
    assert set(dense["per_class"]) == {"a", "b"}
    printed = capsys.readouterr().out
    assert "shape bias" not in printed
    assert "1 images could not be decoded and were left out" in printed
    assert results(tmp_path / "out")["skipped"] == [str(tmp_path / "data" / "a" / "bad.png")]
    assert sparse["top_k"] == [TopK(0.2, keep="rest", after=("pool5",)).to_config()]
    with pytest.raises(InputError, match="the 16 categories are built from the 1000 ImageNet classes"):
        run(SweepConfig(weights=given["weights"], stimuli=str(place / "stimuli"), out=str(tmp_path / "out")))


# Bad input


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("", "nothing to measure on; give --data DIR"),
        ("--data missing", "there is no folder missing"),
        ("--stimuli missing", "there is no folder missing"),
        ("--data data --fractions 1.0 0.5", "fractions are [1.0, 0.5]; give some below 1"),
        ("--data data --fractions 0.5 0.5", "each once"),
        ("--data data --fractions 0", "the keep fraction is 0.0"),
        ("--data data --fractions []", "fractions are []"),
        ("--data data --topk.after pool1", "placements in place of topk.after"),
        ("--data data --topk.keep all", "a sweep needs a Top-K that changes something"),
        ("--data data --placements pool9", "squeezenet1_1 has no activation called 'pool9'; it has conv1"),
        ("--data data --placements logits", "Top-K cannot be placed after logits"),
        ("--data data --placements []", "placements is empty"),
        ("--data data --model own:network", "own:network has no named activations"),
        ("--data data --weights missing.pth", "cannot read the weights missing.pth"),
        ("--data data --out weights.safetensors", "cannot write to the output folder"),
        ("--data data --stimuli data", "not in cue-conflict layout"),
    ],
)
def test_bad_input_is_one_line(evaluate, place, tmp_path, monkeypatch, flags, message):
    monkeypatch.chdir(shutil.copytree(place, tmp_path / "place"))
    arguments = ["--weights", "weights.safetensors", "--out", "out", *flags.split()]
    refused(evaluate("sweep", *arguments), re.escape(message), Path("out"))
    assert not Path("out").exists()


@pytest.mark.slow
def test_several_trained_top_k_elsewhere(evaluate, place, tmp_path, small_network):
    """Of two that differ, neither is for a place where none was trained."""
    trained = (TopK(0.2, keep="rest", after=("conv1",)), TopK(0.1, scope="channel", after=("relu1",)))
    save_run(tmp_path / "run", ("a", "b", "c"), trained)
    (tmp_path / "data" / "a").mkdir(parents=True)
    shutil.copy(next((place / "data").rglob("*.png")), tmp_path / "data" / "a")
    flags = ("--weights", "run", "--data", "data", "--fractions", "[0.5]", "--out")
    message = "several Top-K that differ, none of them after conv2; say what to do there with --topk.keep"
    refused(evaluate("sweep", *flags, "out", "--placements", "conv2"), message, tmp_path / "out")
    refused(evaluate("accuracy", *flags, "out", "--topk.after", "conv2"), message, tmp_path / "out")
    done = evaluate("sweep", *flags, "own", "--placements", "conv1+relu1")
    assert done.status == 0, done.err
    own = [TopK(0.5, keep="rest", after=("conv1",)), TopK(0.5, scope="channel", after=("relu1",))]
    assert rows(tmp_path / "own")[1]["top_k"] == [spec.to_config() for spec in own]
    flags = (*flags, "given", "--placements", "conv2", "--topk.keep", "top", "--topk.scope", "volume")
    assert evaluate("sweep", *flags).status == 0
    assert rows(tmp_path / "given")[1]["top_k"] == [TopK(0.5, scope="volume", after=("conv2",)).to_config()]


def test_an_architecture_without_a_preset(evaluate, place, tmp_path, small_network):
    (tmp_path / "data" / "a").mkdir(parents=True)
    shutil.copy(next((place / "data").rglob("*.png")), tmp_path / "data" / "a")
    flags = ("--weights", "run", "--data", "data", "--out", "out")
    save_run(tmp_path / "run", ("a", "b"))
    message = r"no Top-K preset for small; name activations with {}, among conv1, relu1, conv2, logits"
    refused(evaluate("sweep", *flags), message.format("--placements"), tmp_path / "out")
    refused(evaluate("accuracy", *flags), message.format(r"--topk\.after"), tmp_path / "out")
    # Where Top-K was trained is as good as a preset, and the dense network needs none.
    assert evaluate("accuracy", *flags, "--fractions", "[1.0]").status == 0
    save_run(tmp_path / "run", ("a", "b"), [TopK(0.2, after=("conv1", "relu1"))])
    loaded = load(None, weights=tmp_path / "run")
    assert placements_of(SweepConfig(data="data"), loaded) == ("conv1+relu1",)
