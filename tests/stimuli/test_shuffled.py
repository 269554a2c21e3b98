"""The set `shuffled`: which pixels may change, and how."""

from collections import Counter

import numpy as np
import pytest
from support.images import noise

from sparseshape_jax.errors import InputError
from sparseshape_jax.stimuli.shuffled import Shuffled, shuffle_channels


class TestShuffle:
    @pytest.mark.parametrize("side", [1, 3, 4, 50])
    def test_every_block_has_one_permutation_of_the_channels(self, side):
        image = noise(10, 13)
        shuffled = shuffle_channels(image, side, np.random.default_rng(1))
        assert shuffled.dtype == np.uint8
        assert shuffled.shape == image.shape
        for top in range(0, 10, side):
            for left in range(0, 13, side):
                block = np.s_[top : top + side, left : left + side]
                orders = [
                    order
                    for order in ([0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0])
                    if np.array_equal(shuffled[block], image[block][..., order])
                ]
                assert orders

    def test_all_six_permutations_are_drawn_alike(self):
        image = np.broadcast_to(np.array([1, 2, 3], np.uint8), (60, 60, 3))
        shuffled = shuffle_channels(image, 1, np.random.default_rng(0))
        counts = Counter(map(tuple, shuffled.reshape(-1, 3).tolist()))
        assert len(counts) == 6
        assert all(500 < count < 700 for count in counts.values())

    def test_neighboring_blocks_are_independent(self):
        """Six permutations on two blocks: 36 pairs, all drawn alike."""
        image = np.broadcast_to(np.array([1, 2, 3], np.uint8), (200, 72, 3))
        shuffled = shuffle_channels(image, 1, np.random.default_rng(0)).reshape(-1, 2, 3)
        counts = Counter(tuple(pair.ravel().tolist()) for pair in shuffled)
        assert len(counts) == 36
        assert all(130 < count < 270 for count in counts.values())

    def test_gray_stays(self):
        image = np.repeat(noise(9, 9)[..., :1], 3, axis=-1)
        np.testing.assert_array_equal(shuffle_channels(image, 4, np.random.default_rng(0)), image)


class TestConditions:
    @pytest.mark.parametrize("side", [1, 4, 50])
    def test_is_the_side_of_the_blocks(self, side):
        made = Shuffled().make(noise(10, 13), str(side), np.random.default_rng(1))
        np.testing.assert_array_equal(made, shuffle_channels(noise(10, 13), side, np.random.default_rng(1)))

    @pytest.mark.parametrize("condition", ["0", "-1", "4.5", "", "four", "../4", "٤"])
    def test_nothing_else(self, condition):
        with pytest.raises(InputError, match="the set shuffled has no condition"):
            Shuffled().check(condition)
