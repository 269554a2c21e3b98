"""Normalization, against torchvision's and Caffe's."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from sparseshape_jax.data.decoding import prepare, read_image
from sparseshape_jax.errors import InputError
from sparseshape_jax.preprocessing import CAFFE, TORCHVISION, Preprocessing


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, np.float32)


@pytest.mark.parametrize("preprocessing", [TORCHVISION, Preprocessing(mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 0.5))])
def test_normalize_equals_torchvision(torch, torchvision, preprocessing):
    batch = images(2, 5, 7, 3)
    normalize = torchvision.transforms.Normalize(preprocessing.mean, preprocessing.std)
    expected = normalize(torch.from_numpy(batch).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(preprocessing.normalize(batch), expected, rtol=1e-6, atol=1e-6)


def test_from_file_to_input_as_torchvisions_weights_say(torch, torchvision, tmp_path):
    """The transform that torchvision publishes with AlexNet's weights."""
    pixels = np.random.default_rng(0).integers(0, 256, (301, 402, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    transform = torchvision.models.AlexNet_Weights.IMAGENET1K_V1.transforms()
    expected = transform(Image.fromarray(pixels)).permute(1, 2, 0).numpy()
    ours = TORCHVISION.normalize(jnp.asarray(prepare(read_image(tmp_path / "a.png"), TORCHVISION), jnp.float32) / 255)
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_caffe_is_bgr_minus_the_mean_of_0_to_255(reference_data):
    facts = json.loads((reference_data / "goldens" / "squeezenet_reference.json").read_text())
    assert facts["input"] == "224x224, BGR, minus (104.00698793, 116.66876762, 122.67891434)"
    batch = images(2, 5, 7, 3)
    expected = 255 * batch[..., ::-1] - np.array([104.00698793, 116.66876762, 122.67891434])
    np.testing.assert_allclose(CAFFE.normalize(batch), expected, atol=1e-4)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_keeps_the_type_and_takes_any_leading_axes(dtype):
    for shape in ((4, 4, 3), (2, 3, 4, 4, 3)):
        normalized = jax.jit(TORCHVISION.normalize)(jnp.asarray(images(*shape), dtype))
        assert normalized.shape == shape
        assert normalized.dtype == dtype


def test_pixels_that_are_still_integers_are_refused():
    with pytest.raises(InputError, match=r"uint8.*\[0, 1\]"):
        TORCHVISION.normalize(np.zeros((1, 4, 4, 3), np.uint8))


@pytest.mark.parametrize("preprocessing", [TORCHVISION, CAFFE])
def test_denormalize_is_the_inverse(preprocessing):
    batch = images(2, 5, 7, 3)
    np.testing.assert_allclose(preprocessing.denormalize(preprocessing.normalize(batch)), batch, atol=1e-6)
