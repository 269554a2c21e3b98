"""Specifications of Top-K: what they refuse, how changes apply to them, and the paper's spelling."""

import jax.numpy as jnp
import numpy as np
import pytest

from sparseshape_jax import InputError, TopK, keep_top_k
from sparseshape_jax.top_k.spec import TopKChanges, read_spelling

TRAINED = TopK(0.1, keep="rest", scope="channel", blend=0.5, method="top_k", after=("pool1",))
X = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 5, 2)), jnp.float32)


def test_spec_round_trips_and_applies() -> None:
    spec = TopK(0.1, keep="rest", after=("pool1", "pool2"))
    assert TopK(**spec.to_config()) == spec
    np.testing.assert_array_equal(spec(X), keep_top_k(X, 0.1, keep="rest"))
    assert TopK(1.0).is_identity
    assert TopK(0.1, keep="all").is_identity
    assert not TopK(1.0, keep="rest").is_identity


def test_a_fraction_or_k_takes_the_place_of_the_specs_own() -> None:
    spec = TopK(0.1, keep="rest", scope="volume", blend=0.5)
    options = {"keep": "rest", "scope": "volume", "blend": 0.5}
    np.testing.assert_array_equal(spec(X, fraction=jnp.float32(0.5)), keep_top_k(X, 0.5, **options))
    np.testing.assert_array_equal(spec(X, k=7), keep_top_k(X, k=7, **options))
    np.testing.assert_array_equal(spec(X, k=jnp.int32(7)), keep_top_k(X, k=7, **options))


def test_an_activation_is_named_once() -> None:
    with pytest.raises(InputError, match="after names a twice"):
        TopK(after=("a", "a"))
    with pytest.raises(InputError, match="after names a, b twice"):
        TopK(after=["b", "a", "c", "a", "b"])
    assert TopK(after=["a", "b"]).after == ("a", "b")


class TestChanges:
    def test_none_leave_a_spec_as_it_is(self) -> None:
        assert TopKChanges().apply(TRAINED) == TRAINED

    def test_what_is_given_counts_even_if_it_is_the_default(self) -> None:
        """Weights that were trained with another setting are otherwise measured with that one."""
        defaults = TopK()
        changes = TopKChanges(keep="top", scope="spatial", blend=1.0, mean_replace=False, method="auto")
        assert changes.apply(TRAINED) == TopK(0.1, after=("pool1",))
        assert TopKChanges(keep="top").apply(TRAINED).keep == defaults.keep
        assert TopKChanges(mean_replace=False).apply(TopK(mean_replace=True)) == defaults

    def test_each_changes_one_setting(self) -> None:
        for name, value in {
            "keep": "all",
            "scope": "volume",
            "blend": 0.25,
            "method": "threshold",
            "after": ("pool2", "pool3"),
        }.items():
            changed, before = TopKChanges(**{name: value}).apply(TRAINED).to_config(), TRAINED.to_config()
            assert {key for key in before if changed[key] != before[key]} == {name}
        assert TopKChanges(after=["pool2"]).after == ("pool2",)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"keep": "most"}, "top, rest, all"),
            ({"scope": "image"}, "spatial, channel, volume"),
            ({"method": "sort"}, "top_k, threshold, auto"),
            ({"blend": 2}, "blend is 2"),
            ({"keep": "rest", "mean_replace": True}, "mean_replace"),
            ({"after": ("a", "a")}, "after names a twice"),
        ],
        ids=str,
    )
    def test_what_a_top_k_cannot_have_is_refused_at_once(self, changes: dict, message: str) -> None:
        with pytest.raises(InputError, match=message):
            TopKChanges(**changes)

    def test_together_they_must_make_sense(self) -> None:
        with pytest.raises(InputError, match="mean_replace"):
            TopKChanges(mean_replace=True).apply(TRAINED)


def test_reads_the_papers_spelling() -> None:
    assert read_spelling("2_20") == {2: 0.2}
    assert read_spelling("16-32_10-5") == {16: 0.1, 32: 0.05}
    assert read_spelling("1-2_20") == {1: 0.2, 2: 0.2}
    assert read_spelling("4_2.5") == {4: 0.025}
    assert read_spelling("3_100") == {3: 1.0}


@pytest.mark.parametrize(
    ("spelling", "message"),
    [
        *((text, "is not a Top-K placement") for text in ("", "2", "2_", "_20", "a_20", "2_20 ", "2_-5", "1--2_5")),
        ("1-2-3_5-10", "names 3 places but 2 percentages"),
        ("1_5-10", "names 1 places but 2 percentages"),
        ("2-2_20", "names a place twice"),
        ("2_0", "the keep fraction is 0.0"),
        ("2_101", "the keep fraction is 1.01"),
    ],
)
def test_refuses_other_spellings(spelling: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_spelling(spelling)
