"""Sweeps over placements and fractions, against counting image by image with the network itself."""

import csv
import json
import math
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from matplotlib.figure import Figure
from PIL import Image

from sparseshape_jax.classification import heat_maps, measure
from sparseshape_jax.classification.measure import OnStimuli, Programs
from sparseshape_jax.classification.sweep import Sweep, placements_of, run
from sparseshape_jax.cli import main
from sparseshape_jax.data.preprocessing import Preprocessing
from sparseshape_jax.errors import InputError
from sparseshape_jax.models import Network
from sparseshape_jax.placement import TopK
from sparseshape_jax.shape_bias.categories import CATEGORIES
from sparseshape_jax.shape_bias.decisions import decide
from sparseshape_jax.top_k import keep_top_k
from sparseshape_jax.weights.assign import save_safetensors
from sparseshape_jax.weights.load import abstract, load

ROOT = Path(__file__).parents[2]
SIDE = 56
WANTED = Preprocessing(resize=SIDE, crop=SIDE)
PLACEMENTS, FRACTIONS = ("pool3", "pool5", "pool3+pool5"), (0.5, 0.1)
PAIRS = [(a, b) for a in ("bird", "dog", "truck") for b in ("bird", "dog", "car", "oven")]


def random_squeezenet(seed: int, **options: int) -> Network:
    network, rng = abstract("squeezenet1_1", **options), np.random.default_rng(seed)
    state = nnx.state(network, nnx.Param)
    nnx.update(
        network,
        jax.tree.map(
            lambda array: jnp.asarray(rng.normal(size=array.shape) / math.sqrt(math.prod(array.shape[:-1]) or 1) * 1.4),
            state,
        ),
    )
    network.eval()
    return network


def normalised(path: Path) -> jax.Array:
    with Image.open(path) as image:
        return WANTED.normalise(jnp.asarray(np.asarray(image)[None], jnp.float32) / 255)


@pytest.fixture(scope="module")
def network() -> Network:
    return random_squeezenet(0)


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
    seen = np.asarray(network(jnp.concatenate([normalised(path) for path in (*images, *stimuli)])))
    for path, logits in zip(images, seen, strict=False):
        (root / "data" / str(logits.argmax())).mkdir(parents=True, exist_ok=True)
        path.rename(root / "data" / str(logits.argmax()) / path.name)
    return root


def settings(place: Path, out: Path, **changes: object) -> Sweep:
    given = {
        "data": str(place / "data"),
        "stimuli": str(place / "stimuli"),
        "weights": str(place / "weights.safetensors"),
    }
    sweep = {"placements": PLACEMENTS, "fractions": FRACTIONS, "batch_size": 5, "out": str(out)}
    return Sweep(**{**given, **sweep, **changes})


@pytest.fixture(scope="module")
def finished(place, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "out"
    run(settings(place, out))
    return out


def summary(out: Path) -> list[dict]:
    return json.loads((out / "summary.json").read_text())


@pytest.fixture
def measured(monkeypatch) -> list[int]:
    """Grows by one whenever a cell is measured. Nothing is drawn, which would take longer."""
    cells: list[int] = []
    original = OnStimuli.__call__

    def counted(self, logits, progress):
        cells.append(1)
        return original(self, logits, progress)

    monkeypatch.setattr(OnStimuli, "__call__", counted)
    monkeypatch.setattr(heat_maps, "draw", lambda *_: [])
    return cells


def test_every_cell_is_what_counting_one_by_one_gives(finished, place, network):
    rows = summary(finished)
    expected = [("dense", 1.0)] + [(placement, fraction) for placement in PLACEMENTS for fraction in FRACTIONS]
    assert [(row["placement"], row["fraction"]) for row in rows] == expected
    images = sorted((place / "data").rglob("*.png"))
    stimuli = sorted((place / "stimuli").rglob("*.png"))
    inputs = jnp.concatenate([normalised(path) for path in (*images, *stimuli)])
    for row in rows:
        names = row["placement"].split("+") if row["placement"] != "dense" else []
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
    assert rows[0]["top1"] == 1
    assert len({row["top1"] for row in rows}) > 2


def test_what_a_run_leaves(finished):
    figures = ("accuracy", "accuracy-by-class", "shape-bias", "shape-bias-by-category")
    files = {path.relative_to(finished).as_posix() for path in finished.rglob("*") if path.is_file()}
    assert files == {"config.yaml", "summary.json", "summary.csv"} | {
        f"figures/{name}.{suffix}" for name in figures for suffix in ("png", "pdf")
    }
    with (finished / "summary.csv").open() as file:
        table = list(csv.DictReader(file))
    for row, entry in zip(table, summary(finished), strict=True):
        assert float(row["top1"]) == entry["top1"]
        assert {key: float(row[f"top1_{key}"]) for key in entry["per_class"]} == entry["per_class"]
        assert {f"shape_bias_{category}" for category in CATEGORIES} <= set(row)
        assert "fingerprint" not in row


@pytest.mark.parametrize("positions", [1, 7, 100, 12_544, 200_704])
def test_a_traced_fraction_keeps_exactly_k(positions):
    """Where float32 would round fraction · positions to the wrong side: 0.29 · 100 is just below 29 in float64."""
    x = jnp.asarray(np.random.default_rng(0).permutation(positions).reshape(1, positions, 1, 1) + 1.0, jnp.float32)
    programs = Programs(load_small())
    programs._shapes = {"pool1": x}
    kept = jax.jit(lambda share: jnp.count_nonzero(keep_top_k(x, share)))
    for fraction in (0.001, 0.05, 0.07, 0.1, 0.14, 0.2, 0.29, 0.3, 0.57, 0.58, 0.7, 0.9999, 1.0):
        (share,) = programs._shares(TopK(fraction, after=("pool1",))).values()
        assert int(kept(share)) == max(1, int(fraction * positions)), fraction


def load_small() -> SimpleNamespace:
    return SimpleNamespace(model=random_squeezenet(0, num_classes=2), preprocessing=WANTED)


def test_a_finished_run_measures_nothing_again(finished, place, tmp_path, measured):
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    rows = run(settings(place, out))
    assert rows == summary(out) == summary(finished)
    assert measured == []


def test_only_what_is_new_is_measured(finished, place, tmp_path, measured):
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    rows = run(settings(place, out, placements=("pool5+pool3", "pool5"), fractions=(0.1, 0.3)))
    assert measured == [1, 1]
    known = {(row["placement"], row["fraction"]): row for row in summary(finished)}
    for row in rows:
        assert row == known.get((row["placement"], row["fraction"]), row)
    assert [(row["placement"], row["fraction"]) for row in rows[1:3]] == [("pool3+pool5", 0.1), ("pool3+pool5", 0.3)]


@pytest.mark.parametrize("change", ["weights", "pixels", "top-k"])
def test_what_other_settings_made_is_not_taken_up(finished, place, tmp_path, measured, change):
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    new = Path(shutil.copytree(place, tmp_path / "place"))
    changes: dict[str, object] = {"placements": ("pool5",), "fractions": (0.1,)}
    if change == "weights":
        save_safetensors(random_squeezenet(1), new / "weights.safetensors", preprocessing=WANTED)
    elif change == "pixels":
        path = next((new / "data").rglob("*.png"))
        Image.new("RGB", (SIDE, SIDE)).save(path)
    else:
        changes["topk"] = TopK(keep="rest")
    run(settings(new, out, **changes))
    assert len(measured) == (1 if change == "top-k" else 2)  # without Top-K its settings do not matter


def test_a_stopped_run_goes_on(finished, place, tmp_path, monkeypatch, measured):
    count = measure.OnData.__call__
    monkeypatch.setattr(measure.OnData, "__call__", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    config = settings(place, tmp_path / "out", placements=("pool5",))
    with pytest.raises(KeyboardInterrupt):
        run(config)
    assert not (tmp_path / "out" / "summary.json").exists()

    def third_time_unlucky(*arguments: object) -> dict:
        if len(measured) == 4:  # one before, and two cells
            raise KeyboardInterrupt
        return count(*arguments)

    monkeypatch.setattr(measure.OnData, "__call__", third_time_unlucky)
    with pytest.raises(KeyboardInterrupt):
        run(config)
    assert [row["placement"] for row in summary(tmp_path / "out")] == ["dense", "pool5"]
    assert len(run(config)) == 3
    assert len(measured) == 5
    known = {row["fingerprint"]: row for row in summary(finished)}
    assert all(row == known[row["fingerprint"]] for row in summary(tmp_path / "out"))


def test_a_training_run_is_swept_by_its_own_classes(tmp_path, place, capsys, measured):
    options = {"num_classes": 3}
    metadata = {
        "options": json.dumps(options),
        "classes": json.dumps(["a", "b", "c"]),
        "topk": json.dumps([TopK(0.2, keep="rest", after=("pool1", "pool5")).to_config()]),
    }
    trained = random_squeezenet(0, **options)
    save_safetensors(trained, tmp_path / "run" / "last.safetensors", metadata, preprocessing=WANTED)
    for number, path in enumerate(sorted((place / "data").rglob("*.png"))):
        (tmp_path / "data" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "data" / "ab"[number % 2] / f"{number}.png")
    (tmp_path / "data" / "a" / "bad.png").write_text("no image")
    given = {"weights": str(tmp_path / "run"), "data": str(tmp_path / "data"), "out": str(tmp_path / "out")}
    loaded = load(None, weights=tmp_path / "run")
    assert placements_of(Sweep(**given), loaded) == ("pool1", "pool3", "pool5", "pool1+pool3+pool5", "pool1+pool5")
    dense, sparse = run(Sweep(**given, placements=("pool5",), fractions=(0.2,), skip_bad=True))
    paths = sorted((tmp_path / "data").rglob("[0-9].png"))
    logits = trained(jnp.concatenate(list(map(normalised, paths))), at={"pool5": TopK(0.2, keep="rest")})
    right = [
        one == "abc"[best] for one, best in zip((p.parent.name for p in paths), logits.argmax(axis=1), strict=True)
    ]
    assert (sparse["n"], sparse["top1"], sparse["top5"]) == (9, sum(right) / 9, None)
    assert set(dense["per_class"]) == {"a", "b"}
    printed = capsys.readouterr().out
    assert "shape bias" not in printed
    assert "1 images could not be decoded and were left out" in printed
    with pytest.raises(InputError, match="shape bias is counted with the 1000 ImageNet classes"):
        run(Sweep(weights=given["weights"], stimuli=str(place / "stimuli"), out=str(tmp_path / "out")))


# Figures


@pytest.fixture
def drawn(monkeypatch) -> Callable[[list[dict]], dict[str, Figure]]:
    def draw(rows: list[dict]) -> dict[str, Figure]:
        kept: dict[str, Figure] = {}

        def keep(figure: Figure, stem: Path) -> list[Path]:
            figure.draw_without_rendering()
            kept[stem.name] = figure
            return []

        monkeypatch.setattr(heat_maps, "save", keep)
        heat_maps.draw(Path("unused"), rows, "net_$1")
        return kept

    return draw


def texts(figure: Figure, panel: int = 0) -> list[str]:
    return [text.get_text() for text in figure.axes[panel].texts]


def ticks(figure: Figure) -> tuple[list[str], list[str]]:
    axes = figure.axes[0]
    return [text.get_text() for text in axes.get_xticklabels()], [text.get_text() for text in axes.get_yticklabels()]


def frames(figure: Figure) -> list[tuple[float, float]]:
    return [patch.get_xy() for patch in figure.axes[0].patches if not patch.get_fill()]


def made_up(placement: str, fraction: float, top1: float, **by_class: float) -> dict:
    return {"placement": placement, "fraction": fraction, "n": 9, "top1": top1, "top5": None, "per_class": by_class}


def test_numbers_stand_in_their_cells(drawn):
    rows = [made_up("dense", 1, 0.9, x=1.0, y=0.0, z=0.5)]
    rows += [made_up("pool1", 0.1, 0.25, x=0.3, y=0.0, z=0.5), made_up("pool1", 0.5, 0.5, x=0.0, y=0.0, z=0.0)]
    rows += [made_up("pool1+b", 0.1, 0.125, x=0.2, y=0.0, z=0.6), made_up("pool1+b", 0.5, 0.996, x=0.4, y=0.0, z=0.7)]
    figures = drawn(rows)
    assert set(figures) == {"accuracy", "accuracy-by-class"}
    assert texts(figures["accuracy"]) == [".90", ".50", ".25", ".90", "1.00", ".12"]
    assert ticks(figures["accuracy"]) == (["dense", "50", "10"], ["pool1", "pool1 + b"])
    by_class = figures["accuracy-by-class"]
    # Nobody ever recognised y; x is best without Top-K, z with it.
    assert ticks(by_class)[1] == ["y", "x", "z"]
    assert texts(by_class) == [".00", ".00", ".00", "1.00", ".40", ".20", ".50", ".70", ".60"]
    assert frames(by_class) == [(0, 1), (1 + heat_maps.GAP, 2)]


def test_few_decisions_are_nobodys_best(drawn):
    def row(placement: str, fraction: float, **by_category: tuple[int, int]) -> dict:
        counts = {
            name: {"n": 40, "shape": shape, "texture": texture, "shape_bias": shape / (shape + texture or math.nan)}
            for name, (shape, texture) in by_category.items()
        }
        return {
            "placement": placement,
            "fraction": fraction,
            "n_stimuli": 80,
            "shape_bias": 0.5,
            "cue_accuracy": 0.25,
            "by_category": counts | {"cat": {"n": 0, "shape": 0, "texture": 0, "shape_bias": None}},
        }

    rows = [row("dense", 1, bear=(4, 16), dog=(0, 0)), row("a", 0.2, bear=(9, 0), dog=(9, 3))]
    figures = drawn([*rows, row("a", 0.1, bear=(6, 6), dog=(10, 0))])
    assert set(figures) == {"shape-bias", "shape-bias-by-category"}
    assert texts(figures["shape-bias"], 1) == [".25"] * 3
    by_category = figures["shape-bias-by-category"]
    assert ticks(by_category)[1] == ["bear", "dog"]
    assert texts(by_category) == [".20", "20", "1.00", "9", ".50", "12", "–", "0", ".75", "12", "1.00", "10"]
    assert frames(by_category) == [(2 + heat_maps.GAP, 0), (2 + heat_maps.GAP, 1)]


def test_of_many_classes_those_are_drawn_that_change(drawn):
    names = [f"class{number}" for number in range(60)]
    dense = made_up("dense", 1, 0.5, **dict.fromkeys(names, 0.5))
    sparse = made_up("a", 0.2, 0.5, **{name: number / 120 for number, name in enumerate(names)})
    figure = drawn([dense, sparse])["accuracy-by-class"]
    assert set(ticks(figure)[1]) == set(names[: heat_maps.DRAWN])
    box = figure.get_tightbbox()
    assert min(box.x0, box.y0) >= 0
    assert box.x1 <= figure.get_figwidth()
    assert box.y1 <= figure.get_figheight()


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
def test_bad_input_is_one_line(place, tmp_path, monkeypatch, capsys, flags, message):
    monkeypatch.chdir(shutil.copytree(place, tmp_path / "place"))
    script = runpy.run_path(str(ROOT / "evaluate.py"))
    arguments = ["sweep", "--weights", "weights.safetensors", "--out", "out", *flags.split()]
    assert main("", script["JOBS"], arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert message in printed.err
    assert not Path("out").exists()
