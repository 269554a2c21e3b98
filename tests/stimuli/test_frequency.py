"""The band-biased sets as functions: against the goldens, a sum of cosines, and what their definition promises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparseshape_jax.frequency import radius
from sparseshape_jax.stimuli import frequency

BANDS = (1, 2, 3, 4)


@pytest.fixture(scope="module")
def goldens(reference_data):
    return np.load(reference_data / "goldens" / "frequency" / "synthetic_sets.npz")


def test_frequencies_bands_and_sectors_are_the_goldens(goldens):
    np.testing.assert_array_equal(frequency.frequencies(32), goldens["frequencies"])
    in_bands = np.where(goldens["band"] <= 4, goldens["band"], 0)  # its 5 and 6 are corners
    np.testing.assert_array_equal(frequency.bands_of(32), in_bands)
    np.testing.assert_array_equal(frequency.sectors(32), goldens["sector"])


def radial_profile(spectrum):
    """The mean of a spectrum with frequency 0 in the middle, by radius rounded down."""
    radii = radius(len(spectrum)).astype(int).ravel()
    return np.bincount(radii, spectrum.ravel()) / np.bincount(radii)


@pytest.mark.parametrize("band", BANDS)
def test_amplitudes_and_images_are_the_goldens(goldens, band):
    for label in range(4):
        own = frequency.amplitudes(band, label)
        np.testing.assert_allclose(own, goldens[f"syn{band}.amplitude"][label], rtol=0, atol=1e-12)
        np.testing.assert_array_equal(frequency.is_planted(band, label), goldens[f"syn{band}.special"][label])
        images = [frequency.image(band, label, "train", index) for index in range(4)]
        np.testing.assert_allclose(images[0], goldens[f"syn{band}.float_images"][label], rtol=0, atol=1e-12)
        for found, expected in zip(images, goldens[f"syn{band}.train_images"][label], strict=True):
            np.testing.assert_array_equal(frequency.pixels(found), np.repeat(expected[..., None], 3, axis=-1))
        tested = np.stack([frequency.pixels(frequency.image(band, label, "test", index)) for index in range(50)])
        profile = radial_profile(frequency.mean_spectrum(tested))
        np.testing.assert_allclose(profile, goldens[f"syn{band}.radial_spectrum"][label], rtol=0, atol=1e-6)


def test_an_image_is_the_sum_of_its_cosines():
    size, settings = 16, {"cue": 2.0, "share": 0.3}
    u = np.random.default_rng([7, 2, 1, 1, 5]).random((2, size * (size // 2 - 1)))
    rows, columns = np.mgrid[:size, :size]
    expected = np.full((size, size), 0.5)
    amplitudes = frequency.amplitudes(2, 1, size=size, **settings)
    for (fr, fc), amplitude, length, turn in zip(frequency.frequencies(size), amplitudes, *u, strict=True):
        length = 1.0 if (fr, fc) == (3, 0) else np.sqrt(-np.log(1 - length))
        wave = np.cos(2 * np.pi * (fr * rows + fc * columns) / size + 2 * np.pi * turn)
        expected += 0.172 / np.sqrt(2) * amplitude * length * wave
    found = frequency.image(2, 1, "val", 5, size=size, seed=7, **settings)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@given(
    band=st.sampled_from(BANDS),
    label=st.integers(0, 3),
    size=st.sampled_from((16, 32, 48)),
    cue=st.floats(0.1, 10),
    share=st.floats(0.05, 0.95),
)
def test_every_band_has_energy_one_and_mirrored_images_have_the_same_amplitudes(band, label, size, cue, share):
    found = frequency.amplitudes(band, label, size=size, cue=cue, share=share)
    for each in BANDS:
        assert np.sum(found[frequency.bands_of(size) == each] ** 2) == pytest.approx(1, rel=1e-12)
    assert not found[frequency.bands_of(size) == 0].any()
    pattern = frequency.is_planted(band, label, size)
    assert np.sum(found[pattern] ** 2) == pytest.approx(share if label < 2 else 0, rel=1e-12)
    assert set(frequency.bands_of(size)[pattern]) == ({band} if label < 2 else set())
    plane = np.zeros((size, size))
    for (fr, fc), amplitude in zip(frequency.frequencies(size), found, strict=True):
        plane[fr, fc] = plane[-fr, -fc] = amplitude
    np.testing.assert_allclose(plane, np.roll(plane[:, ::-1], 1, axis=1), rtol=1e-12)


def test_images_differ_in_every_number_and_have_the_contrast_asked_for():
    images = [
        frequency.image(band, label, split, index, seed=seed)
        for band, label, split, index, seed in (
            (1, 0, "train", 0, 0),
            (2, 0, "train", 0, 0),
            (1, 2, "train", 0, 0),
            (1, 0, "val", 0, 0),
            (1, 0, "train", 1, 0),
            (1, 0, "train", 0, 1),
        )
    ]
    assert all(np.abs(one - other).max() > 0.1 for i, one in enumerate(images) for other in images[:i])
    many = np.stack([frequency.image(3, 1, "train", index) for index in range(200)])
    # Four bands of energy 1, each sum of squares times 0.172²/2/2.
    assert many.std() == pytest.approx(0.172, rel=0.03)


def test_pixels_round_halves_up_and_clip():
    values = np.array([[-0.1, 0.0], [0.5, 1.1]])
    np.testing.assert_array_equal(frequency.pixels(values)[..., 1], [[0, 0], [128, 255]])
