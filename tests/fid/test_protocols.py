"""What the protocols do to pixels: the libraries' values, PIL, torch, and definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.images import noise

from sparseshape_jax.fid.protocols import (
    PROTOCOLS,
    bicubic,
    squash,
    squeeze,
    tensorflow_bilinear,
    to_bytes,
    torch_bilinear,
)

IMAGES = ("image0", "image1", "image2")


def resized(protocol: str, image: np.ndarray) -> np.ndarray:
    chosen = PROTOCOLS[protocol]
    return chosen.resize(chosen.to_pixels(image), 299, 299)


@pytest.mark.parametrize("image", IMAGES)
def test_the_resized_images_are_the_libraries(golden, image):
    for protocol, key in (("tf", "tf"), ("clean", "clean")):
        found = resized(protocol, golden[image])
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found[::13, ::13], golden[f"{image}.{key}.resized_13"], err_msg=protocol)
    found = resized("pytorch-fid", golden[image])
    np.testing.assert_allclose(found[::13, ::13], golden[f"{image}.pytorch_fid.resized_13"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(64, 64), (300, 410), (299, 299), (37, 900)])
def test_clean_is_pils_bicubic_bit_for_bit(shape):
    image = noise(*shape)
    channels = [
        np.asarray(Image.fromarray(image[..., channel].astype(np.float32)).resize((299, 299), Image.BICUBIC))
        for channel in range(3)
    ]
    np.testing.assert_array_equal(resized("clean", image), np.stack(channels, -1).clip(0, 255))


@pytest.mark.parametrize("shape", [(64, 64), (300, 410), (5, 700)])
def test_pytorch_fid_is_torchs_bilinear(torch, shape):
    image = noise(*shape)
    x = torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float32) / 255)
    expected = torch.nn.functional.interpolate(x, size=(299, 299), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(
        resized("pytorch-fid", image), expected[0].numpy().transpose(1, 2, 0), rtol=0, atol=2e-5 / 255 * shape[1]
    )


def test_tensorflows_bilinear_by_hand():
    """Two pixels to four: sources 0, ½, 1, 1½, and the last pixel's neighbor is itself."""
    row = np.float32([[0.0, 10.0]])[..., None].repeat(3, -1)
    np.testing.assert_array_equal(tensorflow_bilinear(row, 1, 4)[0, :, 0], [0, 5, 10, 10])
    np.testing.assert_array_equal(torch_bilinear(row, 1, 4)[0, :, 0], [0, 2.5, 7.5, 10])
    np.testing.assert_array_equal(tensorflow_bilinear(row, 3, 1)[:, 0, 0], [0, 0, 0])


@pytest.mark.parametrize("resize", [bicubic, tensorflow_bilinear, torch_bilinear])
@given(height=st.integers(1, 40), width=st.integers(1, 40), value=st.integers(0, 255))
def test_a_flat_image_stays_flat(resize, height, width, value):
    image = np.full((height, width, 3), value, np.float32)
    found = resize(image, 17, 23)
    assert found.shape == (17, 23, 3)
    np.testing.assert_allclose(found, value, atol=1e-4)


def test_the_papers_bytes(golden):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, -1)
    np.testing.assert_array_equal(squeeze(levels)[..., 0].ravel(), golden["paper.real_lut"])
    # The ramp is the raw output g; the protocol's numbers are v = (g + 1) / 2.
    ramp = golden["paper.ramp"].reshape(-1, 1, 1).repeat(3, -1)
    for index in range(0, len(ramp), 256):  # 256 rows are not changed by the detour
        part = np.resize(ramp[index : index + 256], (256, 1, 3))
        found = squeeze((part + np.float32(1)) / np.float32(2))
        expected = golden["paper.ramp_uint8"][index : index + 256]
        np.testing.assert_array_equal(found[: len(expected), 0, 0], expected)


def test_the_papers_detour(golden):
    random = np.random.RandomState(55)
    for side, count in ((64, 2), (256, 2), (384, 1), (1024, 1)):
        raw = random.uniform(-4, 2, (count, side, side, 3)).astype(np.float32)
        if f"paper.fake{side}.raw_7" in golden:
            np.testing.assert_array_equal(raw[:, ::7, ::7], golden[f"paper.fake{side}.raw_7"])
        step = 37 if side == 1024 else 7
        found = np.stack([squeeze((image + np.float32(1)) / np.float32(2)) for image in raw])
        np.testing.assert_array_equal(found[:, ::step, ::step], golden[f"paper.fake{side}.uint8_7"], err_msg=str(side))


def test_bytes_and_squashing():
    values = np.float32([-1, 0, 0.5, 1, 2, np.nan]).reshape(1, 2, 3)
    np.testing.assert_array_equal(to_bytes(values).ravel(), [0, 0, 128, 255, 255, 0])
    image = noise(30, 50)
    np.testing.assert_array_equal(
        squash(image, 20), np.asarray(Image.fromarray(image).resize((20, 20), Image.BILINEAR))
    )
    assert squash(image[:, :30], 30) is not None
    np.testing.assert_array_equal(squash(image[:, :30], 30), image[:, :30])
    np.testing.assert_array_equal(to_bytes(image / np.float32(255)), image)
