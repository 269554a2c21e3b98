import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.ood_records import answers, random_answers

from sparseshape_jax.errors import InputError
from sparseshape_jax.observers.categories import CATEGORIES
from sparseshape_jax.observers.consistency import compare
from sparseshape_jax.observers.experiments import PUBLISHED_SETS
from sparseshape_jax.observers.records import Records
from sparseshape_jax.observers.trials import NOT_SHOWN, RESPONSES, Comparisons, align, confusion_matrix

SKETCH = PUBLISHED_SETS["sketch"]
CONTRAST = PUBLISHED_SETS["contrast"]


def test_trials_are_matched_by_condition_and_stimulus() -> None:
    net = answers("net", "contrast", {"c30": [True, False], "c100": [True]})
    human = answers("subject-01", "contrast", {"c100": [False, True], "c30": [False]}, first=1)
    trials = align([net, human], CONTRAST)
    assert trials.observers == ("net", "subject-01")
    assert trials.conditions == ("c100", "c30")
    assert trials.is_human.tolist() == [False, True]
    # c30: image 0 for the network, 1 for both; c100: image 0 for the network, 1 and 2 for the human.
    assert trials.counts.tolist() == [[1, 2], [2, 1]]
    assert (trials.shown.all(axis=0)).sum() == 1
    assert trials.correct.sum(axis=1).tolist() == [2, 1]
    assert {*trials.responses[~trials.shown]} == {NOT_SHOWN}
    assert RESPONSES[0] is None


def test_conditions_are_recognized_in_any_spelling_and_ignored_where_there_is_one() -> None:
    a = answers("a", "uniform-noise", {"0.60": [True], "0.0": [True]})
    b = answers("b", "uniform-noise", {"0.6": [True], "0": [True]})
    trials = align([a, b], PUBLISHED_SETS["uniform-noise"])
    assert trials.conditions == ("0.00", "0.60")
    assert trials.shown.all()
    human = answers("subject-01", "sketch", {"0": [True]})
    net = Records("net", ("airplane0.png",), ("airplane",), ("airplane",), "sketch")
    assert align([human, net], SKETCH).shown.all()


@given(st.data())
def test_comparisons_are_those_of_two_observers_at_a_time(data: st.DataObject) -> None:
    columns = [data.draw(st.lists(st.booleans(), min_size=1, max_size=20)) for _ in range(3)]
    starts = [data.draw(st.integers(0, 5)) for _ in columns]
    records = [
        answers(f"o{i}", "sketch", {"0": column}, first=start)
        for i, (column, start) in enumerate(zip(columns, starts, strict=True))
    ]
    comparisons = align(records, SKETCH).comparisons
    for i, first in enumerate(records):
        for j, second in enumerate(records):
            if comparisons.n[0, i, j]:
                assert comparisons.between(i, j, 0) == compare(first, second)
            else:
                assert np.isnan(comparisons.error_consistency[0, i, j])
                with pytest.raises(InputError, match="in common"):
                    compare(first, second)


def test_comparisons_by_condition_average_to_those_of_the_set() -> None:
    records = [random_answers(name, "contrast", CONTRAST.conditions) for name in ("net", "subject-01")]
    trials = align(records, CONTRAST)
    kept = [index for index, condition in enumerate(trials.conditions) if condition in CONTRAST.kept]
    between = compare(*records)
    assert trials.comparisons.error_consistency[kept, 0, 1].mean() == pytest.approx(between.error_consistency)
    assert trials.comparisons.accuracy_difference[kept, 0, 1].mean() == pytest.approx(between.accuracy_difference)
    assert isinstance(trials.comparisons, Comparisons)


def test_what_cannot_be_matched_is_refused() -> None:
    net = answers("net", "contrast", {"c30": [True]})
    cases = {
        "'c42' is unknown; it must be one of c100, c50,": [answers("net", "contrast", {"c42": [True]})],
        "'NaN' is unknown": [Records("net", ("1.png",), ("cat",), ("cat",), "contrast")],
        "two records of 'net' on 'contrast'": [net, net],
        "saw 'cat1.png' of 'contrast' twice": [
            Records("net", ("1_cat1.png", "2_cat1.png"), ("cat",) * 2, ("cat",) * 2, "contrast", ("c30",) * 2)
        ],
        "'1.png' of 'contrast' shows 'dog' in the records of 'b' and 'cat' in others": [
            Records("a", ("1.png",), ("cat",), ("cat",), "contrast", ("c30",)),
            Records("b", ("1.png",), ("dog",), ("cat",), "contrast", ("c30",)),
        ],
        "only records of 'contrast' belong here": [answers("net", "sketch", {"0": [True]})],
    }
    for words, records in cases.items():
        with pytest.raises(InputError, match=words) as caught:
            align(records, CONTRAST)
        assert "\n" not in str(caught.value)


def test_confusion_matrix_counts_answers_by_category() -> None:
    categories = ("cat", "cat", "cat", "cat", "dog")
    records = Records("net", tuple("abcde"), categories, ("cat", "dog", None, "cat", "cat"), "sketch", ("0",) * 5)
    matrix = confusion_matrix(align([records], SKETCH), ["net"])
    assert matrix.shape == (17, 16)
    cat, dog = CATEGORIES.index("cat"), CATEGORIES.index("dog")
    assert matrix[[0, 1 + cat, 1 + dog], cat].tolist() == [0.25, 0.5, 0.25]
    assert matrix[1 + cat, dog] == 1
    assert np.isnan(matrix[:, 0]).all()
    other = Records("two", tuple("abcde"), categories, ("dog",) * 5, "sketch", ("0",) * 5)
    pooled = confusion_matrix(align([records, other], SKETCH), ["net", "two"], "0")
    assert pooled[1 + dog, cat] == 5 / 8
