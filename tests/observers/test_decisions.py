from pathlib import Path

import numpy as np
import pytest

from sparseshape_jax.errors import InputError
from sparseshape_jax.observers.categories import CATEGORIES, CATEGORY_INDICES
from sparseshape_jax.observers.decisions import category_probabilities, decide


def slow_probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax and means written out, in extended precision."""
    rows = []
    for row in logits.astype(np.longdouble):
        weights = np.exp(row - max(row))
        rows.append([sum(weights[i] for i in indices) / len(indices) for indices in CATEGORY_INDICES.values()])
        rows[-1] /= sum(weights)
    return np.array(rows, dtype=np.float64)


@pytest.mark.parametrize("scale", [0.1, 3.0, 30.0])
def test_probabilities_equal_the_slow_ones(scale: float) -> None:
    logits = np.random.default_rng(0).normal(scale=scale, size=(5, 1000)).astype(np.float32)
    expected = slow_probabilities(logits)
    np.testing.assert_allclose(category_probabilities(logits), expected, rtol=1e-12)
    np.testing.assert_array_equal(decide(logits), expected.argmax(axis=1))


def test_probabilities_equal_the_slow_ones_for_a_real_network(reference_data: Path) -> None:
    with np.load(reference_data / "goldens" / "squeezenet_reference.npz") as golden:
        arrays = [golden[key] for key in golden.files if golden[key].ndim == 2 and golden[key].shape[1] == 1000]
    assert arrays
    for logits in arrays:
        np.testing.assert_allclose(category_probabilities(logits), slow_probabilities(logits), rtol=1e-12)


def test_every_class_of_a_category_decides_for_it() -> None:
    for number, indices in enumerate(CATEGORY_INDICES.values()):
        logits = np.zeros((len(indices), 1000))
        logits[np.arange(len(indices)), list(indices)] = 20
        assert (decide(logits) == number).all()


def test_a_category_counts_with_its_mean_and_not_its_sum() -> None:
    # Uniform over all dogs against a knife alone with twice one dog's probability: the sum would say dog.
    logits = np.full((1, 1000), -50.0)
    logits[0, list(CATEGORY_INDICES["dog"])] = 0
    logits[0, CATEGORY_INDICES["knife"][0]] = np.log(2)
    assert CATEGORIES[decide(logits)[0]] == "knife"


def test_huge_logits_and_offsets_change_nothing() -> None:
    logits = np.random.default_rng(1).integers(-40, 40, size=(4, 1000)).astype(np.float64)
    np.testing.assert_array_equal(category_probabilities(logits), category_probabilities(logits + 2.0**40))
    assert np.isfinite(category_probabilities(logits * 1e6)).all()


def test_rows_do_not_depend_on_the_batch() -> None:
    logits = np.random.default_rng(2).normal(size=(33, 1000)).astype(np.float32)
    alone = np.concatenate([category_probabilities(logits[i : i + 1]) for i in range(len(logits))])
    np.testing.assert_array_equal(category_probabilities(logits), alone)


def test_ties_go_to_the_first_category_and_no_images_give_no_decisions() -> None:
    logits = np.zeros((1, 1000))
    logits[0, [CATEGORY_INDICES[category][0] for category in ("oven", "knife")]] = 20  # one class each
    assert CATEGORIES[decide(logits)[0]] == "knife"
    assert decide(np.zeros((0, 1000))).shape == (0,)


@pytest.mark.parametrize("shape", [(1000,), (2, 10), (2, 1001), (2, 3, 1000), ()])
def test_wrong_shapes_are_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="shape") as caught:
        decide(np.zeros(shape))
    assert str(shape) in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    logits = np.zeros((3, 1000))
    logits[1, 7] = value
    with pytest.raises(InputError, match="row 1"):
        decide(logits)
