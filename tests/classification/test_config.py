"""From the settings of a sweep to one Top-K per network."""

import pytest

from sparseshape_jax.classification.config import Classification, label
from sparseshape_jax.errors import InputError
from sparseshape_jax.placement import TopK


def test_fractions_share_the_other_settings():
    common = TopK(keep="rest", after=("pool1",), blend=0.5)
    specs = Classification(fractions=(0.5, 0.2), topk=common).sparsities()
    assert specs == [TopK(fraction, keep="rest", after=("pool1",), blend=0.5) for fraction in (0.5, 0.2)]


@pytest.mark.parametrize(
    "common", [TopK(), TopK(keep="rest"), TopK(mean_replace=True), TopK(blend=0.5, scope="channel")]
)
def test_one_is_the_dense_network_whatever_the_settings(common):
    dense, _ = Classification(fractions=(1, 0.2), topk=common).sparsities()
    assert dense.is_identity
    assert (dense.fraction, dense.keep) == (1, "all")


def test_whole_settings_stand_for_themselves():
    spec = TopK(0.1, scope="channel", after=("relu3",))
    specs = Classification(fractions=(0.2, spec), topk=TopK(keep="rest")).sparsities()
    assert specs == [TopK(0.2, keep="rest"), spec]


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ((), "fractions is empty"),
        ((0.2, 0.2), "names the same Top-K twice"),
        ((0.2, TopK(0.2)), "names the same Top-K twice"),
        ((1.0, TopK(1.0)), "names the same Top-K twice"),
        ((0,), r"the keep fraction is 0.0; it must lie in \(0, 1\]"),
        ((-0.5,), "the keep fraction is -0.5"),
        ((1.5,), "the keep fraction is 1.5"),
        ((float("nan"),), "the keep fraction is nan"),
    ],
)
def test_bad_fractions(fractions, message):
    with pytest.raises(InputError, match=message):
        Classification(fractions=fractions).sparsities()


def test_labels_tell_apart_what_shares_fraction_and_keep():
    specs = [TopK(0.2), TopK(0.1), TopK(0.2, after=("a",)), TopK(0.2, keep="rest"), TopK(0.2, after=("b",))]
    assert [label(specs, index) for index in range(5)] == ["", "", "_b", "", "_c"]
