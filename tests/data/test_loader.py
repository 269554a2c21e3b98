"""The loader: order, constant batches, bad files, parts, transforms."""

import gc
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sparseshape_jax.data.decoding import prepare, read_image
from sparseshape_jax.data.folders import Folder
from sparseshape_jax.data.images import LabeledImages, generator
from sparseshape_jax.data.loader import Batch, Loader
from sparseshape_jax.data.open import open_labeled
from sparseshape_jax.errors import InputError
from sparseshape_jax.preprocessing import Preprocessing

SMALL = Preprocessing(resize=10, crop=8)


@pytest.fixture
def paths(tmp_path) -> list[Path]:
    """Eleven images of different sizes, each of one gray level: ten times its index."""
    made = []
    for index in range(11):
        made.append(tmp_path / f"{index}.png")
        Image.new("RGB", (12 + 5 * index, 90 - 7 * index), (10 * index,) * 3).save(made[-1])
    return made


def files(paths: list[Path]) -> Folder:
    return Folder(paths[0].parent, paths)


def positions(batches: list[Batch]) -> list[int]:
    return [int(index) for batch in batches for index in batch.indices]


def spoil(path: Path) -> None:
    path.write_text("not an image")


def test_order_padding_and_constant_batches(paths):
    batches = list(Loader(files(paths), SMALL, batch_size=4))
    assert [batch.indices.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
    for batch in batches:
        assert batch.images.shape == (4, 8, 8, 3)
        assert batch.images.dtype == np.uint8
        for image, index in zip(batch.images, batch.indices, strict=False):
            assert (image == 10 * index).all()
    assert (batches[-1].images[3:] == 0).all()


@pytest.mark.parametrize("batch_size", [1, 11, 50])
def test_other_batch_sizes(paths, batch_size):
    batches = list(Loader(files(paths), SMALL, batch_size))
    assert {len(batch.images) for batch in batches} == {batch_size}
    np.testing.assert_array_equal(np.concatenate([batch.indices for batch in batches]), np.arange(11))


def test_images_are_as_prepared(paths):
    for batch in Loader(files(paths), SMALL, batch_size=3):
        for image, index in zip(batch.images, batch.indices, strict=False):
            np.testing.assert_array_equal(image, prepare(read_image(paths[index]), SMALL))


def test_every_pass_is_the_same(paths):
    spoil(paths[5])
    loader = Loader(files(paths), SMALL, batch_size=4, skip_bad=True)
    first, second = list(loader), list(loader)
    assert len(first) == len(second) == 3
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.indices, other.indices)
    assert list(loader.bad) == [5]


def test_bad_files_are_left_out_and_recorded_on_request(paths):
    spoil(paths[2])
    paths[10].unlink()
    loader = Loader(files(paths), SMALL, batch_size=4, skip_bad=True)
    batches = list(loader)
    assert [batch.indices.tolist() for batch in batches] == [[0, 1, 3, 4], [5, 6, 7, 8], [9]]
    assert all(len(batch.images) == 4 for batch in batches)
    assert list(loader.bad) == [2, 10]
    assert str(paths[2]) in loader.bad[2]
    assert "there is no image" in loader.bad[10]


def test_nothing_but_bad_files(paths):
    for path in paths:
        spoil(path)
    loader = Loader(files(paths), SMALL, batch_size=4, skip_bad=True)
    assert list(loader) == []
    assert len(loader.bad) == 11


def test_otherwise_a_bad_file_is_an_error_that_names_it(paths):
    spoil(paths[6])
    with pytest.raises(InputError) as caught:
        list(Loader(files(paths), SMALL, batch_size=3))
    assert re.fullmatch(rf"{re.escape(str(paths[6]))} is not an image.*", str(caught.value))


class TestLabeled:
    """Images in class folders."""

    @pytest.fixture
    def labeled(self, paths) -> LabeledImages:
        """The same images in two class folders, so that they are read in another order."""
        folder = paths[0].parent
        for index, path in enumerate(paths):
            (folder / "val" / f"class{index % 2}").mkdir(parents=True, exist_ok=True)
            path.rename(folder / "val" / f"class{index % 2}" / path.name)
        return open_labeled(str(folder), "val")

    def test_as_their_files(self, labeled):
        paths = [Path(labeled.describe(index)) for index in range(len(labeled))]
        expected, batches = list(Loader(Folder(paths[0].parents[1], paths), SMALL, 4)), list(Loader(labeled, SMALL, 4))
        assert [batch.indices.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
        for batch, other in zip(batches, expected, strict=True):
            np.testing.assert_array_equal(batch.images, other.images)
            np.testing.assert_array_equal(batch.indices, other.indices)

    def test_bad_ones(self, labeled):
        spoil(Path(labeled.describe(7)))
        with pytest.raises(InputError, match=re.escape(labeled.describe(7))):
            list(Loader(labeled, SMALL, batch_size=4))
        loader = Loader(labeled, SMALL, batch_size=4, skip_bad=True)
        assert [batch.indices.tolist() for batch in loader] == [[0, 1, 2, 3], [4, 5, 6, 8], [9, 10]]
        assert list(loader.bad) == [7]


class TestParts:
    """One part per process."""

    @pytest.mark.parametrize(("processes", "batch_size"), [(2, 4), (2, 5), (3, 1), (4, 4), (20, 2)])
    def test_together_they_are_the_whole(self, paths, processes, batch_size):
        parts = [list(Loader(files(paths), SMALL, batch_size, part=(p, processes))) for p in range(processes)]
        for process, part in enumerate(parts):
            assert positions(part) == list(range(process, 11, processes))
            for batch in part:
                assert batch.images.shape == (batch_size, 8, 8, 3)
                assert batch.images.dtype == np.uint8
                for image, index in zip(batch.images, batch.indices, strict=False):
                    assert (image == 10 * index).all()

    def test_bad_files_belong_to_their_part(self, paths):
        for path in paths[::2]:
            spoil(path)
        loaders = [Loader(files(paths), SMALL, 2, skip_bad=True, part=(p, 2)) for p in range(2)]
        parts = [list(loader) for loader in loaders]
        assert [[batch.indices.tolist() for batch in part] for part in parts] == [
            [],
            [[1, 3], [5, 7], [9]],
        ]
        assert [list(loader.bad) for loader in loaders] == [[0, 2, 4, 6, 8, 10], []]


def test_no_files(tmp_path):
    assert list(Loader(Folder(tmp_path, []), SMALL, batch_size=4)) == []


@pytest.mark.parametrize("batch_size", [0, -1])
def test_batch_size_must_be_positive(paths, batch_size):
    with pytest.raises(InputError, match=f"batch_size is {batch_size}"):
        Loader(files(paths), SMALL, batch_size)


def test_stopping_early_leaves_no_threads_behind(paths):
    before = set(threading.enumerate())
    batches = iter(Loader(files(paths * 50), SMALL, batch_size=2))
    next(batches)
    started = set(threading.enumerate()) - before
    assert started
    del batches
    gc.collect()
    for thread in started:
        thread.join(timeout=60)
        assert not thread.is_alive()


@pytest.mark.parametrize("threads", [0, 1, 3, None])
def test_threads_change_nothing(paths, threads):
    spoil(paths[3])
    loader = Loader(files(paths), SMALL, batch_size=4, skip_bad=True, threads=threads)
    batches = list(loader)
    assert [batch.indices.tolist() for batch in batches] == [[0, 1, 2, 4], [5, 6, 7, 8], [9, 10]]
    for batch in batches:
        for image, index in zip(batch.images, batch.indices, strict=False):
            assert (image == 10 * index).all()
    assert list(loader.bad) == [3]


def test_without_threads_the_caller_decodes(paths):
    before = set(threading.enumerate())
    next(iter(Loader(files(paths), SMALL, batch_size=2, threads=0)))
    assert set(threading.enumerate()) <= before  # those of other tests may have ended


@pytest.mark.parametrize("start", [0, 1, 4, 11, 12])
@pytest.mark.parametrize("part", [(0, 1), (1, 3)])
def test_start_leaves_out_the_first_of_a_part(paths, start, part):
    everything = list(range(11))[part[0] :: part[1]]
    assert positions(list(Loader(files(paths), SMALL, 4, part=part, start=start))) == everything[start:]


def noisy(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return image + rng.integers(0, 100, image.shape, dtype=np.uint8)


def made(images: Folder, batch_size: int = 4, **settings) -> dict[str, np.ndarray]:
    """Every image by its name."""
    return {
        images.key(index): image
        for batch in Loader(images, SMALL, batch_size, transform=noisy, **settings)
        for image, index in zip(batch.images, batch.indices, strict=False)
    }


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, image in one.items():
        np.testing.assert_array_equal(image, other[name])


class TestTransform:
    """Something done to every image between decoding and the network."""

    def test_is_applied_to_the_prepared_image(self, paths):
        images = files(paths)
        for index, image in enumerate(made(images, seed=5).values()):
            expected = noisy(prepare(images.image(index), SMALL), generator(images, index, 5))
            np.testing.assert_array_equal(image, expected)

    @pytest.mark.parametrize(
        "settings",
        [{"batch_size": 1}, {"batch_size": 50}, {"threads": 0}, {"threads": 1}, {"threads": 7}],
        ids=str,
    )
    def test_is_the_same_however_images_are_loaded(self, paths, settings):
        assert_same(made(files(paths)), made(files(paths), **settings))

    def test_is_the_same_in_every_order_and_company(self, paths):
        whole = made(files(paths))
        assert_same(whole, made(files(paths[::-1])))
        assert_same({name: whole[name] for name in ("3.png", "7.png")}, made(files([paths[7], paths[3]])))
        parts = [made(files(paths), part=(part, 3)) for part in range(3)]
        assert_same(whole, parts[0] | parts[1] | parts[2])
        assert_same({name: whole[name] for name in ("9.png", "10.png")}, made(files(paths), start=9))

    def test_is_the_same_wherever_the_folder_is(self, paths):
        before = made(files(paths))
        folder = paths[0].parent / "elsewhere"
        folder.mkdir()
        assert_same(before, made(files([path.rename(folder / path.name) for path in paths])))

    def test_differs_between_names_and_seeds(self, paths):
        for path in paths[1:]:
            path.write_bytes(paths[0].read_bytes())
        one, other = made(files(paths), seed=1), made(files(paths), seed=2)
        assert len({image.tobytes() for image in (*one.values(), *other.values())}) == 22

    def test_leaves_padding_alone(self, paths):
        *_, last = Loader(files(paths), SMALL, 4, transform=lambda image, rng: image + np.uint8(1))
        assert (last.images[3:] == 0).all()
