"""Samples of classes."""

import numpy as np
from PIL import Image

from sparseshape_jax.data.folders import ClassFolder
from sparseshape_jax.data.sample import sample_classes


def test_larger_samples_include_smaller_ones(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for number in range(9):
            Image.new("RGB", (4, 4), (number, 0, 0)).save(tmp_path / label / f"{number}.png")
    (tmp_path / "dog" / "8.png").unlink()
    images = ClassFolder(tmp_path)
    assert sample_classes(images, None, 0) is images
    keys = {}
    for count in (1, 3, 9):
        found = sample_classes(images, count, 5)
        keys[count] = [found.key(index) for index in range(len(found))]
        assert keys[count] == sorted(keys[count])
        labels = np.bincount(found.labels)
        assert labels.tolist() == [count, min(count, 8)]
        for index in range(len(found)):
            assert found.key(index).startswith(found.classes[found.labels[index]])
            assert found.describe(index).endswith(found.key(index))
            assert found.image(index).size == (4, 4)
    assert set(keys[1]) < set(keys[3]) < set(keys[9])
    other = sample_classes(images, 3, 6)
    assert [other.key(index) for index in range(len(other))] != keys[3]
    assert other.signature() != sample_classes(images, 3, 5).signature()


def test_a_sample_may_have_a_size(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for number in range(6):
            Image.new("RGB", (4, 4), (number, 0, 0)).save(tmp_path / label / f"{number}.png")
    images = ClassFolder(tmp_path)
    keys = {}
    for count in (1, 5, 12, 99):
        found = sample_classes(images, None, 3, count=count)
        keys[count] = [found.key(index) for index in range(len(found))]
        assert len(found) == min(count, 12)
        assert keys[count] == sorted(keys[count])
    assert set(keys[1]) < set(keys[5]) < set(keys[12]) == set(keys[99])
    both = sample_classes(images, 2, 3, count=3)
    few = sample_classes(images, 2, 3)
    assert len(both) == 3
    assert {both.key(index) for index in range(3)} < {few.key(index) for index in range(4)}
