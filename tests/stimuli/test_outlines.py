"""Silhouettes and line drawings, of objects drawn here and of the published stimuli."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from sparseshape_jax.errors import InputError
from sparseshape_jax.stimuli.outlines import edge, object_mask, silhouette


def on_white(*, height: int = 60, width: int = 80) -> np.ndarray:
    return np.ones((height, width, 3))


def ring_and_speck() -> np.ndarray:
    """A yellow ring, which is white in two channels, and a smaller black speck."""
    image = on_white()
    y, x = np.indices(image.shape[:2])
    distance = np.hypot(y - 30, x - 40)
    image[(distance < 20) & (distance >= 8)] = (1, 1, 0.3)
    image[4:8, 4:8] = 0
    return image


def test_a_silhouette_is_the_largest_part_with_its_holes_filled():
    y, x = np.indices((60, 80))
    expected = np.where(np.hypot(y - 30, x - 40) < 20, 0.0, 1.0)
    np.testing.assert_array_equal(silhouette(ring_and_speck()), expected)
    np.testing.assert_array_equal(object_mask(ring_and_speck()), expected == 0)


def test_nearly_white_is_white():
    image = on_white() - 0.04
    image[20:30, 20:30] = 0.9
    assert (silhouette(image) == 0).sum() == 100


def test_the_object_may_touch_the_border():
    image = on_white()
    image[30:, 30:50] = 0
    assert (silhouette(image) == 0).sum() == 30 * 20


def test_edges_of_a_plain_square_are_its_outline():
    image = on_white()
    image[20:40, 30:50] = (0.2, 0.1, 0.1)
    lines = edge(image) == 0
    assert set(np.unique(edge(image))) == {0, 1}
    _, count = ndimage.label(lines, np.ones((3, 3)))
    assert count == 1
    # A closed line of one pixel: it separates inside from outside, and an erosion leaves nothing of it.
    assert ndimage.binary_fill_holes(lines).sum() == pytest.approx(400, abs=60)
    assert not ndimage.binary_erosion(lines).any()
    assert 60 < lines.sum() < 90


def test_edges_inside_the_object_are_drawn_and_those_of_other_things_are_not():
    image = on_white()
    image[15:45, 20:60] = 0.6
    image[15:45, 40:60] = 0.1
    image[2:6, 2:6] = 0
    lines = edge(image) == 0
    assert lines[20:40, 38:42].sum() == pytest.approx(20, abs=2)
    assert not lines[:10, :10].any()


def test_lines_may_leave_the_image_with_the_object():
    image = on_white()
    image[30:, 30:50] = 0
    assert (edge(image) == 0)[50:55, 28:32].any()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2), (3, 3)])
def test_small_images_are_drawn_or_refused(size):
    image = np.ones((*size, 3))
    for function in (silhouette, edge):
        with pytest.raises(InputError, match="it is white everywhere"):
            function(image)
    if min(size) == 3:
        image[1, 1] = 0
        assert (silhouette(image) == 0).sum() == 1
        assert edge(image).shape == size


@pytest.mark.parametrize("function", [silhouette, edge])
def test_other_photographs_are_refused_by_name(function):
    with pytest.raises(InputError, match=r"^cats/1\.png does not show an object on white: 0 % of its border is white"):
        function(on_white() - 0.5, "cats/1.png")
    half = on_white()
    half[:30] = 0
    with pytest.raises(InputError, match="at least 80 % is needed") as refusal:
        function(half)
    assert "\n" not in str(refusal.value)
    with pytest.raises(InputError, match="convert it to RGB first"):
        function(half[..., 0])


def test_published_silhouettes_without_gaps_are_their_own_silhouettes(reference_data: Path):
    compared = 0
    for path in sorted((reference_data / "data" / "ood" / "silhouette").glob("*/*.png")):
        image = np.asarray(Image.open(path).convert("RGB")) / 255
        # Smoothed outlines are not white, so the outer half of their pixels counts as object.
        dark = image.min(axis=2) < 0.95
        _, count = ndimage.label(dark, np.ones((3, 3)))
        if count > 1 or (ndimage.binary_fill_holes(dark) != dark).any():
            continue
        try:
            result = silhouette(image)
        except InputError:
            continue  # cut at the border
        np.testing.assert_array_equal(result == 0, dark)
        compared += 1
    assert compared > 50


@pytest.fixture(scope="module")
def cat(reference_data: Path) -> dict[str, np.ndarray]:
    """The one original at hand of the published stimuli, and what its authors made of it."""
    folder = reference_data / "data" / "cue-conflict-example"
    original = np.asarray(Image.open(folder / "cat7_original.png").convert("RGB")) / 255
    black = {
        name: np.asarray(Image.open(folder / f"cat7_{name}.png").convert("L")) < 128
        for name in ("silhouette_filled", "edge")
    }
    return {"original": original, **black}


def test_the_silhouette_of_a_published_original(cat):
    ours, theirs = silhouette(cat["original"]) == 0, cat["silhouette_filled"]
    assert (ours & theirs).sum() / (ours | theirs).sum() > 0.99


def test_the_edges_of_a_published_original(cat):
    ours, theirs = edge(cat["original"]) == 0, cat["edge"]
    near_ours, near_theirs = (ndimage.binary_dilation(lines, np.ones((3, 3))) for lines in (ours, theirs))
    assert (ours & near_theirs).sum() / ours.sum() > 0.98
    assert (theirs & near_ours).sum() / theirs.sum() > 0.96
