import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparseshape_jax.errors import InputError
from sparseshape_jax.observers.categories import CATEGORIES
from sparseshape_jax.observers.records import Records, read_folders
from sparseshape_jax.observers.scores import flat_row, pool, score
from sparseshape_jax.results import Results

ROW_KEYS = [
    "model",
    "fraction",
    "keep",
    "n",
    "shape",
    "texture",
    "shape_bias",
    "shape_bias_ci95",
    "cue_accuracy",
    "shape_accuracy",
    "texture_accuracy",
    "by_category",
]


def records_with(shape: int, texture: int, other: int, *, same: int = 0, observer: str = "net") -> Records:
    """Cats with a dog's texture, answered as said, and `same` images whose cues agree."""
    responses = ["cat"] * shape + ["dog"] * texture + ["oven"] * other
    images = [f"cat{i}-dog{i}.png" for i in range(len(responses))] + [f"cat{i}-cat{i}.png" for i in range(same)]
    return Records(observer, tuple(images), ("cat",) * len(images), (*responses, *["cat"] * same))


def binomial_quantile(n: int, p: float, q: float) -> int:
    total = 0.0
    for k in range(n + 1):
        total += math.comb(n, k) * p**k * (1 - p) ** (n - k)
        if total >= q:
            return k
    return n


def test_counts_by_hand() -> None:
    records = Records(
        observer="net",
        images=(
            "cat1-dog2.png",
            "cat2-dog1.png",
            "cat3-oven1.png",
            "bear1-bear2.png",
            "bear1-cat2.png",
            "bear2-cat1.png",
        ),
        categories=("cat", "cat", "cat", "bear", "bear", "bear"),
        #          shape  texture nothing  cues agree  shape  no answer
        responses=("cat", "dog", "bear", "bear", "bear", None),
    )
    result = score(records)
    assert (result.n, result.shape, result.texture) == (5, 2, 1)
    assert result.shape_bias == 2 / 3
    assert result.cue_accuracy == 3 / 5
    assert result.shape_accuracy == 2 / 5
    assert result.texture_accuracy == 1 / 5
    cat, bear, dog = (result.by_category[name] for name in ("cat", "bear", "dog"))
    assert (cat.n, cat.shape, cat.texture, cat.shape_bias) == (3, 1, 1, 0.5)
    assert (bear.n, bear.shape, bear.texture, bear.shape_bias) == (2, 1, 0, 1.0)
    assert (dog.n, dog.shape, dog.texture) == (0, 0, 0)
    assert math.isnan(dog.shape_bias)
    assert list(result.by_category) == list(CATEGORIES)


ALEXNET = {
    "AlexNet_normal": (0.239, 0.630),
    "AlexNet_topK_50": (0.435, 0.482),
    "AlexNet_topK_40": (0.538, 0.451),
    "AlexNet_topK_30": (0.633, 0.398),
    "AlexNet_topK_20": (0.710, 0.391),
    "AlexNet_topK_10": (0.719, 0.321),
    "AlexNet_topK_5": (0.631, 0.246),
    "vit_large_patch16_224": (0.538, 0.787),
}


def test_the_authors_records_give_the_published_numbers(reference_data: Path) -> None:
    folder = reference_data / "data" / "reference-decisions" / "cue-conflict"
    scores = {records.observer: score(records) for records in read_folders([folder])}
    assert {one.n for one in scores.values()} == {1200}
    counted = {name: (round(one.shape_bias, 3), round(one.cue_accuracy, 3)) for name, one in scores.items()}
    assert {name: pair for name, pair in counted.items() if not name.startswith("subject")} == ALEXNET
    humans = [one for one in scores.values() if one.is_human]
    assert len(humans) == 10
    assert round(min(one.shape_bias for one in humans), 2) == 0.92
    assert round(max(one.shape_bias for one in humans), 2) == 0.99
    together = pool(humans, model="humans")
    assert together.n == 12_000
    assert together.shape == sum(one.shape for one in humans)
    assert together.shape_bias == pytest.approx(0.959, abs=5e-4)
    assert together.by_category["cat"].n == 750


@pytest.mark.parametrize(("shape", "texture"), [(30, 70), (150, 250), (5, 15)])
def test_interval_is_the_exact_binomial_one_if_every_image_is_decided(shape: int, texture: int) -> None:
    n = shape + texture
    low, high = score(records_with(shape, texture, 0)).shape_bias_ci95
    # 10,000 samples estimate a quantile of a lattice distribution to about one step.
    assert low * n == pytest.approx(binomial_quantile(n, shape / n, 0.025), abs=1)
    assert high * n == pytest.approx(binomial_quantile(n, shape / n, 0.975), abs=1)


def test_intervals_equal_those_of_images_drawn_one_by_one() -> None:
    result = score(records_with(60, 90, 50))
    generator = np.random.default_rng(3)
    outcomes = np.repeat([0, 1, 2], [60, 90, 50])[generator.integers(200, size=(4000, 200))]
    shape, texture = (outcomes == 0).sum(axis=1), (outcomes == 1).sum(axis=1)
    np.testing.assert_allclose(result.shape_bias_ci95, np.percentile(shape / (shape + texture), [2.5, 97.5]), atol=0.01)
    np.testing.assert_allclose(result.cue_accuracy_ci95, np.percentile((shape + texture) / 200, [2.5, 97.5]), atol=0.01)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40), st.integers(0, 3))
def test_invariants(shape: int, texture: int, other: int, same: int) -> None:
    result = score(records_with(shape, texture, other, same=same))
    assert (result.n, result.shape, result.texture) == (shape + texture + other, shape, texture)
    if shape + texture == 0:
        assert all(map(math.isnan, (result.shape_bias, *result.shape_bias_ci95)))
    else:
        low, high = result.shape_bias_ci95
        assert 0 <= low <= result.shape_bias <= high <= 1
    if result.n:
        low, high = result.cue_accuracy_ci95
        assert 0 <= low <= result.cue_accuracy <= high <= 1
        assert result.shape_accuracy + result.texture_accuracy == pytest.approx(result.cue_accuracy)
    else:
        assert math.isnan(result.cue_accuracy)


def test_the_seed_decides_the_interval() -> None:
    records = records_with(333, 444, 223)
    assert score(records) == score(records)
    assert score(records, seed=1).shape_bias_ci95 != score(records, seed=2).shape_bias_ci95


def test_pooling_adds_counts() -> None:
    together = pool([score(records_with(1, 2, 3)), score(records_with(4, 0, 1))], model="both")
    assert (together.n, together.shape, together.texture) == (11, 5, 2)
    assert together.by_category["cat"].shape == 5
    assert (together.model, together.fraction, together.keep) == ("both", None, None)


def test_other_datasets_have_no_shape_bias() -> None:
    with pytest.raises(InputError, match="'edge'"):
        score(Records("net", ("oven10.png",), ("oven",), ("oven",), dataset="edge"))


def test_summary(tmp_path: Path) -> None:
    sparse = score(records_with(2, 1, 1, observer="net_topK_20"), model="net", fraction=0.2, keep="top")
    undecided = score(records_with(0, 0, 4, observer="subject-01"))
    rows = [sparse.row(), undecided.row()]
    assert [list(row) for row in rows] == [ROW_KEYS] * 2
    results = Results(tmp_path, "test", {}, identity=("model", "fraction"))
    for row in rows:
        results.add({**row, "pairs": [1, 2], "note": {"a": 1}}, None)
    results.finish(flat=flat_row)

    first, second = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert list(first) == [*ROW_KEYS, "pairs", "note", "fingerprint"]
    assert (first["model"], first["fraction"], first["keep"]) == ("net", 0.2, "top")
    assert (first["n"], first["shape"], first["texture"], first["shape_bias"]) == (4, 2, 1, 2 / 3)
    assert len(first["shape_bias_ci95"]) == 2
    assert first["by_category"]["cat"] == {"n": 4, "shape": 2, "texture": 1, "shape_bias": 2 / 3}
    assert list(first["by_category"]) == list(CATEGORIES)
    assert (second["model"], second["fraction"], second["keep"]) == ("subject-01", None, None)
    assert (second["shape_bias"], second["shape_bias_ci95"], second["cue_accuracy"]) == (None, [None, None], 0.0)

    with (tmp_path / "summary.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == [
        *ROW_KEYS[:7],
        "shape_bias_ci95_low",
        "shape_bias_ci95_high",
        *ROW_KEYS[8:11],
        *(f"shape_bias_{category}" for category in CATEGORIES),
    ]
    assert float(table[0]["shape_bias_cat"]) == 2 / 3
    assert table[0]["shape_bias_dog"] == table[1]["shape_bias"] == table[1]["fraction"] == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "results.json", "summary.csv"]
