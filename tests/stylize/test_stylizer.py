import jax.numpy as jnp
import numpy as np
import pytest
from support.toy_stylizer import Toy

from sparseshape_jax.errors import InputError
from sparseshape_jax.stylize import load_stylizer
from sparseshape_jax.stylize.stylizer import mixed

RNG = np.random.default_rng(0)
CONTENTS = RNG.random((3, 12, 10, 3), np.float32)
STYLES = RNG.random((3, 9, 9, 3), np.float32)


def test_called_on_images_it_encodes_and_restyles():
    toy = Toy()
    expected = toy.restyle(CONTENTS, toy.encode(STYLES), jnp.float32(0.25))
    np.testing.assert_allclose(toy(CONTENTS, STYLES, alpha=0.25), expected, atol=1e-6)
    one = toy(CONTENTS, STYLES[:1], alpha=0.25)
    np.testing.assert_allclose(one[0], expected[0], atol=1e-6)


def test_several_styles_are_mixed_by_their_weights():
    toy, other = Toy(), RNG.random((1, 14, 11, 3), np.float32)
    mixture = toy(CONTENTS, [STYLES, other], weights=[1, 3])
    expected = 0.25 * toy(CONTENTS, STYLES) + 0.75 * toy(CONTENTS, other)
    np.testing.assert_allclose(mixture, expected, atol=1e-6)
    np.testing.assert_allclose(toy(CONTENTS, [STYLES, other]), toy(CONTENTS, [STYLES, other], weights=[2, 2]))


@pytest.mark.parametrize("weights", [[1], [1, -1], [0, 0], [1, float("nan")], [1, float("inf")], []])
def test_weights_that_are_refused(weights):
    codes = jnp.ones((2, 4))
    with pytest.raises(InputError, match="give each style one, at least 0 and not all 0"):
        mixed([codes, codes], weights)


@pytest.mark.parametrize("alpha", [-0.1, 1.01, float("nan"), float("inf")])
def test_strengths_outside_0_to_1(alpha):
    with pytest.raises(InputError, match=r"alpha is .*; it must be from 0"):
        Toy()(CONTENTS, STYLES, alpha=alpha)


@pytest.mark.parametrize(
    ("contents", "styles", "message"),
    [
        (np.zeros((1, 9, 9, 3), np.uint8), STYLES, "images are uint8"),
        (CONTENTS[0], STYLES, "must be floating-point RGB"),
        (CONTENTS[..., :1], STYLES, "must be floating-point RGB"),
        (CONTENTS[:, :5, :5], STYLES, "5×5 pixels is too small for adain; sides must be at least 9"),
        (CONTENTS, STYLES[:2], r"3 photographs and \[2\] styles"),
    ],
)
def test_images_that_are_refused(contents, styles, message):
    with pytest.raises(InputError, match=message):
        Toy()(contents, styles)


def test_unknown_stylizers(tmp_path):
    with pytest.raises(InputError, match=r"there is no stylizer 'gatys'; there are adain, magenta"):
        load_stylizer("gatys")
    with pytest.raises(InputError, match="belong together"):
        load_stylizer(vgg="vgg_normalised.pth")
    with pytest.raises(InputError, match=r"not a run of train\.py adain"):
        load_stylizer(tmp_path)
