"""From the settings of a sweep to one Top-K per network."""

from dataclasses import replace

import pytest

from sparseshape_jax.errors import InputError
from sparseshape_jax.evaluation.config import DEFAULT_FRACTIONS, ClassificationConfig, SweepConfig, merged, suffix_for
from sparseshape_jax.top_k.spec import TopK, TopKChanges


def test_fractions_share_the_other_settings():
    common = TopKChanges(keep="rest", after=("pool1",), blend=0.5)
    specs = ClassificationConfig(fractions=(0.5, 0.2), topk=common).sparsities()
    assert specs == [(TopK(fraction, keep="rest", after=("pool1",), blend=0.5),) for fraction in (0.5, 0.2)]


@pytest.mark.parametrize(
    "common",
    [TopKChanges(), TopKChanges(keep="rest"), TopKChanges(mean_replace=True), TopKChanges(blend=0.5, scope="channel")],
)
def test_one_is_the_dense_network_whatever_the_settings(common):
    (dense,), _ = ClassificationConfig(fractions=(1, 0.2), topk=common).sparsities()
    assert dense.is_identity
    assert (dense.fraction, dense.keep) == (1, "all")


def test_whole_settings_stand_for_themselves():
    spec = TopK(0.1, scope="channel", after=("relu3",))
    specs = ClassificationConfig(fractions=(0.2, spec), topk=TopKChanges(keep="rest")).sparsities()
    assert specs == [(TopK(0.2, keep="rest"),), (spec,)]


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ((), "fractions is empty"),
        ((0.2, 0.2), "names the same Top-K twice"),
        ((0.2, TopK(0.2)), "names the same Top-K twice"),
        ((1.0, TopK(1.0)), "names the same Top-K twice"),
        ((0,), r"the keep fraction is 0.0; it must be in \(0, 1\]"),
        ((-0.5,), "the keep fraction is -0.5"),
        ((1.5,), "the keep fraction is 1.5"),
        ((float("nan"),), "the keep fraction is nan"),
    ],
)
def test_bad_fractions(fractions, message):
    with pytest.raises(InputError, match=message):
        ClassificationConfig(fractions=fractions).sparsities()
    if "twice" not in message:
        with pytest.raises(InputError, match=message):
            ClassificationConfig(fractions=fractions)


TRAINED = (TopK(0.2, mean_replace=True, after=("layer2",)),)


def test_what_was_trained_comes_first_by_default():
    rows = ClassificationConfig().sparsities(TRAINED)
    fractions = [fraction for fraction in DEFAULT_FRACTIONS if fraction not in (0.2, 1.0)]
    assert rows[0] == TRAINED
    assert rows[1] == (TopK(1.0, keep="all", after=("layer2",)),)
    assert rows[2:] == [(replace(TRAINED[0], fraction=fraction),) for fraction in fractions]


def test_what_was_trained_fills_in_what_is_not_given():
    def rows(**settings: object) -> list[tuple[TopK, ...]]:
        return ClassificationConfig(**settings).sparsities(TRAINED)

    assert rows(fractions=(0.2,)) == [TRAINED]
    assert rows(fractions=(0.1, "trained")) == [(replace(TRAINED[0], fraction=0.1),), TRAINED]
    assert rows(fractions=(0.1,), topk=TopKChanges(keep="rest")) == [(TopK(0.1, keep="rest", after=("layer2",)),)]
    elsewhere = (TopK(0.1, mean_replace=True, after=("layer3",)),)
    assert rows(fractions=(0.1,), topk=TopKChanges(after=("layer3",))) == [elsewhere]
    assert len(rows(topk=TopKChanges(after=("layer3",)))) == 1 + len(DEFAULT_FRACTIONS)
    with pytest.raises(InputError, match="names the same Top-K twice"):
        rows(fractions=(0.2, "trained"))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"keep": "top"}, {"keep": "top"}),
        ({"scope": "spatial"}, {"scope": "spatial"}),
        ({"blend": 1.0}, {"blend": 1.0}),
        ({"method": "auto"}, {"method": "auto"}),
    ],
)
def test_what_is_given_counts_though_it_is_the_default(given, expected):
    trained = TopK(0.2, keep="rest", scope="channel", blend=0.5, method="threshold", after=("layer2",))
    config = ClassificationConfig(fractions=(0.1, 0.2), topk=TopKChanges(**given))
    expected = replace(trained, **expected)
    assert config.sparsities((trained,)) == [(replace(expected, fraction=0.1),), (expected,)]


def test_no_mean_though_it_was_trained_with_it():
    config = ClassificationConfig(fractions=(0.1,), topk=TopKChanges(mean_replace=False))
    assert config.sparsities(TRAINED) == [(TopK(0.1, after=("layer2",)),)]


def test_fractions_that_are_given_count_though_they_are_the_default():
    assert ClassificationConfig(fractions=DEFAULT_FRACTIONS).sparsities(TRAINED)[0][0].fraction == 1
    assert len(ClassificationConfig(fractions=DEFAULT_FRACTIONS).sparsities(TRAINED)) == len(DEFAULT_FRACTIONS)


@pytest.mark.parametrize("trained", [(), (TopK(1.0),), (TopK(0.2, keep="all"),)])
def test_trained_without_top_k(trained):
    assert ClassificationConfig().sparsities(trained) == ClassificationConfig().sparsities()
    with pytest.raises(InputError, match="fractions has trained, but the weights do not say"):
        ClassificationConfig(fractions=("trained", 1.0)).sparsities(trained)


def test_several_places():
    two, three, other = (TopK(fraction, after=(f"layer{n}",)) for fraction, n in ((0.2, 2), (0.2, 3), (0.1, 4)))
    both = TopK(0.2, after=("layer2", "layer3"))
    assert merged((two, three)) == (both,)
    assert merged((two, other, three)) == (both, other)
    assert merged((two, TopK(1.0, after=("layer1",)))) == (two,)
    assert merged((TopK(0.2),)) == (TopK(0.2),)
    first, _, half, *_ = ClassificationConfig().sparsities((two, three, other))
    assert first == (both, other)
    assert half == (TopK(0.5, after=("layer2", "layer3", "layer4")),)


SHALLOW, DEEP = TopK(0.2, scope="channel", after=("layer1", "layer2")), TopK(0.1, keep="rest", after=("layer4",))


def test_each_trained_place_keeps_its_own_settings():
    def rows(**settings: object) -> list[tuple[TopK, ...]]:
        return ClassificationConfig(**settings).sparsities((SHALLOW, DEEP))

    half = (replace(SHALLOW, fraction=0.5), replace(DEEP, fraction=0.5))
    assert rows(fractions=("trained", 0.5)) == [(SHALLOW, DEEP), half]
    assert rows(fractions=(0.5,), topk=TopKChanges(blend=0.9)) == [tuple(replace(spec, blend=0.9) for spec in half)]
    chosen = rows(fractions=(0.5,), topk=TopKChanges(after=("layer4", "layer1")))
    assert chosen == [(half[1], replace(half[0], after=("layer1",)))]
    assert all(spec.is_identity for spec in rows(fractions=(1.0,))[0])


def test_a_place_without_settings_of_its_own():
    def rows(trained: tuple[TopK, ...], **topk: object) -> list[tuple[TopK, ...]]:
        return ClassificationConfig(fractions=(0.5,), topk=TopKChanges(after=("layer3",), **topk)).sparsities(trained)

    with pytest.raises(InputError, match=r"several Top-K that differ, none of them after layer3; say .* --topk\.keep"):
        rows((SHALLOW, DEEP))
    everywhere = TopK(0.5, keep="rest", scope="volume", after=("layer3",))
    assert rows((SHALLOW, DEEP), keep="rest", scope="volume") == [(everywhere,)]
    # Fractions may differ: that is what is given.
    assert rows((SHALLOW, replace(SHALLOW, fraction=0.3, after=("layer4",)))) == [
        (TopK(0.5, scope="channel", after=("layer3",)),)
    ]


def test_a_sweep_asks_for_settings_place_by_place():
    config = SweepConfig(data="data")
    assert config.settings_at(("layer4", "layer2"), (SHALLOW, DEEP)) == (DEEP, replace(SHALLOW, after=("layer2",)))
    with pytest.raises(InputError, match="none of them after layer3"):
        config.settings_at(("layer2", "layer3"), (SHALLOW, DEEP))


def test_suffixes_tell_apart_what_shares_fraction_and_keep():
    specs = [TopK(0.2), TopK(0.1), TopK(0.2, after=("a",)), TopK(0.2, keep="rest"), TopK(0.2, after=("b",))]
    specs = [(spec, TopK(0.9)) for spec in specs]
    assert [suffix_for(specs, index) for index in range(5)] == ["", "", "_b", "", "_c"]
