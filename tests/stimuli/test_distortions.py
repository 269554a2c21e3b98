"""The image manipulations: equal to the reference's values, and what must hold whatever the image."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from skimage.color import rgb2gray

from sparseshape_jax.errors import InputError
from sparseshape_jax.stimuli.distortions import (
    MEAN_GRAY,
    contrast,
    false_color,
    gray,
    high_pass,
    low_pass,
    monitor_luminance,
    opponent_colors,
    phase_scrambling,
    power_equalization,
    rotation,
    salt_and_pepper,
    to_bytes,
    uniform_noise,
)

STRENGTHS = {
    "contrast": ("1", "0.5", "0.3", "0.15", "0.1", "0.05", "0.03", "0.01"),
    "uniform-noise": ("0", "0.03", "0.1", "0.35", "0.9"),
    "salt-and-pepper": ("0.1", "0.5"),
    "high-pass": ("3", "1.5", "1", "0.7", "0.55", "0.45", "0.4"),
    "low-pass": ("1", "3", "5", "7", "10", "15", "40"),
    "phase-scrambling": ("0", "30", "90", "180"),
    "rotation": ("90", "180", "270"),
}

images = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda shape: arrays(np.uint8, (*shape, 3)).map(lambda image: image / 255)
)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def noise_image(height: int, width: int) -> np.ndarray:
    return rng().random((height, width, 3))


@pytest.fixture(scope="module")
def reference(reference_data: Path) -> dict[str, np.ndarray]:
    with np.load(reference_data / "goldens" / "ood" / "manipulations_reference.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("picture", ["0", "1"])
class TestReference:
    @pytest.mark.parametrize(
        ("name", "strength"), [(name, strength) for name, strengths in STRENGTHS.items() for strength in strengths]
    )
    def test_strengths(self, reference, picture, name, strength):
        image = reference[f"{picture}.image"] / 255
        function, *noise = {
            "contrast": (contrast,),
            "uniform-noise": (uniform_noise, reference[f"{picture}.uniform-noise.unit"]),
            "salt-and-pepper": (salt_and_pepper, np.random.RandomState(42).uniform(size=image.shape[:2])),
            "high-pass": (high_pass,),
            "low-pass": (low_pass,),
            "phase-scrambling": (phase_scrambling, reference[f"{picture}.phase-scrambling.unit"]),
            "rotation": (rotation,),
        }[name]
        result = function(image, float(strength), *noise)
        assert result.dtype == np.float64
        np.testing.assert_allclose(result, reference[f"{picture}.{name}.{strength}"], rtol=0, atol=1e-6)

    def test_gray(self, reference, picture):
        result = gray(reference[f"{picture}.image"] / 255)
        np.testing.assert_allclose(result, reference[f"{picture}.greyscale"], rtol=0, atol=1e-6)

    def test_power_equalization(self, reference, picture):
        amplitude = reference[f"{picture}.power-equalisation.mean_amplitude"].astype(float)
        result = power_equalization(reference[f"{picture}.image"] / 255, amplitude)
        np.testing.assert_allclose(result, reference[f"{picture}.power-equalisation"], rtol=0, atol=1e-6)

    def test_false_color(self, reference, picture):
        image = reference[f"{picture}.image"] / 255
        expected = reference[f"{picture}.false-colour"]
        result = false_color(image, reference["gamma_table"])
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-6)
        # Our curve for the monitor: a quarter of a gray level on average.
        assert 255 * np.abs(false_color(image) - expected).mean() < 0.25

    def test_nothing_of_the_reference_is_left_out(self, reference, picture):
        others = {"image", "greyscale", "uniform-noise.unit", "phase-scrambling.unit"}
        others |= {"power-equalisation.mean_amplitude", "power-equalisation", "false-colour"}
        compared = {f"{name}.{strength}" for name, strengths in STRENGTHS.items() for strength in strengths}
        assert {key[2:] for key in reference if key.startswith(f"{picture}.")} == others | compared


def test_opponent_colors_equal_the_reference(reference):
    result = opponent_colors(reference["opponent.linear"])
    np.testing.assert_allclose(result, reference["opponent.result"], rtol=0, atol=1e-12)


def test_the_monitors_curve_is_close_to_the_measured_one(reference):
    np.testing.assert_allclose(monitor_luminance(), reference["gamma_table"], rtol=0, atol=0.003)
    assert (np.diff(monitor_luminance()) > 0).all()
    assert monitor_luminance()[0] == 0
    assert monitor_luminance()[-1] == 1


@given(images)
@settings(deadline=None)
def test_gray_and_contrast(image):
    plane = gray(image)
    np.testing.assert_allclose(plane, rgb2gray(image), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(contrast(image, 1), plane)
    np.testing.assert_array_equal(contrast(image, 0), np.full_like(plane, 0.5))
    half = contrast(image, 0.5)
    assert np.ptp(half) == pytest.approx(0.5 * np.ptp(plane))
    assert to_bytes(image).dtype == np.uint8
    np.testing.assert_array_equal(to_bytes(image) / 255, image)


def test_the_gray_of_a_gray_image_is_the_image():
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(to_bytes(gray(np.repeat(values[..., None], 3, axis=2) / 255)), values)


@given(images, st.sampled_from((0, 90, 180, 270)), st.sampled_from((0, 90, 180, 270)))
@settings(deadline=None)
def test_rotations_compose(image, first, second):
    once = rotation(image, first)
    twice = rotation(np.repeat(once[..., None], 3, axis=2), second)
    np.testing.assert_allclose(twice, rotation(image, (first + second) % 360), rtol=0, atol=1e-12)


def test_rotation_is_counterclockwise():
    image = np.zeros((2, 3, 3))
    image[0, 2] = 1  # the upper right corner moves to the upper left
    assert rotation(image, 90)[0, 0] == pytest.approx(1)
    assert rotation(image, 270)[2, 1] == pytest.approx(1)


class TestPixelNoise:
    def test_uniform_noise_has_its_width_and_one_value_a_pixel(self):
        image = np.full((100, 100, 3), 0.5)
        noise = uniform_noise(image, 0.2, rng()) - 0.5
        assert noise.shape == (100, 100)
        assert -0.2 <= noise.min() < -0.199
        assert 0.199 < noise.max() <= 0.2
        assert noise.std() == pytest.approx(0.2 / np.sqrt(3), rel=0.02)

    def test_salt_and_pepper_have_their_share(self):
        image = np.full((200, 200, 3), 0.5)
        result = salt_and_pepper(image, 0.2, rng())
        assert (result == 1).mean() == pytest.approx(0.1, abs=0.01)
        assert (result == 0).mean() == pytest.approx(0.1, abs=0.01)
        assert (result == contrast(image, 0.3)).mean() == pytest.approx(0.8, abs=0.01)
        assert set(np.unique(salt_and_pepper(image, 1, rng()))) == {0, 1}

    @given(images, st.floats(0, 3))
    @settings(deadline=None)
    def test_without_strength_only_contrast_is_lost(self, image, width):
        plane = contrast(image, 0.3)
        np.testing.assert_array_equal(uniform_noise(image, 0, rng()), plane)
        np.testing.assert_array_equal(salt_and_pepper(image, 0, rng()), plane)
        assert 0 <= uniform_noise(image, width, rng()).min() <= uniform_noise(image, width, rng()).max() <= 1

    def test_a_generator_and_its_numbers_give_the_same(self):
        image = noise_image(4, 5)
        drawn = rng().uniform(-1, 1, (4, 5))
        np.testing.assert_array_equal(uniform_noise(image, 0.3, rng()), uniform_noise(image, 0.3, drawn))
        np.testing.assert_array_equal(
            salt_and_pepper(image, 0.3, rng()), salt_and_pepper(image, 0.3, rng().uniform(0, 1, (4, 5)))
        )


class TestFilters:
    def test_no_filter_leaves_the_gray_image(self):
        image = noise_image(5, 7)
        np.testing.assert_array_equal(low_pass(image, 0), gray(image))
        np.testing.assert_array_equal(high_pass(image, np.inf), gray(image))

    def test_low_pass_equals_a_convolution_that_is_written_out(self):
        image = noise_image(9, 6)
        x = np.arange(-8, 9)
        kernel = np.exp(-(x**2) / 8)
        kernel /= kernel.sum()
        padded = np.pad(gray(image), 8, constant_values=MEAN_GRAY)
        expected = ndimage.convolve(padded, np.outer(kernel, kernel), mode="constant")[8:-8, 8:-8]
        np.testing.assert_allclose(low_pass(image, 2), expected, rtol=0, atol=1e-12)

    @given(images, st.sampled_from((0.4, 0.7, 1.5, 3, 40)))
    @settings(deadline=None)
    def test_results_are_in_range(self, image, deviation):
        for result in (low_pass(image, deviation), high_pass(image, deviation)):
            assert result.shape == image.shape[:2]
            assert 0 <= result.min() <= result.max() <= 1

    def test_high_pass_has_the_mean_gray(self):
        image = 0.4 + 0.2 * noise_image(20, 30)  # too weak a contrast to be clipped
        assert high_pass(image, 1).mean() == pytest.approx(MEAN_GRAY)

    def test_an_image_of_the_mean_gray_passes_no_filter_changed(self):
        image = np.full((6, 7, 3), MEAN_GRAY)
        np.testing.assert_allclose(low_pass(image, 3), MEAN_GRAY)
        np.testing.assert_allclose(high_pass(image, 3), MEAN_GRAY)


class TestFalseColor:
    @given(arrays(np.float64, (4, 5, 3), elements=st.floats(0, 1)))
    @settings(deadline=None)
    def test_twice_is_once_before_clipping(self, light):
        np.testing.assert_allclose(opponent_colors(opponent_colors(light)), light, rtol=0, atol=1e-9)

    def test_red_turns_green_and_blue_yellow(self):
        bricks = np.array([[[0.7, 0.45, 0.5], [0.4, 0.6, 0.5]]])
        red, green = false_color(bricks)[0]
        assert red[1] > red[0]
        assert green[0] > green[1]

    @given(arrays(np.uint8, (3, 4, 3)))
    @settings(deadline=None)
    def test_the_entry_is_the_nearest(self, image):
        table = monitor_luminance()
        light = np.clip(opponent_colors(table[image]), 0, 1)
        distances = np.abs(table - light[..., None])
        chosen = np.rint(255 * false_color(image / 255)).astype(int)
        np.testing.assert_array_equal(
            np.take_along_axis(distances, chosen[..., None], axis=-1)[..., 0], distances.min(axis=-1)
        )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda image: contrast(image, 1.1), "the contrast is 1.1"),
        (lambda image: contrast(image, np.nan), "the contrast is nan"),
        (lambda image: uniform_noise(image, -0.1, rng()), "uniform noise is -0.1"),
        (
            lambda image: uniform_noise(image, 0.1, np.zeros((2, 3))),
            r"shape \(2, 3\); for this image it must be \(3, 2",
        ),
        (lambda image: salt_and_pepper(image, 2, rng()), "salt and pepper is 2"),
        (lambda image: low_pass(image, -1), "low-pass filter is -1"),
        (lambda image: low_pass(image, np.inf), "low-pass filter is inf"),
        (lambda image: high_pass(image, 0), "high-pass filter is 0"),
        (lambda image: phase_scrambling(image, 200, rng()), "phase noise is 200"),
        (lambda image: rotation(image, 45), "the angle is 45"),
        (lambda image: gray(image[..., 0]), r"shape \(3, 2\)"),
        (lambda image: gray(np.dstack([image, image[..., :1]])), r"shape \(3, 2, 4\)"),
        (lambda image: gray(image[:0]), r"shape \(0, 2, 3\)"),
        (lambda image: gray(to_bytes(image)), "type uint8"),
        (lambda image: false_color(255 * image), "they must be in"),
        (lambda image: gray(np.full_like(image, np.nan)), "from nan to nan"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, message):
    with pytest.raises(InputError, match=message) as refusal:
        call(noise_image(3, 2))
    assert "\n" not in str(refusal.value)
