"""Statistics against SciPy called directly, and where there is nothing to test."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sparseshape_jax.evaluation.paired_tests import correlation, holm, paired_tests


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    first = rng.normal(size=25)
    return first, first + rng.exponential(0.5, 25) - 0.2


def test_equals_scipy(pair):
    first, second = pair
    found = paired_tests(first, second)
    assert found["wilcoxon_p"] == stats.wilcoxon(first, second).pvalue
    assert found["wilcoxon_w"] == stats.wilcoxon(first, second).statistic
    assert found["wilcoxon_p_greater"] == stats.wilcoxon(first, second, alternative="greater").pvalue
    assert found["wilcoxon_p_less"] == stats.wilcoxon(first, second, alternative="less").pvalue
    assert (found["shapiro_w"], found["shapiro_p"]) == tuple(stats.shapiro(first - second))
    assert (found["t"], found["t_p"]) == tuple(stats.ttest_rel(first, second))
    assert found["median_difference"] == np.median(first - second)
    plus = stats.wilcoxon(first, second, alternative="greater").statistic
    assert found["rank_biserial"] == pytest.approx(2 * plus / (25 * 26 / 2) - 1)
    assert found["n"] == 25
    assert found["note"] == ""


def test_correlation_equals_scipy(pair):
    found, expected = correlation(*pair), stats.pearsonr(*pair)
    assert (found["r"], found["p"]) == (expected.statistic, expected.pvalue)
    assert (found["r_low"], found["r_high"]) == tuple(expected.confidence_interval(0.95))


def test_an_observer_against_itself(pair):
    found = paired_tests(pair[0], pair[0])
    assert found["wilcoxon_p"] == found["wilcoxon_p_greater"] == found["wilcoxon_p_less"] == found["t_p"] == 1
    assert found["median_difference"] == found["rank_biserial"] == 0
    assert found["note"] == "no difference"


def test_says_what_cannot_be_tested():
    assert paired_tests(np.ones(2), np.zeros(2))["note"] == "fewer than 3 images"
    equal = paired_tests(np.arange(6.0) + 1, np.arange(6.0))
    assert equal["note"] == "all differences are equal"
    assert equal["wilcoxon_p"] == stats.wilcoxon(np.ones(6)).pvalue
    assert equal["shapiro_p"] is None
    assert equal["rank_biserial"] == 1
    assert paired_tests(np.array([1, np.nan, 2]), np.zeros(3))["note"] == "values that are not numbers"
    assert correlation(np.ones(5), np.arange(5.0))["note"] == "all values are equal"
    assert correlation(np.ones(2), np.arange(2.0))["note"] == "fewer than 3 images"
    assert correlation(np.array([1, 2, np.inf]), np.arange(3.0))["r"] is None
    assert correlation(np.arange(3.0), np.array([1.0, 0, 2]))["r_low"] is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_rejects_what_holm_rejects(values):
    corrected = holm([{"p": value} for value in values], "p")
    for level in (0.01, 0.05, 0.3):
        rejected = set()
        for rank, index in enumerate(np.argsort(values, kind="stable")):
            if values[index] * (len(values) - rank) > level:
                break
            rejected.add(index)
        assert {index for index, value in enumerate(corrected) if value <= level} == rejected


def test_holm_leaves_out_what_is_not_known():
    assert holm([{"p": 0.01}, {"p": None}, {"p": 0.04}], "p") == [0.02, None, 0.04]
