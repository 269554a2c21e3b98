import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.ood_records import answers, published_records, random_answers

from sparseshape_jax.errors import InputError
from sparseshape_jax.observers.benchmark import Benchmark, BenchmarkRow, benchmark, benchmark_groups, measure_sets
from sparseshape_jax.observers.consistency import compare
from sparseshape_jax.observers.experiments import NONPARAMETRIC, PARAMETRIC, PUBLISHED_SETS
from sparseshape_jax.observers.records import Records
from sparseshape_jax.observers.set_results import HUMANS, MeasuredSet, accuracy_interval, measure_set
from sparseshape_jax.observers.trials import confusion_matrix

SETS = list(PUBLISHED_SETS.values())
FEW = [PUBLISHED_SETS[name] for name in ("contrast", "rotation", "sketch")]
PEOPLE = ("subject-01", "subject-02", "subject-03")
MEASURES = ("accuracy difference", "observed consistency", "error consistency")


@pytest.fixture(scope="module")
def published(reference_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Records]:
    return published_records(reference_data, tmp_path_factory.mktemp("records"))


@pytest.fixture(scope="module")
def measured(published: list[Records]) -> list[MeasuredSet]:
    return measure_sets(published, SETS)


@pytest.fixture(scope="module")
def reference(reference_data: Path) -> dict[str, Any]:
    return json.loads((reference_data / "goldens" / "ood" / "benchmark_reference.json").read_text())


def near(value: Any) -> Any:
    return pytest.approx(value, rel=0, abs=1e-9)


def test_all_17_sets_are_read(published: list[Records], reference: dict[str, Any]) -> None:
    assert len(published) == 243
    for name, expected in reference["datasets"].items():
        present = [records for records in published if records.dataset == name]
        assert {len(records) for records in present} == {expected["n_images"]}
        assert sum(records.is_human for records in present) == expected["n_humans"] == PUBLISHED_SETS[name].humans


@pytest.mark.parametrize("group", ["all", "parametric", "nonparametric"])
def test_benchmark_of_the_reference(measured: list[MeasuredSet], reference: dict[str, Any], group: str) -> None:
    sets = benchmark_groups(SETS)[group]
    result = benchmark(measured, sets)
    assert result.sets == tuple(one.name for one in sets)
    assert (result.missing, result.notes) == ({}, ())
    assert {row.observer for row in result.rows} == set(reference[group])
    assert result.rows[0].observer == HUMANS
    for row in result.rows:
        expected = reference[group][row.observer]
        assert row.ood_accuracy == near(expected["OOD accuracy"])
        assert row.ood_accuracy_ci95[0] < row.ood_accuracy < row.ood_accuracy_ci95[1]
        for measure in MEASURES:
            assert getattr(row, measure.replace(" ", "_")) == near(expected[measure])
        if row.observer != HUMANS:
            assert row.ranks is not None
            assert row.ranks.mean == near(expected["mean rank"])
            for measure, rank in expected["ranks"].items():
                assert getattr(row.ranks, measure.replace(" ", "_").lower()) == rank
    means = [row.ranks.mean for row in result.rows if row.ranks]
    assert means == sorted(means)


def test_groups_of_sets() -> None:
    groups = benchmark_groups(SETS)
    assert [one.name for one in groups["parametric"]] == list(PARAMETRIC)
    assert {one.name for one in groups["nonparametric"]} == set(NONPARAMETRIC)
    assert len(groups["all"]) == 17


def test_published_row_of_resnet50(measured: list[MeasuredSet]) -> None:
    rows = {row.observer: row for row in benchmark(measured, SETS).rows}
    row = rows["resnet50"]
    assert round(row.accuracy_difference, 3) == 0.087
    assert round(row.observed_consistency, 3) == 0.665
    assert round(row.error_consistency, 3) == 0.208
    assert round(row.ood_accuracy, 3) == 0.559


@pytest.mark.parametrize("name", PUBLISHED_SETS)
def test_each_set_of_the_reference(measured: list[MeasuredSet], reference: dict[str, Any], name: str) -> None:
    one = next(one for one in measured if one.name == name)
    expected = reference["datasets"][name]
    overall = {result.observer: result for result in one.overall}
    for observer, measures in expected["benchmark"].items():
        assert overall[observer].accuracy == near(expected["OOD accuracy"][observer])
        for measure, value in measures.items():
            assert getattr(overall[observer], measure.replace(" ", "_")) == near(value)
    assert len(one.kept) == len(expected["kept_conditions"])
    for observer in expected["accuracy"]:
        results = [result for result in one.by_condition if result.observer == observer]
        assert len(results) == len(expected["all_conditions"])
        assert [result.accuracy for result in results] == near(expected["accuracy"][observer])
        assert [result.response_entropy for result in results] == near(expected["entropy"][observer])
        if kappas := expected.get("error consistency by condition"):
            assert [result.error_consistency for result in results] == near(kappas[observer])
    for key, matrix in expected.items():
        if key.startswith("confusion resnet50"):
            condition = key.partition(" condition ")[2] or None
            ours = 100 * confusion_matrix(one.trials, ["resnet50"], condition)
            np.testing.assert_allclose(ours, matrix["percent"], rtol=0, atol=1e-9)


def test_pairs_and_matrix_are_those_of_two_observers_at_a_time(
    measured: list[MeasuredSet], published: list[Records]
) -> None:
    one = next(one for one in measured if one.name == "rotation")
    records = {records.observer: records for records in published if records.dataset == "rotation"}
    pairs = list(one.pairs())
    assert len(pairs) == (9 * 4 + 6) * 4
    matrix = one.error_consistency()
    for observer, other in (("resnet50", "subject-03"), ("subject-01", "subject-02"), ("resnet50", "bagnet33")):
        expected = compare(records[observer], records[other]).error_consistency
        indices = one.trials.observers.index(observer), one.trials.observers.index(other)
        assert matrix[indices] == matrix[indices[::-1]] == near(expected)
        if other != "bagnet33":
            kappas = [
                pair.consistency.error_consistency
                for pair in pairs
                if (pair.observer, pair.other) == (observer, other) and pair.condition in one.kept
            ]
            assert np.mean(kappas) == near(expected)
    assert np.diag(matrix) == near(np.ones(len(matrix)))


def few(networks: Sequence[str] = ("one", "two"), people: Sequence[str] = PEOPLE) -> list[Records]:
    return [
        random_answers(observer, described.name, described.conditions, accuracy=0.3 + 0.1 * order)
        for described in FEW
        for order, observer in enumerate((*networks, *people))
    ]


def without(records: list[Records], dataset: str, *observers: str) -> list[Records]:
    return [one for one in records if one.dataset != dataset or (observers and one.observer not in observers)]


def run(records: list[Records]) -> Benchmark:
    return benchmark(measure_sets(records, FEW), FEW)


def row(result: Benchmark, observer: str) -> BenchmarkRow:
    return next(one for one in result.rows if one.observer == observer)


def numbers(one: BenchmarkRow) -> list[float]:
    return [one.ood_accuracy, one.accuracy_difference, one.observed_consistency, one.error_consistency]


def test_a_missing_set_is_named_and_left_out_for_all() -> None:
    everything = few()
    result = run(without(everything, "rotation"))
    assert result.coverage == "over 2 of 3 sets"
    assert result.missing == {"rotation": "no records"}
    assert "rotation is left out for all observers: no records" in result.notes
    assert all(np.isfinite(numbers(one)).all() for one in result.rows)
    two = [described for described in FEW if described.name != "rotation"]
    assert result.rows == benchmark(measure_sets(everything, FEW), two).rows


@pytest.mark.parametrize(("gone", "who"), [(("one", "two"), "network"), (PEOPLE, "human")])
def test_a_set_that_only_one_side_saw_is_left_out_for_all(gone: tuple[str, ...], who: str) -> None:
    result = run(without(few(), "rotation", *gone))
    assert result.missing == {"rotation": f"no {who} saw it"}
    assert result.sets == ("contrast", "sketch")
    assert all(np.isfinite(numbers(one)).all() for one in result.rows)


def test_a_network_that_lacks_a_set_is_flagged_and_never_averaged_over_fewer() -> None:
    result = run(without(few(), "rotation", "two"))
    assert result.coverage == "over 3 of 3 sets"
    flagged = row(result, "two")
    assert flagged.lacks == ("no records of rotation",)
    assert np.isnan([*numbers(flagged), *flagged.ood_accuracy_ci95]).all()
    assert flagged.ranks is not None
    assert math.isnan(flagged.ranks.mean)
    assert result.rows[-1] == flagged
    assert "two: no means over these sets (no records of rotation)" in result.notes
    # The others are as if it had not been there.
    alone = run([one for one in few() if one.observer != "two"])
    assert numbers(row(result, "one")) == numbers(row(alone, "one"))
    assert row(result, "one").ranks == row(alone, "one").ranks


def test_a_network_that_lacks_a_condition_is_flagged() -> None:
    records = [one for one in few() if (one.dataset, one.observer) != ("rotation", "two")]
    records.append(random_answers("two", "rotation", ["0", "90", "180"]))
    result = run(records)
    assert row(result, "two").lacks == ("rotation: no 270",)
    assert np.isnan(numbers(row(result, "two"))).all()
    assert "rotation: two has no 270" in result.notes
    measured = {one.name: one for one in measure_sets(records, FEW)}["rotation"]
    assert measured.kept == ("90", "180", "270")
    assert [one.n for one in measured.by_condition if one.observer == "two"] == [32, 32, 32]


def test_a_network_with_half_the_images_is_compared_on_them_and_n_is_reported() -> None:
    records = few()
    index = next(i for i, one in enumerate(records) if (one.dataset, one.observer) == ("sketch", "two"))
    whole = records[index]
    half = records[index] = Records("two", whole.images[:16], whole.categories[:16], whole.responses[:16], "sketch")
    result = run(records)
    assert row(result, "two").lacks == ("sketch: 16 of 32 images",)
    assert "sketch: two has 16 of 32 images" in result.notes
    assert np.isfinite(numbers(row(result, "two"))).all()
    assert row(result, "two").n == row(result, "one").n - 16
    sketch = {one.name: one for one in measure_sets(records, FEW)}["sketch"]
    found = next(one for one in sketch.overall if one.observer == "two")
    assert (found.n, found.pairs, found.compared) == (16, 3, 16)
    humans = [one for one in records if one.dataset == "sketch" and one.is_human]
    expected = np.mean([compare(half, human).error_consistency for human in humans])
    assert found.error_consistency == pytest.approx(expected)


def test_a_missing_human_is_counted_and_one_who_lacks_a_condition_is_left_out_for_all() -> None:
    result = run(without(few(), "contrast", "subject-02"))
    assert all(np.isfinite(numbers(one)).all() for one in result.rows)
    assert "contrast: 2 of 4 humans" in result.notes
    records = [one for one in few() if (one.dataset, one.observer) != ("contrast", "subject-02")]
    records.append(random_answers("subject-02", "contrast", ["c100", "c50", "c30", "c15", "c10"]))
    left_out = run(records)
    assert "contrast: subject-02 has no c05 and is left out" in left_out.notes
    assert [numbers(one) for one in left_out.rows] == [numbers(one) for one in result.rows]


def test_a_single_human_has_no_pair_and_the_humans_no_means() -> None:
    result = run(without(few(), "contrast", "subject-02", "subject-03"))
    humans = row(result, HUMANS)
    assert math.isnan(humans.error_consistency)
    assert humans.lacks == ("contrast: no second human",)
    assert "humans: no means over these sets (contrast: no second human)" in result.notes
    assert np.isfinite(numbers(row(result, "one"))).all()


def test_networks_only() -> None:
    result = run(few(people=()))
    assert [one.observer for one in result.rows] == ["two", "one"]
    for one in result.rows:
        assert np.isnan(numbers(one)).tolist() == [False, True, True, True]
        assert one.ranks is not None
        assert math.isnan(one.ranks.mean)
    assert [one.ranks.ood_accuracy for one in result.rows if one.ranks] == [1, 2]
    assert "there are no records of human subjects, only accuracy is known" in result.notes


def test_humans_only() -> None:
    result = run([one for one in few() if one.is_human])
    (humans,) = result.rows
    assert np.isfinite(numbers(humans)).all()
    assert numbers(humans) == numbers(row(run(few()), HUMANS))


def test_conditions_that_only_one_side_saw_do_not_count() -> None:
    rotation = PUBLISHED_SETS["rotation"]
    people = [random_answers(name, "rotation", rotation.conditions) for name in PEOPLE]
    one = measure_set([random_answers("net", "rotation", ["90"]), *people], rotation)
    assert one.kept == ("90",)
    assert "rotation: over 1 of 3 conditions, without 180, 270" in one.notes
    assert all(result.n == (96 if result.observer == HUMANS else 32) for result in one.overall)
    none = benchmark([measure_set([random_answers("net", "rotation", ["0"]), *people], rotation)], [rotation])
    assert none.missing == {"rotation": "no condition that counts was seen by both"}
    assert none.coverage == "over 0 of 1 sets"
    assert np.isnan(numbers(row(none, "net"))).all()


def test_other_images_than_the_humans_saw_are_not_compared() -> None:
    people = [random_answers(name, "sketch", ["0"]) for name in PEOPLE]
    one = measure_set([answers("net", "sketch", {"0": [True, False]}, first=100), *people], PUBLISHED_SETS["sketch"])
    result = one.overall[0]
    assert (result.accuracy, result.pairs, result.compared) == (0.5, 0, 0)
    assert math.isnan(result.error_consistency)
    assert result.lacks == "no image that a human saw"
    assert all(not other.lacks for other in one.overall[1:])


def test_sets_of_ones_own_have_accuracy_and_enter_no_benchmark() -> None:
    records = [*few(), answers("one", "mine", {"x10": [True], "x2": [False, True]})]
    measured = measure_sets(records, FEW)
    assert [one.name for one in measured] == ["contrast", "rotation", "sketch", "mine"]
    assert [(one.condition, one.accuracy) for one in measured[-1].by_condition] == [("x2", 0.5), ("x10", 1.0)]
    assert benchmark(measured, FEW) == run(few())
    plain = measure_sets([answers("one", "mine", {"0": [True]}), answers("two", "mine", {"0": [True]})], [])
    assert [one.conditions for one in (plain[0].described,)] == [("0",)]


def test_ties_share_the_mean_of_their_ranks() -> None:
    records = [random_answers(name, "sketch", ["0"]) for name in PEOPLE]
    given = random_answers("a", "sketch", ["0"])
    records += [Records(name, given.images, given.categories, given.responses, "sketch") for name in ("a", "b")]
    records += [random_answers("worst", "sketch", ["0"], accuracy=0)]
    sketch = [PUBLISHED_SETS["sketch"]]
    ranks = {one.observer: one.ranks for one in benchmark(measure_sets(records, sketch), sketch).rows if one.ranks}
    assert {name: one.ood_accuracy for name, one in ranks.items()} == {"a": 1.5, "b": 1.5, "worst": 3}
    assert [one.observed_consistency for one in ranks.values()] == [1.5, 1.5, 3]


def test_intervals_are_seeded_and_those_of_a_binomial() -> None:
    assert accuracy_interval(80, 160) == accuracy_interval(80, 160)
    assert accuracy_interval(8000, 16000, 1) != accuracy_interval(8000, 16000, 2)
    low, high = accuracy_interval(8000, 16000)
    deviation = math.sqrt(0.25 / 16000)
    assert low == pytest.approx(0.5 - 1.96 * deviation, abs=0.1 * deviation)
    assert high == pytest.approx(0.5 + 1.96 * deviation, abs=0.1 * deviation)
    assert accuracy_interval(10, 10) == (1, 1)
    assert accuracy_interval(0, 10) == (0, 0)
    assert all(map(math.isnan, accuracy_interval(0, 0)))


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(InputError, match="called 'humans'"):
        measure_set([answers("humans", "sketch", {"0": [True]})], PUBLISHED_SETS["sketch"])
    with pytest.raises(InputError, match="at least one set"):
        benchmark([], [])
    with pytest.raises(InputError, match="'c42' is unknown"):
        measure_sets([answers("net", "contrast", {"c42": [True]})], FEW)
