"""Random crops and flips, against torchvision's."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from sparseshape_jax.data.augment import augment, random_box, random_crop, random_flip, random_resized_crop
from sparseshape_jax.data.config import AugmentConfig
from sparseshape_jax.data.decoding import center_crop, resize_short_side
from sparseshape_jax.errors import InputError

SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


class Fixed:
    """Stands for a generator, and draws what it is given."""

    def __init__(self, *draws: float) -> None:
        self.draws = list(draws)

    def integers(self, high: int) -> int:
        assert self.draws[0] < high
        return int(self.draws.pop(0))

    def random(self) -> float:
        return self.draws.pop(0)


class TestRandomBox:
    @pytest.mark.parametrize("size", [(60, 40), (32, 32), (30, 200)], ids=str)
    def test_distribution_is_torchvisions(self, torch, torchvision, size):
        """Centers, sizes, areas and shapes, by the largest distance between the cumulative distributions."""
        torch.manual_seed(0)
        rng = np.random.default_rng(0)
        image, draws = Image.new("RGB", size), 3000
        get_params = torchvision.transforms.RandomResizedCrop.get_params
        theirs = np.array([get_params(image, list(SCALE), list(RATIO)) for _ in range(draws)], float)
        top, left, height, width = theirs.T
        theirs = np.stack([left, top, left + width, top + height], axis=1)
        ours = np.array([random_box(*size, rng, SCALE, RATIO) for _ in range(draws)], float)
        for statistic in (
            lambda box: box[:, 0],
            lambda box: box[:, 1],
            lambda box: box[:, 2],
            lambda box: box[:, 3],
            lambda box: (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1]),
            lambda box: (box[:, 2] - box[:, 0]) / (box[:, 3] - box[:, 1]),
        ):
            a, b = np.sort(statistic(ours)), np.sort(statistic(theirs))
            grid = np.union1d(a, b)
            distance = np.abs(np.searchsorted(a, grid, "right") - np.searchsorted(b, grid, "right")).max() / draws
            assert distance < 1.95 * np.sqrt(2 / draws)  # Kolmogorov and Smirnov's bound at a level of 0.001

    @pytest.mark.parametrize("size", [(300, 10), (10, 300), (7, 100), (1, 1), (100, 1)], ids=str)
    def test_where_no_part_fits_the_central_one_is_torchvisions(self, torch, torchvision, size):
        """Parts as large as the whole never fit into an image of another shape."""
        scale, ratio = (1.0, 1.0), (3 / 4, 4 / 3)
        image = Image.new("RGB", size)
        top, left, height, width = torchvision.transforms.RandomResizedCrop.get_params(image, list(scale), list(ratio))
        expected = (left, top, left + width, top + height)
        assert random_box(*size, np.random.default_rng(0), scale, ratio) == expected

    def test_stays_in_the_image(self):
        rng = np.random.default_rng(0)
        for width, height in rng.integers(1, 20, (500, 2)):
            left, top, right, bottom = random_box(int(width), int(height), rng, SCALE, RATIO)
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height


@pytest.mark.parametrize(("size", "target"), [((60, 40), 24), ((40, 60), 64), ((32, 32), 32), ((500, 333), 224)])
def test_resized_crop_equals_torchvisions_for_the_same_box(torchvision, size, target):
    image = noise(*size)
    for seed in range(10):
        left, top, right, bottom = random_box(*size, np.random.default_rng(seed), SCALE, RATIO)
        expected = torchvision.transforms.functional.resized_crop(
            image, top, left, bottom - top, right - left, [target, target]
        )
        ours = random_resized_crop(image, target, np.random.default_rng(seed), SCALE, RATIO)
        np.testing.assert_array_equal(ours, expected)


class TestRandomCrop:
    @pytest.mark.parametrize(("size", "padding"), [(32, 4), (32, 0), (20, 4), (40, 4)])
    def test_every_place_equals_torchvisions(self, torchvision, size, padding):
        image = noise(32, 33)
        padded = torchvision.transforms.functional.pad(image, [padding])
        for left in range(0, 32 + 2 * padding - size + 1, 3):
            for top in range(0, 33 + 2 * padding - size + 1, 3):
                expected = torchvision.transforms.functional.crop(padded, top, left, size, size)
                np.testing.assert_array_equal(random_crop(image, size, padding, Fixed(left, top)), expected)

    def test_all_places_are_drawn_alike(self):
        image = Image.fromarray(np.arange(1, 26, dtype=np.uint8).reshape(5, 5)).convert("RGB")
        rng = np.random.default_rng(0)
        corners = [np.asarray(random_crop(image, 3, 0, rng))[0, 0, 0] for _ in range(900)]
        counts = np.unique(corners, return_counts=True)[1]
        assert len(counts) == 9
        assert counts.min() > 60
        assert counts.max() < 150

    def test_a_square_larger_than_the_padded_image(self):
        with pytest.raises(InputError, match="30×50 pixels and padding 4 has no square of 39×39"):
            random_crop(noise(30, 50), 39, 4, np.random.default_rng(0))


def test_flip_mirrors_half_of_the_images(torchvision):
    image, rng = noise(5, 4), np.random.default_rng(0)
    mirrored = np.asarray(torchvision.transforms.functional.hflip(image))
    np.testing.assert_array_equal(random_flip(image, Fixed(0.49)), mirrored)
    np.testing.assert_array_equal(random_flip(image, Fixed(0.5)), image)
    flips = sum(np.array_equal(random_flip(image, rng), mirrored) for _ in range(1000))
    assert 440 < flips < 560


class TestAugment:
    @pytest.mark.parametrize("crop", ["random_resized", "padded", "center"])
    @pytest.mark.parametrize("size", [(50, 30), (30, 50), (8, 9), (24, 24)], ids=str)
    def test_always_gives_the_size(self, crop, size):
        for seed in range(5):
            made = augment(AugmentConfig(crop=crop), noise(*size), 24, np.random.default_rng(seed))
            assert made.size == (24, 24)
            assert made.mode == "RGB"

    def test_same_draws_same_image(self):
        image = noise(50, 30)
        one, other, another = (
            np.asarray(augment(AugmentConfig(), image, 24, np.random.default_rng(seed))) for seed in (3, 3, 4)
        )
        np.testing.assert_array_equal(one, other)
        assert (one != another).any()

    def test_center_is_the_crop_of_evaluation(self):
        image = noise(50, 30)
        settings = AugmentConfig(crop="center", flip=False)
        made = augment(settings, image, 20, np.random.default_rng(0), resize=25)
        np.testing.assert_array_equal(made, center_crop(resize_short_side(image, 25), 20))

    def test_padded_resizes_first(self):
        image = noise(50, 30)
        settings = AugmentConfig(crop="padded", padding=0, flip=False)
        made = augment(settings, image, 20, np.random.default_rng(0), resize=20)
        expected = random_crop(resize_short_side(image, 20), 20, 0, np.random.default_rng(0))
        np.testing.assert_array_equal(made, expected)

    def test_padding_comes_before_a_random_resized_crop(self, torchvision):
        image = noise(30, 40)
        settings = AugmentConfig(padding=6, flip=False)
        made = augment(settings, image, 24, np.random.default_rng(5))
        padded = torchvision.transforms.functional.pad(image, [6])
        left, top, right, bottom = random_box(42, 52, np.random.default_rng(5), settings.scale, settings.ratio)
        expected = torchvision.transforms.functional.resized_crop(
            padded, top, left, bottom - top, right - left, [24, 24]
        )
        np.testing.assert_array_equal(made, expected)
        for padding in (None, 0):
            same = augment(AugmentConfig(padding=padding, flip=False), image, 24, np.random.default_rng(5))
            np.testing.assert_array_equal(same, random_resized_crop(image, 24, np.random.default_rng(5)))

    def test_a_padded_crop_has_cifars_padding_unless_told_otherwise(self):
        image = noise(24, 24)
        for padding in (None, 4):
            made = augment(AugmentConfig("padded", padding=padding, flip=False), image, 24, np.random.default_rng(0))
            np.testing.assert_array_equal(made, random_crop(image, 24, 4, np.random.default_rng(0)))

    def test_a_center_crop_has_no_padding(self):
        with pytest.raises(InputError, match="padding is 4, but crop is center"):
            AugmentConfig(crop="center", padding=4)

    def test_flip_is_a_switch(self):
        image = noise(24, 24)
        made = [
            np.asarray(augment(AugmentConfig(crop="center", flip=flip), image, 24, np.random.default_rng(seed)))
            for flip in (True, False)
            for seed in range(20)
        ]
        assert 0 < sum(np.array_equal(each, np.asarray(image)) for each in made[:20]) < 20
        assert all(np.array_equal(each, np.asarray(image)) for each in made[20:])

    @pytest.mark.parametrize(
        ("setting", "value"),
        [
            ("scale", (0.0, 1.0)),
            ("scale", (0.5, 0.4)),
            ("scale", (0.5, 1.1)),
            ("scale", (float("nan"), 1.0)),
            ("ratio", (0.0, 1.0)),
            ("ratio", (2.0, 1.0)),
            ("ratio", (1.0, float("inf"))),
            ("padding", -1),
        ],
    )
    def test_bad_settings(self, setting, value):
        with pytest.raises(InputError, match=f"{setting} is "):
            dataclasses.replace(AugmentConfig(), **{setting: value})
