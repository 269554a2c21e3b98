"""Masks of many frequencies at once: properties of candidates, and slow loops that choose among them."""

from itertools import pairwise

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparseshape_jax import frequency
from sparseshape_jax.errors import InputError
from sparseshape_jax.frequency import joint
from sparseshape_jax.frequency.filtered import Filtered
from sparseshape_jax.frequency.losses import show

SIZES = st.sampled_from([15, 16, 25, 30, 32, 48])


@st.composite
def searches(draw):
    """A size, the cells of one of its stages, how many candidates, and a seed."""
    size = draw(SIZES)
    return size, draw(st.sampled_from(joint.stages(size))), draw(st.integers(1, 9)), draw(st.integers(0, 99))


def test_stages():
    assert joint.stages(224) == (4, 8, 16, 28, 56, 112)
    assert joint.stages(32) == (4, 8, 16, 32)
    assert joint.stages(64) == (4, 8, 16, 32, 64)
    assert joint.stages(299) == (13, 23)
    for size in (2, 4, 9, 23, 227):
        with pytest.raises(InputError, match=f"images have {size} pixels, .* needs two divisors from 4 to 112"):
            joint.stages(size)


@given(st.integers(2, 400))
def test_cells_of_every_stage_divide_the_side(size):
    try:
        found = joint.stages(size)
    except InputError:
        return
    assert all(size % cells == 0 and 4 <= cells <= 112 for cells in found)
    assert all(b / a >= 1.75 for a, b in pairwise(found))


@settings(deadline=None)
@given(searches(), st.booleans())
def test_cells_are_blocks_and_their_negatives(case, shifted):
    size, cells, _, _ = case
    of = joint.cell_of(size, cells, shifted=shifted)
    side, center = size // cells, size // 2
    shift = side // 2 if shifted else 0
    blocks = {}
    for i in range(size):
        for j in range(size):
            other = ((2 * center - i) % size, (2 * center - j) % size)
            assert of[i, j] == of[other]
            upper = min((i, j), other)
            block = ((upper[0] + shift) // side, (upper[1] + shift) // side)
            assert blocks.setdefault(block, of[i, j]) == of[i, j]
    assert sorted(blocks.values()) == list(range(of.max() + 1))


@settings(deadline=None)
@given(searches())
def test_candidates_leave_real_images_and_depend_on_the_seed_only(case):
    size, cells, count, seed = case
    masks = joint.candidates(size, cells, count, np.random.default_rng([seed, 0]))
    rows, columns = frequency.partners(size)
    np.testing.assert_array_equal(masks, masks[:, rows, columns])
    image = np.random.default_rng(seed).normal(size=(size, size))
    filtered = np.fft.ifft2(np.fft.fft2(image) * np.fft.ifftshift(masks[0]))
    assert np.abs(filtered.imag).max() < 1e-12
    np.testing.assert_array_equal(masks, joint.candidates(size, cells, count, np.random.default_rng([seed, 0])))
    assert masks.shape == (count, size, size)
    assert masks.any(axis=(1, 2)).all()


@settings(deadline=None)
@given(searches())
def test_candidates_keep_whole_cells(case):
    size, cells, _, seed = case
    masks = joint.candidates(size, cells, 3, np.random.default_rng(seed))
    for mask, shifted in zip(masks, (False, True), strict=False):
        of = joint.cell_of(size, cells, shifted=shifted)
        kept = np.unique(of[mask])
        np.testing.assert_array_equal(mask, np.isin(of, kept))
        assert len(kept) == int(0.8 * (of.max() + 1) + 1e-9)


@pytest.mark.parametrize("size", [32, 48])
def test_shares_of_candidates(size):
    """Means over many draws: 80 %, twice, and what is left of two draws of 40 %."""
    for cells in joint.stages(size)[1:]:
        masks = joint.candidates(size, cells, 300, np.random.default_rng(0))
        for kind, share in enumerate((0.8, 0.8, 0.64)):
            assert masks[kind::3].mean() == pytest.approx(share, abs=0.02)
    before = None
    for number, cells in enumerate(joint.stages(size)):
        masks = joint.candidates(size, cells, 300, np.random.default_rng([0, number]), before)
        before = masks, np.arange(300).reshape(30, 10)
    assert masks.mean() == pytest.approx(joint.expected_share(number + 1), abs=0.03)


@settings(deadline=None)
@given(searches())
def test_candidates_have_a_parent_among_the_best(case):
    size, cells, count, seed = case
    rng = np.random.default_rng([seed, 1])
    before = joint.candidates(size, joint.stages(size)[0], 30, rng)
    chosen = joint.best(rng.random((2, 30)))
    masks = joint.candidates(size, cells, count, rng, (before, chosen))
    rows, columns = frequency.partners(size)
    np.testing.assert_array_equal(masks, masks[:, rows, columns])
    for mask in masks:
        assert any(not (mask & ~before[number]).any() for number in chosen.ravel())


def test_parents_are_of_any_class_and_rank():
    """With masks of single frequencies as parents, every candidate shows its own."""
    before = np.eye(64, dtype=bool).reshape(64, 8, 8)
    chosen = np.arange(30).reshape(3, 10) * 2
    masks = joint.candidates(8, 8, 600, np.random.default_rng(0), (before, chosen))
    parents = np.flatnonzero(masks.any(axis=0))
    assert set(parents) == set(chosen.ravel())


@given(st.integers(10, 40), st.integers(1, 4), st.integers(0, 99))
def test_the_ten_best_of_each_class(count, classes, seed):
    loss = np.random.default_rng(seed).integers(0, 6, (classes, count)).astype(float)  # many ties
    found = joint.best(loss)
    for own, numbers in zip(loss, found, strict=True):
        left, expected = list(range(count)), []
        for _ in range(10):
            lowest = left[0]
            for number in left:
                if own[number] < own[lowest]:
                    lowest = number
            expected.append(lowest)
            left.remove(lowest)
        assert numbers.tolist() == expected
    with pytest.raises(InputError, match="there are 9 candidates; it takes at least 10"):
        joint.best(loss[:, :9])


def test_a_stage_agrees_with_one_image_and_one_candidate_at_a_time():
    size, classes, each = 16, 3, 2
    rng = np.random.default_rng(0)
    images = rng.normal(size=(classes * each, size, size, 3)).astype(np.float32)
    labels = np.repeat(np.arange(classes), each)
    weights = rng.normal(size=(size * size * 3, classes)) / size

    def network(inputs):
        return inputs.reshape(len(inputs), -1) @ weights.astype(np.float32)

    masks = joint.candidates(size, 8, 12, rng)
    lists = [np.arange(12)] * len(images)
    filtered = Filtered(network, masks, batch_size=7)
    loss = np.stack(show(filtered, lambda start, stop: images[start:stop], labels, lists, result="loss"))
    by_class = loss.reshape(classes, each, 12).mean(axis=1, dtype=float)
    expected = np.zeros((classes, 12))
    for image, label in zip(images, labels, strict=True):
        for number, mask in enumerate(masks):
            shifted = np.fft.fftshift(np.fft.fft2(image.astype(float), axes=(0, 1)), axes=(0, 1))
            alone = np.fft.ifft2(np.fft.ifftshift(shifted * mask[..., None], axes=(0, 1)), axes=(0, 1)).real
            logits = alone.ravel() @ weights
            expected[label, number] += (np.log(np.exp(logits).sum()) - logits[label]) / each
    np.testing.assert_allclose(by_class, expected, atol=1e-5)
    np.testing.assert_array_equal(joint.best(by_class), joint.best(expected))


def test_overlap_of_candidates():
    masks = joint.candidates(16, 8, 6, np.random.default_rng(0))
    pairs = [frequency.intersection_over_union(masks[a], masks[b]) for a in range(6) for b in range(a)]
    assert joint.chance_iou(masks) == pytest.approx(np.mean(pairs))
    assert np.isnan(joint.chance_iou(np.zeros((2, 4, 4), bool)))


def test_a_planted_frequency_is_kept_and_those_of_other_classes_are_not():
    """The network sees the amplitude of one frequency per class, and every image has all of them."""
    size, each = 16, 2
    planted = [(0, 3), (2, -2), (5, 1), (-4, 6)]
    waves = []
    for row, column in planted:
        phase = 2 * np.pi * np.add.outer(row * np.arange(size), column * np.arange(size)) / size
        waves.append((np.cos(phase).astype(np.float32), np.sin(phase).astype(np.float32)))
    noise = np.random.default_rng(0).normal(size=(len(planted) * each, size, size, 3)).astype(np.float32)
    images = noise / 5 + sum(cosine for cosine, _ in waves)[..., None]
    labels = np.repeat(np.arange(len(planted)), each)

    def network(inputs):
        parts = [[jnp.einsum("nijc,ij->n", inputs, wave) for wave in pair] for pair in waves]
        return jnp.stack([jnp.hypot(*pair) for pair in parts], axis=1) / 100

    before = None
    for number, cells in enumerate(joint.stages(size)):
        masks = joint.candidates(size, cells, 120, np.random.default_rng([0, number]), before)
        lists = [np.arange(len(masks))] * len(images)
        filtered = Filtered(network, masks, batch_size=120)
        loss = np.stack(show(filtered, lambda start, stop: images[start:stop], labels, lists, result="loss"))
        before = masks, joint.best(loss.reshape(len(planted), each, -1).mean(axis=1))
    masks, chosen = before
    kept = [[masks[own[0]][size // 2 + row, size // 2 + column] for row, column in planted] for own in chosen]
    np.testing.assert_array_equal(kept, np.eye(len(planted), dtype=bool))
