import csv
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparseshape_jax.errors import InputError
from sparseshape_jax.observers.consistency import TABLE_COLUMNS, Consistency, compare, consistency_table
from sparseshape_jax.observers.records import Records, read_folders


def observer(
    name: str,
    correct: list[bool],
    *,
    dataset: str = "sketch",
    conditions: tuple[str | None, ...] = (),
    first: int = 0,
) -> Records:
    """An observer who saw `dog<i>.png` for i from `first` and was right or wrong as said."""
    return Records(
        observer=name,
        images=tuple(f"{i:04}_x_{name}_dog{first + i}.png" for i in range(len(correct))),
        categories=("dog",) * len(correct),
        responses=tuple("dog" if right else None for right in correct),
        dataset=dataset,
        conditions=conditions,
    )


def table_observers(both: int, first: int, second: int, neither: int) -> tuple[Records, Records]:
    cells = [(True, True)] * both + [(True, False)] * first + [(False, True)] * second + [(False, False)] * neither
    return observer("a", [x for x, _ in cells]), observer("b", [y for _, y in cells])


@pytest.mark.parametrize(
    ("cells", "kappa"),
    [
        ((50, 0, 0, 50), 1.0),  # the same errors
        ((0, 50, 50, 0), -1.0),  # opposite errors
        ((25, 25, 25, 25), 0.0),  # independent
        ((20, 5, 10, 15), 0.4),  # the textbook example: observed 0.7, expected 0.5
        ((10, 0, 0, 0), 1.0),  # both always right: kappa's 0 / 0 counts as agreement
        ((0, 0, 0, 10), 1.0),
        ((0, 10, 0, 0), 0.0),  # one always right, the other always wrong: as expected
    ],
)
def test_kappa_of_known_tables(cells: tuple[int, int, int, int], kappa: float) -> None:
    result = compare(*table_observers(*cells))
    assert result.error_consistency == pytest.approx(kappa)
    assert result.n == sum(cells)


@given(st.tuples(*[st.integers(0, 30)] * 4).filter(lambda cells: sum(cells) > 0))
def test_measures_equal_those_of_the_contingency_table(cells: tuple[int, int, int, int]) -> None:
    both, first, second, neither = cells
    n = sum(cells)
    result = compare(*table_observers(*cells))
    observed = Fraction(both + neither, n)
    expected = Fraction((both + first) * (both + second) + (second + neither) * (first + neither), n * n)
    assert result.accuracy == pytest.approx((both + first) / n)
    assert result.other_accuracy == pytest.approx((both + second) / n)
    assert result.accuracy_difference == pytest.approx(((first - second) / n) ** 2)
    assert result.observed_consistency == pytest.approx(float(observed))
    assert result.expected_consistency == pytest.approx(float(expected))
    if expected != 1:
        assert result.error_consistency == pytest.approx(float((observed - expected) / (1 - expected)))
    mirrored = compare(*reversed(table_observers(*cells)))
    assert mirrored.error_consistency == pytest.approx(result.error_consistency)


def test_trials_are_matched_by_stimulus() -> None:
    a = observer("a", [True, False, True, False])
    shuffled = Records("b", a.images[::-1], a.categories, a.responses[::-1], dataset=a.dataset)
    assert compare(a, shuffled).observed_consistency == 1


def test_only_images_that_both_saw_are_compared() -> None:
    a = observer("a", [True, True, False, False])
    b = observer("b", [False, False, True, True], first=2)
    assert compare(a, b) == Consistency(2, 0, 0, 0, 1, 1, 1)
    with pytest.raises(InputError, match="no image of 'sketch' in common"):
        compare(a, observer("c", [True], first=9))
    with pytest.raises(InputError, match="'edge'"):
        compare(a, observer("c", [True], dataset="edge"))


def test_conditions_are_averaged_without_the_excluded_ones() -> None:
    conditions = ("c100",) * 4 + ("c50",) * 4 + ("c30",) * 2
    a = observer(
        "a", [True] * 4 + [True, True, False, False] + [True, False], dataset="contrast", conditions=conditions
    )
    b = observer(
        "b", [False] * 4 + [True, False, True, False] + [True, False], dataset="contrast", conditions=conditions
    )
    result = compare(a, b)
    assert result.n == 6
    assert result.error_consistency == (0 + 1) / 2
    assert result.observed_consistency == (0.5 + 1) / 2
    assert result.accuracy_difference == 0


def test_conditions_are_the_same_however_they_are_spelled() -> None:
    a = observer("a", [True, False, True], dataset="uniform-noise", conditions=("0.00", "0.10", "0.20"))
    b = observer("b", [False, False, True], dataset="uniform-noise", conditions=("0.0", "0.1", "0.2"))
    assert compare(a, b).n == 2
    c = observer("c", [True, True], dataset="false-colour", conditions=("true", "false"))
    d = observer("d", [True, True], dataset="false-colour", conditions=("True", "False"))
    assert compare(c, d).n == 1


def test_conditions_that_only_one_observer_has_are_ignored() -> None:
    human = observer("subject-01", [True, False], conditions=("0", "0"))
    model = observer("net", [True, False])
    assert compare(model, human).n == 2


def test_an_image_seen_twice_cannot_be_matched() -> None:
    twice = Records("a", ("1_dog1.png", "2_dog1.png"), ("dog", "dog"), ("dog", "cat"), dataset="sketch")
    with pytest.raises(InputError, match=r"'dog1\.png' of 'sketch' twice"):
        compare(twice, observer("b", [True, True]))


def test_reference_records_equal_a_computation_on_sorted_columns(reference_data: Path) -> None:
    folder = reference_data / "data" / "reference-decisions" / "cue-conflict"

    def correct(name: str) -> np.ndarray:
        with (folder / name).open(newline="") as file:
            rows = sorted(csv.DictReader(file), key=lambda row: row["imagename"].split("_")[-1])
        return np.array([row["object_response"] == row["category"] for row in rows])

    a = correct("cue-conflict_AlexNet-topK-20_session-1.csv")
    b = correct("cue-conflict_subject-03_session_1.csv")
    observed = (a == b).mean()
    expected = a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean())
    everyone = {records.observer: records for records in read_folders([folder])}
    result = compare(everyone["AlexNet_topK_20"], everyone["subject-03"])
    assert result.n == 1280
    assert result.observed_consistency == pytest.approx(observed)
    assert result.error_consistency == pytest.approx((observed - expected) / (1 - expected))


def test_table_of_the_reference_records(reference_data: Path) -> None:
    folder = reference_data / "data" / "reference-decisions"
    rows = consistency_table(read_folders([folder / "cue-conflict", folder / "edge"]))
    assert all(tuple(row) == TABLE_COLUMNS for row in rows)
    conflicts = [row for row in rows if row["dataset"] == "cue-conflict"]
    assert len([row for row in conflicts if row["other"] != "humans"]) == 18 * 17 / 2
    with_humans = {row["observer"]: row for row in conflicts if row["other"] == "humans"}
    assert with_humans["AlexNet_normal"]["pairs"] == 10
    assert with_humans["humans"]["pairs"] == 90
    single = [
        row["error_consistency"]
        for row in conflicts
        if row["observer"] == "AlexNet_normal" and row["other"].startswith("subject")
    ]
    assert with_humans["AlexNet_normal"]["error_consistency"] == pytest.approx(np.mean(single))
    # Humans are far more alike than any of the models is to them.
    kappas = {name: row["error_consistency"] for name, row in with_humans.items()}
    assert max(kappas, key=kappas.__getitem__) == "humans"
    assert kappas["humans"] == pytest.approx(0.331, abs=5e-4)
    assert kappas["vit_large_patch16_224"] == pytest.approx(0.195, abs=5e-4)


def test_observers_without_a_common_image_are_left_out_of_the_table() -> None:
    observers = [observer("a", [True]), observer("b", [True], first=5), observer("subject-01", [True])]
    with pytest.warns(UserWarning, match="no image") as warned:
        rows = consistency_table(observers)
    assert len(warned) == 2
    assert [(row["observer"], row["other"]) for row in rows] == [("a", "subject-01"), ("a", "humans")]
