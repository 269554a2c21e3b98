"""Scores by class, next to counting them one image at a time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparseshape_jax.evaluation.metrics import Tally


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=4, max_size=4)),
        min_size=1,
        max_size=30,
    ),
    st.integers(0, 30),
)
def test_f1_is_counted_as_by_hand(images, cut):
    """With ties, which the lower index wins, and in two batches."""
    labels = np.array([label for label, _ in images])
    logits = np.array([values for _, values in images])
    tally = Tally("abcd")
    for part in (slice(cut), slice(cut, None)):
        tally.add(logits[part].reshape(-1, 4), labels[part])
    chosen = [values.index(max(values)) for _, values in images]
    expected = {}
    for label, name in enumerate("abcd"):
        pairs = list(zip(labels.tolist(), chosen, strict=True))
        true = sum(pair == (label, label) for pair in pairs)
        false = sum(pair[1] == label != pair[0] for pair in pairs)
        missed = sum(pair[0] == label != pair[1] for pair in pairs)
        if true + missed:
            precision = true / (true + false) if true + false else 0
            recall = true / (true + missed)
            expected[name] = 2 * precision * recall / (precision + recall) if true else 0
    assert tally.f1() == pytest.approx(expected)
    assert tally.f1().keys() == tally.row()["per_class"].keys()
