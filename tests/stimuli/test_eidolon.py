"""Eidolons: equal to those of the authors' toolbox, and what must hold for any image."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sparseshape_jax.errors import InputError
from sparseshape_jax.stimuli.eidolon import coherent_fields, displacement, eidolon, embed, noise_plane, scales

SIZE = 64
CONDITIONS = ("1-10-10", "8-10-10", "4-3-10", "16-3-10", "8-0-10", "32-0-10")


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def white_planes(count: int) -> Iterator[np.ndarray]:
    """What the toolbox draws after `numpy.random.seed(42)`."""
    state = np.random.RandomState(42)
    return iter([state.normal(size=(128, 128)) for _ in range(count)])


@pytest.fixture(scope="module")
def reference(reference_data: Path) -> dict[str, np.ndarray]:
    with np.load(reference_data / "goldens" / "ood" / "manipulations_reference.npz") as arrays:
        return dict(arrays)


class TestReference:
    @pytest.mark.parametrize("condition", CONDITIONS)
    def test_results(self, reference, condition):
        reach, coherence, _ = map(int, condition.split("-"))
        noise = white_planes(4 * len(scales(SIZE)))
        result = 255 * eidolon(reference["0.image"] / 255, reach, coherence / 10, noise, size=SIZE)
        raw = np.clip(reference[f"eidolon.{condition}.raw"], 0, 255)
        assert (np.abs(result - raw) <= 1e-3).mean() >= 0.999
        apart = np.abs(np.floor(result) - reference[f"eidolon.{condition}"].astype(float))
        assert (apart == 0).mean() >= 0.999
        assert apart.max() <= 1

    def test_no_condition_of_the_reference_is_left_out(self, reference):
        assert {f"eidolon.{condition}" for condition in CONDITIONS} == {k for k in reference if k.endswith("-10")}

    def test_scales(self, reference):
        np.testing.assert_allclose(scales(SIZE), reference["eidolon.levels"])
        assert len(scales(256)) == 12
        assert scales(256)[-1] == pytest.approx(32)

    def test_canvas(self, reference):
        np.testing.assert_array_equal(embed(reference["eidolon.grey"]), reference["eidolon.embedded"])

    def test_incoherent_plane(self, reference):
        result = noise_plane(next(white_planes(1)), 10)
        np.testing.assert_allclose(result, reference["eidolon.blurred_plane.grain10"], rtol=0, atol=1e-5)

    def test_first_displacement_field(self, reference):
        planes = white_planes(9)
        result = displacement(coherent_fields(planes, SIZE)[0], next(planes), 0.3, 10)
        np.testing.assert_allclose(result, reference["eidolon.field.coherence0.3.first"], rtol=0, atol=1e-5)


def test_displacements_have_the_deviation_that_people_saw():
    assert 0.7 < noise_plane(rng().standard_normal((512, 512)), 10).std() < 0.9


def test_coarse_fields_are_part_of_fine_ones():
    planes = rng().standard_normal((6, 64, 64))
    fields = coherent_fields(iter(planes), 32)
    assert len(fields) == len(scales(32)) == 6
    np.testing.assert_allclose(fields[-1], scales(32)[-1] / 8 * noise_plane(planes[5], scales(32)[-1]))
    np.testing.assert_allclose(fields[2] - fields[3], scales(32)[2] / 8 * noise_plane(planes[2], scales(32)[2]))


@pytest.mark.parametrize("coherence", [0, 0.3, 1])
def test_without_reach_the_image_is_only_blurred(coherence):
    y, x = np.indices((30, 40))
    image = np.repeat((0.5 + 0.3 * np.sin(x / 8) * np.cos(y / 8))[..., None], 3, axis=2)
    result = eidolon(image, 0, coherence, rng())
    np.testing.assert_allclose(result, image[..., 0], atol=0.015)


@pytest.mark.parametrize("coherence", [0, 0.3, 1])
def test_the_farther_the_reach_the_less_is_left(coherence):
    image = np.zeros((64, 64, 3))
    image[16:48, 16:48] = 1
    left = [
        np.corrcoef(eidolon(image, reach, coherence, rng()).ravel(), image[..., 0].ravel())[0, 1]
        for reach in (1, 8, 64)
    ]
    assert left[0] > left[1] > left[2]
    assert left[0] > 0.9


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (7, 1), (1, 224), (13, 9), (3, 150), (31, 33)])
@pytest.mark.parametrize("coherence", [0, 0.3, 1])
def test_any_size_will_do(size, coherence):
    result = eidolon(np.full((*size, 3), 0.5), 8, coherence, rng())
    assert result.shape == size
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, 0.5, atol=0.005)


def test_the_long_side_is_scaled_on_request():
    image = rng().random((20, 50, 3))
    assert eidolon(image, 2, 1, rng(), size=64).shape == (26, 64)
    assert eidolon(image, 2, 1, rng(), size=10).shape == (4, 10)
    np.testing.assert_array_equal(eidolon(image, 2, 1, rng(), size=50).shape, (20, 50))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 10), (100, 33), (224, 224)])
def test_the_canvas_mirrors_the_image(height, width):
    plane = rng().integers(0, 256, (height, width), dtype=np.uint8)
    canvas = embed(plane)
    for side, original in zip(canvas.shape, plane.shape, strict=True):
        assert side & (side - 1) == 0
        assert side >= max(8, 1.5 * original)
    top, left = ((side - original) // 2 for side, original in zip(canvas.shape, plane.shape, strict=True))
    np.testing.assert_array_equal(canvas[top : top + height, left : left + width], plane)
    if top and left:
        np.testing.assert_array_equal(canvas[top - 1, left : left + width], plane[0])
        np.testing.assert_array_equal(canvas[top : top + height, left + width], plane[:, -1])


def test_the_same_generator_gives_the_same_eidolon():
    image = rng().random((20, 30, 3))
    first, second = (eidolon(image, 4, 0.3, np.random.default_rng(seed)) for seed in (1, 1))
    np.testing.assert_array_equal(first, second)
    assert (eidolon(image, 4, 0.3, np.random.default_rng(2)) != first).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reach": -1}, "the reach is -1"),
        ({"reach": np.inf}, "the reach is inf"),
        ({"coherence": 1.5}, "the coherence is 1.5"),
        ({"grain": 0}, "the grain is 0"),
        ({"size": 4}, "the size is 4"),
        ({"image": np.zeros((5, 5))}, r"shape \(5, 5\)"),
        ({"noise": np.zeros((3, 8, 8))}, "there are 3 planes of noise; this image needs 8"),
        ({"noise": np.zeros((3, 8, 9))}, r"a plane of noise has shape \(8, 9\); for this image it must be \(8, 8\)"),
    ],
)
def test_bad_input_is_refused_in_one_line(change, message):
    arguments = {"image": np.zeros((5, 5, 3)), "reach": 1, "coherence": 0.3, "noise": rng()} | change
    if "noise" in change:
        arguments["noise"] = change["noise"] + rng().standard_normal(change["noise"].shape)
    with pytest.raises(InputError, match=message) as refusal:
        eidolon(**arguments)
    assert "\n" not in str(refusal.value)
