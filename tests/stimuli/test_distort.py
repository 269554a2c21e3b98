"""From a published set's name and a condition to bytes: every condition works, and means what its name says."""

import numpy as np
import pytest

from sparseshape_jax.errors import InputError
from sparseshape_jax.observers.experiments import PARAMETRIC, PUBLISHED_SETS
from sparseshape_jax.stimuli.distort import GENERATED_SETS, distort
from sparseshape_jax.stimuli.distortions import (
    contrast,
    false_color,
    gray,
    high_pass,
    low_pass,
    mean_amplitude,
    phase_scrambling,
    power_equalization,
    rotation,
    uniform_noise,
)
from sparseshape_jax.stimuli.eidolon import eidolon
from sparseshape_jax.stimuli.outlines import edge, silhouette

EVERY_CONDITION = [(name, condition) for name in GENERATED_SETS for condition in PUBLISHED_SETS[name].conditions]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def photograph(height: int = 20, width: int = 31) -> np.ndarray:
    """Colorful bricks on white."""
    image = np.full((height, width, 3), 255, np.uint8)
    bricks = rng().integers(0, 230, (height // 4, width // 4, 3), dtype=np.uint8)
    inner = bricks.repeat(4, axis=0).repeat(4, axis=1)[4:, 4:]
    image[2 : 2 + inner.shape[0], 2 : 2 + inner.shape[1]] = inner
    return image


AMPLITUDE = mean_amplitude([photograph() / 255, photograph()[::-1] / 510])


def test_all_sets_but_three_are_generated():
    assert set(PUBLISHED_SETS) - set(GENERATED_SETS) == {"sketch", "stylized", "cue-conflict"}


@pytest.mark.parametrize(("name", "condition"), EVERY_CONDITION)
def test_every_condition_gives_bytes(name, condition):
    image = photograph()
    before = image.copy()
    function = distort(name, condition, AMPLITUDE)
    result = function(image, rng())
    assert result.dtype == np.uint8
    assert result.shape == (
        (31, 20, 3) if (name, condition) in (("rotation", "90"), ("rotation", "270")) else image.shape
    )
    if (name, condition) in (("colour", "cr"), ("false-colour", "true")):
        np.testing.assert_array_equal(result, image)
    elif name != "false-colour":
        np.testing.assert_array_equal(result, np.repeat(result[..., :1], 3, axis=2))
    np.testing.assert_array_equal(function(image, rng()), result)
    np.testing.assert_array_equal(image, before)
    random = (name == "uniform-noise" and condition != "0.00") or (name == "phase-scrambling" and condition != "0")
    if random or name.startswith("eidolon"):
        assert (function(image, rng(1)) != result).any()


@pytest.mark.parametrize(
    ("name", "condition", "function"),
    [
        ("colour", "bw", gray),
        ("contrast", "c100", gray),
        ("contrast", "c05", lambda image: contrast(image, 0.05)),
        ("contrast", "c30", lambda image: contrast(image, 0.3)),
        ("high-pass", "inf", gray),
        ("high-pass", "3.0", lambda image: high_pass(image, 3)),
        ("high-pass", "0.55", lambda image: high_pass(image, 0.55)),
        ("low-pass", "0", gray),
        ("low-pass", "40", lambda image: low_pass(image, 40)),
        ("phase-scrambling", "0", gray),
        ("phase-scrambling", "90", lambda image: phase_scrambling(image, 90, rng())),
        ("power-equalisation", "0", gray),
        ("power-equalisation", "pow", lambda image: power_equalization(image, AMPLITUDE)),
        ("false-colour", "False", false_color),
        ("rotation", "0", gray),
        ("rotation", "270", lambda image: rotation(image, 270)),
        ("eidolonI", "8-10-10", lambda image: eidolon(image, 8, 1, rng(), grain=10)),
        ("eidolonII", "16-3-10", lambda image: eidolon(image, 16, 0.3, rng())),
        ("eidolonIII", "128-0-10", lambda image: eidolon(image, 128, 0, rng())),
        ("uniform-noise", "0.00", lambda image: contrast(image, 0.3)),
        ("uniform-noise", "0.1", lambda image: uniform_noise(image, 0.1, rng())),
        ("edge", "0", edge),
        ("silhouette", "0", silhouette),
    ],
)
def test_conditions_mean_what_they_say(name, condition, function):
    image = photograph()
    expected = np.floor(255 * function(image / 255) + 0.5)
    result = distort(name, condition, AMPLITUDE)(image, rng())
    np.testing.assert_array_equal(result[..., 0], expected[..., 0] if expected.ndim == 3 else expected)


def test_hermitian_scrambling_is_passed_on():
    image = photograph()
    expected = np.rint(255 * phase_scrambling(image / 255, 90, rng(), hermitian=True))
    result = distort("phase-scrambling", "90", hermitian=True)(image, rng())
    np.testing.assert_array_equal(result[..., 0], expected)
    assert (result != distort("phase-scrambling", "90")(image, rng())).any()


@pytest.mark.parametrize("name", PARAMETRIC)
@pytest.mark.parametrize("size", [(1, 1), (1, 12), (9, 1), (7, 5)])
def test_strips_and_odd_sizes_work(name, size):
    image = rng().integers(0, 256, (*size, 3), dtype=np.uint8)
    for condition in PUBLISHED_SETS[name].conditions:
        result = distort(name, condition, mean_amplitude([image / 255]))(image, rng())
        assert sorted(result.shape[:2]) == sorted(size)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("stylized",), "the set 'stylized' cannot be generated; those that can are colour, contrast"),
        (("color", "bw"), "the set 'color' cannot be generated"),
        (("contrast", "c20"), "the set 'contrast' has no condition 'c20'; it has c100, c50, c30"),
        (("contrast",), "the set 'contrast' has no condition '0'"),
        (("eidolonI", "8-3-10"), "the set 'eidolonI' has no condition '8-3-10'"),
        (("power-equalisation", "pow"), "needs the mean amplitude spectrum"),
    ],
)
def test_unknown_sets_and_conditions_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        distort(*arguments)


@pytest.mark.parametrize(
    "image",
    [
        photograph()[..., 0],
        np.dstack([photograph(), photograph()[..., :1]]),
        photograph() / 255,
        photograph()[:0],
    ],
)
@pytest.mark.parametrize("name", ["colour", "false-colour", "eidolonI", "edge"])
def test_gray_rgba_and_float_images_are_refused_by_name(name, image):
    with pytest.raises(InputError, match=r"^dog\.png is an array of .*so convert it first$"):
        distort(name, PUBLISHED_SETS[name].conditions[-1])(image, rng(), "dog.png")


def test_refusals_of_the_distortion_name_the_image():
    dark = photograph() // 2
    for name in ("edge", "silhouette"):
        with pytest.raises(InputError, match=r"^dog\.png does not show an object on white"):
            distort(name)(dark, rng(), "dog.png")
    with pytest.raises(InputError, match=r"^dog\.png has 31×20 pixels, but the amplitude spectrum is one of 5×5"):
        distort("power-equalisation", "pow", np.ones((5, 5)))(dark, rng(), "dog.png")
