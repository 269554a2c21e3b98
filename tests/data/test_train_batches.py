"""Training batches: a function of the seed and the step alone."""

import collections
import gc
import itertools
import threading
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from sparseshape_jax.data.config import AugmentConfig
from sparseshape_jax.data.decoding import center_crop, resize_short_side
from sparseshape_jax.data.images import LabeledImages
from sparseshape_jax.data.open import open_labeled
from sparseshape_jax.data.train_batches import TrainBatches
from sparseshape_jax.errors import InputError

PLAIN = AugmentConfig(crop="center", flip=False)


class Numbered(LabeledImages):
    """Images in memory: noise, with its own number in every corner pixel, and that number times ten as label."""

    name = "numbered"
    classes = ("one", "another")

    def __init__(self, number: int, bad: tuple[int, ...] = (), size: int = 8) -> None:
        self.pixels = np.random.default_rng(0).integers(0, 256, (number, size, size, 3), dtype=np.uint8)
        self.pixels[:, 0, 0] = np.arange(number)[:, None]
        self.bad = bad
        self.decoded: collections.deque[int] = collections.deque(maxlen=50)

    @property
    def labels(self) -> np.ndarray:
        return np.arange(len(self), dtype=np.int32) * 10

    def __len__(self) -> int:
        return len(self.pixels)

    def image(self, index: int) -> Image.Image:
        self.decoded.append(index)
        if index in self.bad:
            raise InputError(f"{self.describe(index)} is not an image")
        return Image.fromarray(self.pixels[index])

    def describe(self, index: int) -> str:
        return f"image {index}"


def make(data: LabeledImages, settings: AugmentConfig = PLAIN, **options) -> TrainBatches:
    defaults = {"image_size": 8, "batch_size": 4, "seed": 0, "threads": 0}
    return TrainBatches(data, settings, **(defaults | options))


def take(data: TrainBatches, steps: int, start: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    return list(itertools.islice(data.batches(start), steps))


def numbers(batches: list[tuple[np.ndarray, np.ndarray]]) -> list[int]:
    return np.concatenate([labels // 10 for _, labels in batches]).tolist()


def assert_same(one: list[tuple[np.ndarray, np.ndarray]], other: list[tuple[np.ndarray, np.ndarray]]) -> None:
    assert len(one) == len(other)
    for (images, labels), (other_images, other_labels) in zip(one, other, strict=True):
        np.testing.assert_array_equal(images, other_images)
        np.testing.assert_array_equal(labels, other_labels)


def test_shapes_types_and_that_labels_belong_to_images():
    data = Numbered(11)
    for images, labels in take(make(data), 6):
        assert images.shape == (4, 8, 8, 3)
        assert images.dtype == np.uint8
        assert labels.shape == (4,)
        assert labels.dtype == np.int32
        np.testing.assert_array_equal(images, data.pixels[labels // 10])


class TestOrder:
    def test_every_epoch_is_another_permutation(self):
        data = make(Numbered(24))
        assert data.steps_per_epoch == 6
        epochs = [tuple(numbers(take(data, 6, 6 * epoch))) for epoch in range(20)]
        assert all(sorted(epoch) == list(range(24)) for epoch in epochs)
        assert len(set(epochs)) == 20
        assert tuple(range(24)) not in epochs

    def test_what_does_not_fill_a_batch_is_left_out_but_never_the_same(self):
        data = make(Numbered(11))
        assert data.steps_per_epoch == 2
        epochs = [set(numbers(take(data, 2, 2 * epoch))) for epoch in range(40)]
        assert all(len(epoch) == 8 for epoch in epochs)
        assert set.union(*epochs) == set(range(11))
        assert not set.intersection(*epochs)

    def test_every_place_is_as_likely(self):
        """Where image 0 comes in an epoch, over many epochs: chi squared on 7 degrees of freedom."""
        data = make(Numbered(8), batch_size=8)
        places = [numbers([batch]).index(0) for batch in take(data, 120)]
        counts = np.bincount(places, minlength=8)
        assert ((counts - 15) ** 2 / 15).sum() < 24.3  # its 99.9th percentile

    def test_seeds_give_other_orders(self):
        epochs = {tuple(numbers(take(make(Numbered(24), seed=seed), 6))) for seed in range(10)}
        assert len(epochs) == 10

    def test_one_seeds_second_epoch_is_not_the_next_seeds_first(self):
        firsts = {tuple(numbers(take(make(Numbered(24), seed=seed), 6))) for seed in range(10)}
        seconds = {tuple(numbers(take(make(Numbered(24), seed=seed), 6, 6))) for seed in range(10)}
        assert not firsts & seconds


class TestSameEverywhere:
    @pytest.mark.parametrize("threads", [1, 2, 5])
    def test_for_any_number_of_threads(self, threads):
        alone = take(make(Numbered(19), AugmentConfig()), 12)
        assert_same(alone, take(make(Numbered(19), AugmentConfig(), threads=threads), 12))

    @pytest.mark.parametrize("processes", [2, 4])
    @pytest.mark.parametrize("start", [0, 3])
    def test_for_any_number_of_processes(self, processes, start):
        alone = take(make(Numbered(19), AugmentConfig(), batch_size=8), 7, start)
        parts = [
            take(make(Numbered(19), AugmentConfig(), batch_size=8, threads=1, process=(p, processes)), 7, start)
            for p in range(processes)
        ]
        together = [
            (np.concatenate([images for images, _ in step]), np.concatenate([labels for _, labels in step]))
            for step in zip(*parts, strict=True)
        ]
        assert parts[0][0][0].shape == (8 // processes, 8, 8, 3)
        assert_same(alone, together)

    @pytest.mark.parametrize("threads", [0, 2])
    def test_from_any_step_on(self, threads):
        alone = take(make(Numbered(19), AugmentConfig()), 15)
        for start in (1, 3, 4, 5, 11):
            resumed = make(Numbered(19), AugmentConfig(), threads=threads)
            assert_same(alone[start:], take(resumed, 15 - start, start))

    def test_again(self):
        data = make(Numbered(19), AugmentConfig(), threads=2)
        assert_same(take(data, 9), take(data, 9))

    def test_on_files(self, reference_data):
        images = open_labeled(str(reference_data / "data" / "cifar10"), "train")
        settings = {"image_size": 32, "batch_size": 64}
        alone = take(make(images, AugmentConfig(crop="padded"), threads=2, **settings), 3, 77)
        assert alone[0][0].shape == (64, 32, 32, 3)
        assert_same(alone, take(make(images, AugmentConfig(crop="padded"), **settings), 3, 77))


class TestAugmentation:
    def test_differs_between_epochs_and_images(self):
        data = Numbered(1, size=40)
        made = [images[0].tobytes() for images, _ in take(make(data, AugmentConfig(), batch_size=1), 50)]
        assert len(set(made)) == 50
        data.pixels = np.repeat(data.pixels, 50, axis=0)
        one_batch = take(make(data, AugmentConfig(), batch_size=50), 1)[0][0]
        assert len({image.tobytes() for image in one_batch}) == 50

    def test_none_is_as_evaluation_prepares(self):
        data = Numbered(5, size=30)
        images, labels = take(make(data, image_size=16, resize=20, batch_size=5), 1)[0]
        for image, number in zip(images, labels // 10, strict=True):
            np.testing.assert_array_equal(image, center_crop(resize_short_side(data.image(number), 20), 16))


class TestCost:
    def test_nothing_before_the_first_step_is_decoded(self):
        data = Numbered(20)
        take(make(data), 1, start=10**9)
        assert len(data.decoded) == 4

    @pytest.mark.slow
    def test_epochs_take_no_memory(self):
        """1500 batches of 60 epochs: keeping a number of each would show."""
        batches = make(Numbered(50), batch_size=2, threads=1).batches(1000 * 25)
        tracemalloc.start()
        try:
            in_use = []
            for _ in range(2):
                for _ in itertools.islice(batches, 60 * 25):
                    pass
                in_use.append(tracemalloc.get_traced_memory()[0])
            assert in_use[1] - in_use[0] < 1500 * 24 / 3
        finally:
            tracemalloc.stop()
            batches.close()

    def test_stopping_leaves_no_threads_behind(self):
        before = set(threading.enumerate())
        batches = make(Numbered(40), threads=3).batches()
        next(batches)
        started = set(threading.enumerate()) - before
        assert started
        del batches
        gc.collect()
        for thread in started:
            thread.join(timeout=60)
            assert not thread.is_alive()


class TestBadImages:
    @pytest.mark.parametrize("threads", [0, 2])
    def test_an_error_that_names_it(self, threads):
        with pytest.raises(InputError, match=r"^image 3 is not an image"):
            take(make(Numbered(8, bad=(3,)), threads=threads), 2)

    @pytest.mark.parametrize("threads", [0, 2])
    def test_the_next_one_takes_its_place(self, threads):
        whole = numbers(take(make(Numbered(12)), 6))
        data = make(Numbered(12, bad=(3, 4, 11)), threads=threads, skip_bad=True)
        made = take(data, 6)
        assert numbers(made) == [{3: 5, 4: 5, 11: 0}.get(number, number) for number in whole]
        for images, labels in made:
            np.testing.assert_array_equal(images, data.data.pixels[labels // 10])
        assert data.bad == {f"image {index}": f"image {index} is not an image" for index in (3, 4, 11)}

    def test_nothing_but_bad_ones(self):
        with pytest.raises(InputError, match="none of the 8 images of numbered can be decoded"):
            take(make(Numbered(8, bad=tuple(range(8))), skip_bad=True), 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 12}, "batch_size is 12; numbered has 11 images"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 6, "process": (0, 4)}, "batch_size is 6, which cannot be divided among 4 processes"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**32}, "seed is 4294967296"),
        ({"threads": -1}, "threads is -1"),
        ({"image_size": 0}, "image_size is 0"),
        ({"resize": 7}, "resize is 7, smaller than the image of 8 pixels"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(InputError, match=message):
        make(Numbered(11), **settings)
