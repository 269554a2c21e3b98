"""Regions and their overlap with edges, on maps small enough to count by hand."""

import numpy as np
import pytest

from sparseshape_jax.evaluation.overlap import overlap, regions


def test_regions_are_above_the_mean_of_their_sign():
    high, low = regions(np.array([[1.0, 2, 6], [-1, -5, 0]]))
    assert np.array_equal(high, [[False, False, True], [False, False, False]])
    assert np.array_equal(low, [[False, False, False], [False, True, False]])


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0])
def test_regions_may_be_empty(value):
    found = regions(np.full((3, 3), value))
    assert not found[0].any()
    assert not found[1].any()
    row = overlap(np.full((3, 3), value), np.eye(3, dtype=bool))
    assert row["positive"] == row["negative"] == 0
    assert row["positive_share"] is row["positive_lift"] is row["negative_of_edges"] or row["negative_of_edges"] == 0


def test_overlap_counts():
    relevance = np.array([[9.0, 9, 1, 0], [-9, -1, 0, 0], [0, 9, 0, 0], [0, 0, 0, 0]])
    edges = np.zeros((4, 4), bool)
    edges[0] = True
    row = overlap(relevance, edges)
    assert (row["edges"], row["edge_share"]) == (4, 0.25)
    assert (row["positive"], row["positive_on_edges"], row["negative"], row["negative_on_edges"]) == (3, 2, 1, 0)
    assert row["positive_share"] == pytest.approx(2 / 3)
    assert row["positive_of_edges"] == 0.5
    assert row["positive_lift"] == pytest.approx((2 / 3) / 0.25)
    assert row["negative_lift"] == 0
    assert row["positive_mass_on_edges"] == pytest.approx(19 / 28)
    area = np.zeros((4, 4), bool)
    area[:2, :2] = True
    inside = overlap(relevance, edges, area)
    assert (inside["edges"], inside["edge_share"]) == (2, 0.5)
    assert inside["positive_lift"] == 2
    assert inside["positive_in_box"] == pytest.approx(2 / 3)


def test_chance_gives_a_lift_of_1():
    rng = np.random.default_rng(0)
    lifts = [overlap(rng.normal(size=(64, 64)), rng.random((64, 64)) < 0.1)["positive_lift"] for _ in range(50)]
    assert abs(np.mean(lifts) - 1) < 0.05


def test_regions_equal_the_golden(reference_data):
    with np.load(reference_data / "goldens" / "lrp" / "squeezenet.npz") as file:
        for name in ("epsilon_plus_flat", "epsilon_alpha2_beta1_flat+head"):
            found = regions(file[f"full/relevance_channel_sum/{name}"])
            for region, sign in zip(found, ("positive", "negative"), strict=True):
                expected = np.unpackbits(file[f"full/{sign}/{name}"]).reshape(224, 224).astype(bool)
                assert (region != expected).sum() <= 5  # the map is stored in single precision
