"""Where pictures come from, and the crops that are made of them."""

import numpy as np
import pytest

from sparseshape_jax.adain.config import CropsConfig
from sparseshape_jax.adain.crops import Crops, vary_colors
from sparseshape_jax.adain.images import PHOTOGRAPHS, SIDE, Joined, Photographs, open_source
from sparseshape_jax.errors import InputError
from sparseshape_jax.stylize.procedural import numbered
from sparseshape_jax.stylize.style_images import ProceduralStyles

SETTINGS = CropsConfig(size=16, threads=0)


def test_the_photographs_are_there():
    images = Photographs()
    assert len(images) == len(PHOTOGRAPHS) == 13
    for index in range(len(images)):
        assert min(images.image(index).size) >= 300, images.describe(index)


def test_textures_are_counted_and_computed_once():
    images = open_source("procedural:11")
    assert isinstance(images, ProceduralStyles)
    assert len(images) == 11
    assert len({images.key(index) for index in range(11)}) == 11
    assert images.image(3) is images.image(3)
    assert images.signature() != open_source("procedural").signature()
    for number in ("0", "-1", "x", ""):
        if number:
            with pytest.raises(InputError, match="textures; give a number from 1"):
                open_source(f"procedural:{number}")


def test_sources_get_equal_shares():
    few, many = ProceduralStyles(numbered(2), SIDE), Photographs()
    joined = Joined([few, many])
    keys = [joined.key(index) for index in range(len(joined))]
    assert len(keys) == 26
    assert sum(key.startswith("procedural") for key in keys) == 13
    assert {key for key in keys if key.startswith("scikit-image")} == {f"scikit-image/{name}" for name in PHOTOGRAPHS}
    assert len(Joined([few], 5)) == 5
    assert joined.example(0)[1] == 0
    assert joined.signature() != Joined([many, few]).signature()


def test_crops_depend_on_the_seed_and_the_step_alone(pictures):
    sources = (str(pictures / "photos"),)
    crops = Crops(sources, SETTINGS, 7, 2, seed=3)
    drawn = crops.draw("")
    assert drawn.shape == (7, 16, 16, 3)
    np.testing.assert_array_equal(drawn, Crops(sources, SETTINGS, 7, 2, seed=3).draw(""))
    assert (drawn != Crops(sources, SETTINGS, 7, 2, seed=4).draw("")).any()
    np.testing.assert_array_equal(crops.chosen(5), crops.chosen(5))
    assert any((crops.chosen(step) != crops.chosen(0)).any() for step in range(1, 5))
    stream = crops.new(0)
    batches = [next(stream) for _ in range(4)]
    np.testing.assert_array_equal(next(crops.new(3)), batches[3])


def test_processes_get_the_parts_of_one_batch(pictures):
    sources = (str(pictures / "photos"),)
    whole = Crops(sources, SETTINGS, 9, 4, seed=0)
    parts = [Crops(sources, SETTINGS, 9, 4, seed=0, process=(number, 2)) for number in range(2)]
    np.testing.assert_array_equal(np.concatenate([part.chosen(6) for part in parts]), whole.chosen(6))


def test_colors_vary_around_the_gray_axis():
    rng = np.random.default_rng(0)
    pixels = rng.integers(60, 120, (50, 4, 4, 3)).astype(np.uint8)
    np.testing.assert_array_equal(vary_colors(pixels, 0, rng), pixels)
    gray = np.repeat(pixels[..., :1], 3, axis=-1)
    varied = vary_colors(gray, 1.0, rng) / gray
    # Of a gray picture only the tint is left: a factor for each channel, the same at every pixel.
    assert 0.65 < varied.min() < 0.8
    assert 1.3 < varied.max() < 1.52
    assert np.ptp(varied, axis=(1, 2)).max() < 0.03
    red = np.zeros((50, 2, 2, 3), np.uint8) + np.uint8([180, 60, 60])
    strongest = vary_colors(red, 1.0, rng)[:, 0, 0].argmax(axis=-1)
    assert set(strongest) == {0, 1, 2}
