"""Images to match: how files are read, and how images are resized between octaves."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sparseshape_jax.synthesis.targets import match_histogram, read_pixels, read_targets, resize_to, shrink

SIZE = 32


def blank(path: Path, width: int, height: int) -> Path:
    Image.new("RGB", (width, height), (200, 100, 50)).save(path)
    return path


def test_gray_transparent_deep_and_turned_images(tmp_path):
    rng = np.random.default_rng(0)
    gray = rng.integers(0, 256, (SIZE, 48), np.uint8)
    Image.fromarray(gray).save(tmp_path / "gray.png")
    deep = rng.integers(0, 65536, (SIZE, 48), np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    rgba = rng.integers(0, 256, (SIZE, 48, 4), np.uint8)
    Image.fromarray(rgba).save(tmp_path / "transparent.png")
    upright = np.repeat(np.repeat(rng.integers(0, 256, (4, 6, 3), np.uint8), 8, axis=0), 8, axis=1)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned a quarter clockwise
    Image.fromarray(upright).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    images = dict(read_targets(str(tmp_path), SIZE, outside=tmp_path / "out"))
    assert {image.shape for image in images.values()} == {(SIZE, 48, 3)}
    np.testing.assert_allclose(images["gray"], np.repeat(gray[..., None], 3, axis=2) / 255, atol=1e-6)
    np.testing.assert_allclose(images["deep"], np.repeat(deep[..., None], 3, axis=2) / 65535, atol=0.51 / 255)
    opacity = rgba[..., 3:] / 255
    np.testing.assert_allclose(images["transparent"], rgba[..., :3] / 255 * opacity + 1 - opacity, atol=1 / 255)
    np.testing.assert_allclose(images["turned"], upright / 255, atol=1e-6)


def test_proportions_stay(tmp_path):
    assert read_pixels(blank(tmp_path / "wide.png", 300, 200), 64).shape == (64, 96, 3)
    assert read_pixels(blank(tmp_path / "tall.png", 200, 300), 64).shape == (96, 64, 3)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_shrinking_keeps_means_and_range(factor):
    image = np.random.default_rng(0).random((32, 48, 3), np.float32)
    small = shrink(image, factor)
    assert small.shape == (32 // factor, 48 // factor, 3)
    assert small.dtype == np.float32
    assert 0 <= small.min() <= small.max() <= 1
    np.testing.assert_allclose(small.mean(axis=(0, 1)), image.mean(axis=(0, 1)), atol=0.02)


def test_resizing_follows_a_ramp():
    ramp = np.repeat(np.linspace(0, 1, 16, dtype=np.float32)[None, :, None], 8, axis=0).repeat(3, axis=2)
    large = resize_to(ramp, (16, 32))
    assert large.shape == (16, 32, 3)
    # Pixels' centers: the middle of the first one of 32 is half as far from the edge as that of the first one of 16.
    expected = np.interp((np.arange(32) + 0.5) / 2 - 0.5, np.arange(16), np.linspace(0, 1, 16))
    np.testing.assert_allclose(large[8, 4:-4, 0], expected[4:-4], atol=0.01)


def test_histograms_are_the_targets():
    rng = np.random.default_rng(0)
    image, target = rng.random((20, 30, 3), np.float32), 0.5 * rng.random((20, 30, 3), np.float32) ** 2
    matched = match_histogram(image, target)
    for channel in range(3):
        np.testing.assert_allclose(np.sort(matched[..., channel], None), np.sort(target[..., channel], None), atol=1e-6)
        np.testing.assert_array_equal(np.argsort(matched[..., channel], None), np.argsort(image[..., channel], None))
