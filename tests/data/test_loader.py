"""The loader: order, constant batches, bad files."""

import gc
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sparseshape_jax.data.images import prepare
from sparseshape_jax.data.labelled import Labelled, open_labelled
from sparseshape_jax.data.loader import Loader
from sparseshape_jax.data.preprocessing import Preprocessing
from sparseshape_jax.errors import InputError

SMALL = Preprocessing(resize=10, crop=8)


@pytest.fixture
def paths(tmp_path) -> list[Path]:
    """Eleven pictures of different sizes, each of one grey level: ten times its index."""
    made = []
    for index in range(11):
        made.append(tmp_path / f"{index}.png")
        Image.new("RGB", (12 + 5 * index, 90 - 7 * index), (10 * index,) * 3).save(made[-1])
    return made


def spoil(path: Path) -> None:
    path.write_text("not a picture")


def test_order_padding_and_constant_batches(paths):
    batches = list(Loader(paths, SMALL, batch_size=4))
    assert [batch.indices.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
    for batch in batches:
        assert batch.images.shape == (4, 8, 8, 3)
        assert batch.images.dtype == np.uint8
        for image, index in zip(batch.images, batch.indices, strict=False):
            assert (image == 10 * index).all()
    assert (batches[-1].images[3:] == 0).all()


@pytest.mark.parametrize("batch_size", [1, 11, 50])
def test_other_batch_sizes(paths, batch_size):
    batches = list(Loader(paths, SMALL, batch_size))
    assert {len(batch.images) for batch in batches} == {batch_size}
    np.testing.assert_array_equal(np.concatenate([batch.indices for batch in batches]), np.arange(11))


def test_images_are_as_prepared(paths):
    for batch in Loader(paths, SMALL, batch_size=3):
        for image, index in zip(batch.images, batch.indices, strict=False):
            np.testing.assert_array_equal(image, prepare(paths[index], SMALL))


def test_every_pass_is_the_same(paths):
    spoil(paths[5])
    loader = Loader(paths, SMALL, batch_size=4, skip_bad=True)
    first, second = list(loader), list(loader)
    assert len(first) == len(second) == 3
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.indices, other.indices)
    assert list(loader.bad) == [5]


def test_bad_files_are_left_out_and_recorded_on_request(paths):
    spoil(paths[2])
    paths[10].unlink()
    loader = Loader(paths, SMALL, batch_size=4, skip_bad=True)
    batches = list(loader)
    assert [batch.indices.tolist() for batch in batches] == [[0, 1, 3, 4], [5, 6, 7, 8], [9]]
    assert all(len(batch.images) == 4 for batch in batches)
    assert list(loader.bad) == [2, 10]
    assert str(paths[2]) in loader.bad[2]
    assert "there is no image" in loader.bad[10]


def test_nothing_but_bad_files(paths):
    for path in paths:
        spoil(path)
    loader = Loader(paths, SMALL, batch_size=4, skip_bad=True)
    assert list(loader) == []
    assert len(loader.bad) == 11


def test_otherwise_a_bad_file_is_an_error_that_names_it(paths):
    spoil(paths[6])
    with pytest.raises(InputError) as caught:
        list(Loader(paths, SMALL, batch_size=3))
    assert re.fullmatch(rf"{re.escape(str(paths[6]))} is not an image.*", str(caught.value))


class TestLabelled:
    """Labelled pictures in place of files."""

    @pytest.fixture
    def labelled(self, paths) -> Labelled:
        """The same pictures in two class folders, so that they are read in another order."""
        folder = paths[0].parent
        for index, path in enumerate(paths):
            (folder / "val" / f"class{index % 2}").mkdir(parents=True, exist_ok=True)
            path.rename(folder / "val" / f"class{index % 2}" / path.name)
        return open_labelled(str(folder), "val")

    def test_as_their_files(self, labelled):
        files = [Path(labelled.describe(index)) for index in range(len(labelled))]
        expected, batches = list(Loader(files, SMALL, 4)), list(Loader(labelled, SMALL, 4))
        assert [batch.indices.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
        for batch, other in zip(batches, expected, strict=True):
            np.testing.assert_array_equal(batch.images, other.images)
            np.testing.assert_array_equal(batch.indices, other.indices)

    def test_bad_ones(self, labelled):
        spoil(Path(labelled.describe(7)))
        with pytest.raises(InputError, match=re.escape(labelled.describe(7))):
            list(Loader(labelled, SMALL, batch_size=4))
        loader = Loader(labelled, SMALL, batch_size=4, skip_bad=True)
        assert [batch.indices.tolist() for batch in loader] == [[0, 1, 2, 3], [4, 5, 6, 8], [9, 10]]
        assert list(loader.bad) == [7]


class TestParts:
    """One part per process."""

    @pytest.mark.parametrize(("processes", "batch_size"), [(2, 4), (2, 5), (3, 1), (4, 4), (20, 2)])
    def test_together_they_are_the_whole(self, paths, processes, batch_size):
        parts = [list(Loader(paths, SMALL, batch_size, part=(p, processes))) for p in range(processes)]
        assert len({len(part) for part in parts}) == 1  # processes take their steps together
        for process, part in enumerate(parts):
            assert np.concatenate([batch.indices for batch in part]).tolist() == list(range(process, 11, processes))
            for batch in part:
                assert batch.images.shape == (batch_size, 8, 8, 3)
                assert batch.images.dtype == np.uint8
                for image, index in zip(batch.images, batch.indices, strict=False):
                    assert (image == 10 * index).all()

    def test_bad_files_keep_the_parts_in_step(self, paths):
        for path in paths[::2]:
            spoil(path)
        loaders = [Loader(paths, SMALL, 2, skip_bad=True, part=(p, 2)) for p in range(2)]
        parts = [list(loader) for loader in loaders]
        assert [[batch.indices.tolist() for batch in part] for part in parts] == [
            [[], [], []],
            [[1, 3], [5, 7], [9]],
        ]
        assert [list(loader.bad) for loader in loaders] == [[0, 2, 4, 6, 8, 10], []]


def test_no_files(paths):
    assert list(Loader([], SMALL, batch_size=4)) == []


@pytest.mark.parametrize("batch_size", [0, -1])
def test_batch_size_must_be_positive(paths, batch_size):
    with pytest.raises(InputError, match=f"batch_size is {batch_size}"):
        Loader(paths, SMALL, batch_size)


def test_stopping_early_leaves_no_threads_behind(paths):
    before = set(threading.enumerate())
    batches = iter(Loader(paths * 50, SMALL, batch_size=2))
    next(batches)
    started = set(threading.enumerate()) - before
    assert started
    del batches
    gc.collect()
    for thread in started:
        thread.join(timeout=60)
        assert not thread.is_alive()
