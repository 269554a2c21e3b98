"""From the settings of a sweep to one Top-K per network."""

from dataclasses import replace

import pytest

from sparseshape_jax.classification.config import Classification, label, merged
from sparseshape_jax.errors import InputError
from sparseshape_jax.placement import TopK


def test_fractions_share_the_other_settings():
    common = TopK(keep="rest", after=("pool1",), blend=0.5)
    specs = Classification(fractions=(0.5, 0.2), topk=common).sparsities()
    assert specs == [(TopK(fraction, keep="rest", after=("pool1",), blend=0.5),) for fraction in (0.5, 0.2)]


@pytest.mark.parametrize(
    "common", [TopK(), TopK(keep="rest"), TopK(mean_replace=True), TopK(blend=0.5, scope="channel")]
)
def test_one_is_the_dense_network_whatever_the_settings(common):
    (dense,), _ = Classification(fractions=(1, 0.2), topk=common).sparsities()
    assert dense.is_identity
    assert (dense.fraction, dense.keep) == (1, "all")


def test_whole_settings_stand_for_themselves():
    spec = TopK(0.1, scope="channel", after=("relu3",))
    specs = Classification(fractions=(0.2, spec), topk=TopK(keep="rest")).sparsities()
    assert specs == [(TopK(0.2, keep="rest"),), (spec,)]


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


TRAINED = (TopK(0.2, mean_replace=True, after=("layer2",)),)


def test_what_was_trained_comes_first_by_default():
    rows = Classification().sparsities(TRAINED)
    fractions = [fraction for fraction in Classification.fractions if fraction not in (0.2, 1.0)]
    assert rows[0] == TRAINED
    assert rows[1] == (TopK(1.0, keep="all", after=("layer2",)),)
    assert rows[2:] == [(replace(TRAINED[0], fraction=fraction),) for fraction in fractions]


def test_what_was_trained_fills_in_what_is_not_given():
    def rows(**settings: object) -> list[tuple[TopK, ...]]:
        return Classification(**settings).sparsities(TRAINED)

    assert rows(fractions=(0.2,)) == [TRAINED]
    assert rows(fractions=(0.1, "trained")) == [(replace(TRAINED[0], fraction=0.1),), TRAINED]
    assert rows(fractions=(0.1,), topk=TopK(keep="rest")) == [(TopK(0.1, keep="rest", after=("layer2",)),)]
    assert rows(fractions=(0.1,), topk=TopK(after=("layer3",))) == [(TopK(0.1, after=("layer3",)),)]
    assert len(rows(topk=TopK(after=("layer3",)))) == 1 + len(Classification.fractions)
    with pytest.raises(InputError, match="names the same Top-K twice"):
        rows(fractions=(0.2, "trained"))


@pytest.mark.parametrize("trained", [(), (TopK(1.0),), (TopK(0.2, keep="all"),)])
def test_trained_without_top_k(trained):
    assert Classification().sparsities(trained) == Classification().sparsities()
    with pytest.raises(InputError, match="fractions has trained, but the weights do not say"):
        Classification(fractions=("trained", 1.0)).sparsities(trained)


def test_several_places():
    two, three, other = (TopK(fraction, after=(f"layer{n}",)) for fraction, n in ((0.2, 2), (0.2, 3), (0.1, 4)))
    both = TopK(0.2, after=("layer2", "layer3"))
    assert merged((two, three)) == (both,)
    assert merged((two, other, three)) == (both, other)
    assert merged((two, TopK(1.0, after=("layer1",)))) == (two,)
    assert merged((TopK(0.2),)) == (TopK(0.2),)
    first, _, half, *_ = Classification().sparsities((two, three, other))
    assert first == (both, other)
    assert half == (TopK(0.5, after=("layer2", "layer3", "layer4")),)


def test_labels_tell_apart_what_shares_fraction_and_keep():
    specs = [TopK(0.2), TopK(0.1), TopK(0.2, after=("a",)), TopK(0.2, keep="rest"), TopK(0.2, after=("b",))]
    specs = [(spec, TopK(0.9)) for spec in specs]
    assert [label(specs, index) for index in range(5)] == ["", "", "_b", "", "_c"]
