"""Dominant masks, rates, controls, spectra of classes: analytic cases and properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparseshape_jax import frequency
from sparseshape_jax.errors import InputError


@settings(max_examples=40, deadline=None)
@given(st.integers(8, 24), st.data())
def test_the_most_harmful_groups_are_kept(size, data):
    groups = frequency.groups(size, data.draw(st.integers(1, size // 2)))
    share = data.draw(st.floats(0.001, 1))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    loss = rng.integers(0, 5, groups.count).astype(float)  # many ties
    mask = frequency.dominant(loss, groups, share) > 0
    wanted = max(1, int(np.floor(share * size**2 + 1e-9)))
    kept = np.unique(groups.of[mask])
    assert mask.sum() == groups.sizes[kept].sum() >= wanted
    # One by one, from the highest loss down, the lower number first.
    order = sorted(range(groups.count), key=lambda group: (-loss[group], group))
    expected, total = set(), 0
    for group in order:
        if total < wanted:
            expected.add(group)
            total += groups.sizes[group]
    assert set(kept.tolist()) == expected


def test_what_is_kept_is_at_least_one_group():
    groups = frequency.groups(8, 1)
    assert frequency.dominant(np.arange(groups.count), groups, 0.001).sum() == groups.sizes[-1]
    with pytest.raises(InputError, match="above 0 and at most 1"):
        frequency.dominant(np.arange(groups.count), groups, 0)
    with pytest.raises(InputError, match="there are 34 groups"):
        frequency.dominant(np.arange(3.0), groups, 0.1)


def test_what_was_not_evaluated_is_never_kept():
    groups = frequency.groups(8, 1)
    loss = np.arange(groups.count, dtype=float)
    loss[20:] = np.nan
    mask = frequency.dominant(loss, groups, 1.0)
    np.testing.assert_array_equal(mask, groups.of < 20)


def test_estimate_of_what_a_screen_misses():
    """Over many draws of the audit, the mean estimate is the true number within its own error."""
    groups = frequency.groups(32, 1)
    rng = np.random.default_rng(0)
    true = rng.normal(size=groups.count)
    left_out = rng.permutation(groups.count)[: groups.count // 2]
    true[left_out] -= 0.5
    for share in (0.05, 0.2):
        whole = np.unique(groups.of[frequency.dominant(true, groups, share) > 0])
        misses = len(np.intersect1d(whole, left_out))
        estimates = []
        for _ in range(300):
            audit = rng.choice(left_out, 100, replace=False)
            loss = true.copy()
            loss[np.setdiff1d(left_out, audit)] = np.nan
            audited = np.isin(np.arange(groups.count), audit)
            known = len(np.intersect1d(whole, audit))
            estimates.append(frequency.expected_misses(loss, audited, groups, share) - (misses - known))
        error = np.std(estimates) / np.sqrt(len(estimates))
        assert misses >= 5
        assert abs(np.mean(estimates)) < 4 * error
    assert frequency.expected_misses(true, np.zeros(groups.count, bool), groups, 0.1) == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(8, 24), st.integers(1, 4), st.floats(0.01, 0.6), st.integers(0, 99))
def test_controls_have_as_much_in_every_ring(size, patch, share, seed):
    groups = frequency.groups(size, min(patch, size // 2))
    rng = np.random.default_rng(seed)
    mask = frequency.dominant(rng.random(groups.count), groups, share)
    controls = frequency.control_masks(mask, groups, 3, np.random.default_rng(seed))
    rho = frequency.radius(size)
    means = np.round(np.bincount(groups.of.ravel(), weights=rho.ravel()) / groups.sizes, 9)
    rings = (means // groups.patch).astype(int)
    for control in controls:
        kept = np.unique(groups.of[control > 0])
        assert control.sum() == groups.sizes[kept].sum()  # whole groups
        own = np.unique(groups.of[mask > 0])
        np.testing.assert_array_equal(np.bincount(rings[kept]), np.bincount(rings[own]))
    np.testing.assert_array_equal(controls, frequency.control_masks(mask, groups, 3, np.random.default_rng(seed)))


def test_controls_of_single_frequencies():
    rng = np.random.default_rng(0)
    mask = (rng.random((16, 16)) < 0.2).astype(np.uint8)
    (control,) = frequency.control_masks(mask, None, 1, rng)
    rings = frequency.radius(16).astype(int)
    np.testing.assert_array_equal(np.bincount(rings[control > 0]), np.bincount(rings[mask > 0]))
    assert (control != mask).any()
    with pytest.raises(InputError, match="parts of groups"):
        frequency.control_masks(mask, frequency.groups(16, 2), 1, rng)


def test_rates():
    labels = np.array([0, 0, 0, 1, 1, 2])
    found = frequency.rates(np.array([0, 0, 2, 0, 1, 3]), labels, 3)
    np.testing.assert_array_equal(found.confusion, [[2, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 1]])
    np.testing.assert_allclose(found.tpr, [2 / 3, 1 / 2, 0])
    np.testing.assert_allclose(found.fpr, [1 / 3, 0, 1 / 5])
    alone = frequency.rates(np.array([0, 0]), np.array([0, 0]))
    assert alone.tpr.tolist() == [1]
    assert np.isnan(alone.fpr).all()
    assert np.isnan(frequency.rates(np.array([0]), np.array([0]), 2).tpr[1])


def test_adcs_of_stripes():
    """A class with vertical stripes has more than all others at their frequency, and so it counts."""
    size, period = 16, 4
    stripes = np.cos(2 * np.pi * np.arange(size) * period / size)
    images = np.zeros((3, size, size, 3), np.float32)
    images[0] += stripes[None, :, None]
    images[1] += stripes[:, None, None]
    maps = frequency.adcs(np.asarray(frequency.amplitude(images)))
    assert maps[0, 8, 8 + period] == maps[0, 8, 8 - period] == 2
    assert maps[1, 8 + period, 8] == 2
    assert maps[2, 8 + period, 8] == -1
    assert np.abs(maps).max() == 2
    np.testing.assert_array_equal(maps.sum(axis=0), 0)


def test_overlap():
    one, other = np.eye(4), np.tri(4)
    assert frequency.intersection_over_union(one, other) == 4 / 10
    assert np.isnan(frequency.intersection_over_union(0 * one, 0 * one))
