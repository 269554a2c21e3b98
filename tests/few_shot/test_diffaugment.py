"""Every part of DiffAugment and its gradient, against values of the authors' code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparseshape_jax.errors import InputError
from sparseshape_jax.few_shot import diffaugment
from sparseshape_jax.few_shot.diffaugment import AugmentDraws, augment
from sparseshape_jax.few_shot.options import check_policy

PARTS = {
    "brightness": lambda x, draws: diffaugment.brightness(x, draws.uniform[:, 0]),
    "saturation": lambda x, draws: diffaugment.saturation(x, draws.uniform[:, 1]),
    "contrast": lambda x, draws: diffaugment.contrast(x, draws.uniform[:, 2]),
}
POLICIES = ("translation", "cutout", "color", "color,translation", "color,translation,cutout")


@pytest.fixture(scope="module")
def golden(reference_data):
    with np.load(reference_data / "goldens/few-shot/losses_and_augmentation.npz") as file:
        return dict(file)


@pytest.mark.parametrize("name", [*PARTS, *POLICIES])
@pytest.mark.parametrize("shape", ["even", "odd", "tall"])
def test_values_and_gradients_equal_the_reference(golden, shape, name):
    case = {key.removeprefix(f"diffaug.{shape}."): array for key, array in golden.items()}
    with jax.enable_x64(True):
        draws = AugmentDraws(
            jnp.asarray(case["uniform"].T.astype(np.float64)),
            jnp.stack([case["shift_rows"], case["shift_columns"]], axis=1),
            jnp.stack([case["cut_rows"], case["cut_columns"]], axis=1),
        )
        function = PARTS.get(name, lambda x, draws: augment(x, draws, tuple(name.split(","))))
        found, pull_back = jax.vjp(lambda x: function(x, draws), case["x"].astype(np.float64))
        (gradient,) = pull_back(case["cotangent"].astype(np.float64))
    np.testing.assert_allclose(found, case[name], rtol=0, atol=1e-6)
    np.testing.assert_allclose(gradient, case[f"{name}.grad"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [64, 128, 256, 512, 1024])
def test_ranges_are_the_references(golden, size):
    ranges = [diffaugment.largest_shift(size), diffaugment.cut_side(size), diffaugment.cut_offsets(size)]
    assert ranges == golden[f"diffaug.range.{size}"].tolist()


def test_draws_fill_their_ranges():
    draws = diffaugment.draws(jax.random.uniform(jax.random.key(0), (4096, diffaugment.DRAWN)), 16)
    assert 0 <= draws.uniform.min() < 0.01
    assert 0.99 < draws.uniform.max() < 1
    assert (draws.shifts.min(), draws.shifts.max()) == (-2, 2)
    assert (draws.cuts.min(), draws.cuts.max()) == (0, diffaugment.cut_offsets(16) - 1)


@pytest.mark.parametrize("size", [16, 17, 64, 1024])
def test_draws_end_within_their_ranges(size):
    last = np.full((1, diffaugment.DRAWN), np.nextafter(np.float32(1), np.float32(0)))
    draws, shift = diffaugment.draws(jnp.asarray(last), size), diffaugment.largest_shift(size)
    np.testing.assert_array_equal(draws.shifts, [[shift, shift]])
    np.testing.assert_array_equal(draws.cuts, np.full((1, 2), diffaugment.cut_offsets(size) - 1))


@settings(deadline=None, max_examples=20)  # the first compiles
@given(st.integers(0, 2**32 - 1))
def test_a_translation_moves_pixels(seed):
    rng = np.random.default_rng(seed)
    x, shifts = rng.normal(size=(2, 16, 16, 3)).astype(np.float32), rng.integers(-2, 3, (2, 2))
    expected = np.zeros_like(x)
    for n, i, j in np.ndindex(2, 16, 16):
        row, column = i + shifts[n, 0], j + shifts[n, 1]
        if 0 <= row < 16 and 0 <= column < 16:
            expected[n, i, j] = x[n, row, column]
    np.testing.assert_array_equal(diffaugment.translation(jnp.asarray(x), jnp.asarray(shifts)), expected)


def test_no_policy_leaves_images_as_they_are():
    x = jnp.ones((2, 8, 8, 3))
    assert augment(x, diffaugment.draws(jnp.zeros((2, diffaugment.DRAWN)), 8), ()) is x


@pytest.mark.parametrize("policy", [("blur",), ("color", "color")])
def test_other_policies_are_refused(policy):
    with pytest.raises(InputError, match="it can be any of color, translation, cutout, each once"):
        check_policy(policy)
