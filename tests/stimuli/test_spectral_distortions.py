"""Phase scrambling and power equalization: what they keep of an image's spectrum, for sides of any length."""

import numpy as np
import pytest

from sparseshape_jax.errors import InputError
from sparseshape_jax.stimuli.distortions import (
    gray,
    mean_amplitude,
    phase_scrambling,
    power_equalization,
    scrambled_phases,
)

SIZES = [(1, 1), (1, 2), (2, 1), (1, 9), (8, 1), (2, 2), (2, 3), (5, 7), (6, 4), (7, 6)]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def noise_image(height: int, width: int) -> np.ndarray:
    return rng().random((height, width, 3))


class TestPhaseScrambling:
    @pytest.mark.parametrize("size", SIZES)
    def test_hermitian_shifts_keep_every_amplitude(self, size):
        image = 0.5 + 0.02 * (noise_image(*size) - 0.5)  # nothing is clipped
        result = phase_scrambling(image, 180, rng(), hermitian=True)
        np.testing.assert_allclose(np.abs(np.fft.fft2(result)), np.abs(np.fft.fft2(gray(image))), atol=1e-12)
        if min(size) > 2:
            assert np.abs(result - gray(image)).max() > 1e-3

    def test_the_default_loses_contrast_as_in_the_published_stimuli(self):
        image = 0.5 + 0.2 * (noise_image(64, 48) - 0.5)
        lost = [phase_scrambling(image, width, rng()).std() / gray(image).std() for width in (30, 90, 180)]
        assert 1 > lost[0] > lost[1] > lost[2] > 0.6

    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("hermitian", [False, True])
    def test_width_0_changes_nothing(self, size, hermitian):
        image = noise_image(*size)
        result = phase_scrambling(image, 0, rng(), hermitian=hermitian)
        np.testing.assert_allclose(result, gray(image), rtol=0, atol=1e-12)

    @pytest.mark.parametrize("size", SIZES)
    def test_all_phases_take_part_but_those_that_are_fixed(self, size):
        """The mean stays, and so do the rows and columns of the highest frequency of even sides."""
        image = 0.5 + 0.02 * (noise_image(*size) - 0.5)
        before = np.fft.fftshift(np.fft.fft2(gray(image)))
        after = np.fft.fftshift(np.fft.fft2(phase_scrambling(image, 180, rng(), hermitian=True)))
        fixed = np.zeros(size, bool)
        fixed[size[0] // 2, size[1] // 2] = True
        fixed[0] |= size[0] % 2 == 0
        fixed[:, 0] |= size[1] % 2 == 0
        np.testing.assert_array_equal(np.abs(after - before) < 1e-10, fixed)
        assert scrambled_phases(*size) == (~fixed).sum() // 2

    def test_shifts_have_their_width(self):
        image = 0.5 + 0.02 * (noise_image(33, 41) - 0.5)
        before, after = np.fft.fft2(gray(image)), np.fft.fft2(phase_scrambling(image, 60, rng(), hermitian=True))
        shifts = np.rad2deg(np.angle(after / before))
        assert 59 < shifts.max() < 60 + 1e-6
        assert -60 - 1e-6 < shifts.min() < -59


class TestPowerEqualization:
    def test_the_mean_is_over_images(self):
        first, second = noise_image(5, 6), 0.5 * noise_image(5, 6)
        expected = (np.abs(np.fft.fft2(gray(first))) + np.abs(np.fft.fft2(gray(second)))) / 2
        np.testing.assert_allclose(np.fft.ifftshift(mean_amplitude(iter([first, second]))), expected)

    @pytest.mark.parametrize("size", SIZES)
    def test_an_images_own_amplitudes_change_nothing(self, size):
        image = noise_image(*size)
        result = power_equalization(image, mean_amplitude([image]))
        np.testing.assert_allclose(result, gray(image), rtol=0, atol=1e-12)

    def test_results_have_the_amplitudes_given(self):
        generator = rng()
        pictures = [0.5 + 0.05 * (generator.random((7, 8, 3)) - 0.5) for _ in range(5)]
        amplitude = mean_amplitude(pictures)
        for image in pictures:
            result = power_equalization(image, amplitude)
            np.testing.assert_allclose(np.abs(np.fft.fftshift(np.fft.fft2(result))), amplitude, atol=1e-12)

    def test_refusals(self):
        with pytest.raises(InputError, match="no images"):
            mean_amplitude([])
        with pytest.raises(InputError, match="image 2 has 4×4 pixels and those before it 4×5"):
            mean_amplitude([noise_image(5, 4), noise_image(4, 4)])
        with pytest.raises(InputError, match=r"cat\.png has 4×5 pixels, but the amplitude spectrum is one of 4×4"):
            power_equalization(noise_image(5, 4), mean_amplitude([noise_image(4, 4)]), "cat.png")
