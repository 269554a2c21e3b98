"""Decoding, resizing and cropping: against torchvision on PIL images, and for what people's folders really hold."""

import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sparseshape_jax.data.decoding import center_crop, is_image, prepare, read_image, resize_short_side
from sparseshape_jax.errors import InputError
from sparseshape_jax.preprocessing import TORCHVISION, Preprocessing

# Width and height: landscape, portrait, odd, already right, smaller than the crop, and very long.
SIZES = [(500, 375), (375, 500), (333, 257), (257, 333), (256, 256), (256, 301), (100, 80), (31, 47), (900, 40)]


def gradient(size: tuple[int, int], mode: str = "RGB", seed: int = 0) -> Image.Image:
    """A smooth gradient under noise, so that both interpolation and rounding show."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    ramps = np.stack([x * 255 / width, y * 255 / height, (x + y) * 127 / (width + height)], axis=-1)
    noise = np.random.default_rng(seed).normal(0, 40, (height, width, 3))
    return Image.fromarray(np.clip(ramps + noise, 0, 255).astype(np.uint8)).convert(mode)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_resize_and_crop_equal_torchvision(torchvision, size):
    image = gradient(size)
    transforms = torchvision.transforms
    resized = resize_short_side(image, 256)
    np.testing.assert_array_equal(resized, transforms.Resize(256)(image))
    np.testing.assert_array_equal(center_crop(resized, 224), transforms.CenterCrop(224)(resized))
    # A crop larger than the image is filled up with black.
    np.testing.assert_array_equal(center_crop(resized, 701), transforms.CenterCrop(701)(resized))


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_crop_offsets_equal_torchvisions_for_every_size(torchvision, width, height, size):
    image = gradient((width, height))
    np.testing.assert_array_equal(center_crop(image, size), torchvision.transforms.CenterCrop(size)(image))


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
def test_resized_sizes_equal_torchvisions_for_every_size(torchvision, width, height, size):
    image = gradient((width, height))
    np.testing.assert_array_equal(resize_short_side(image, size), torchvision.transforms.Resize(size)(image))


def test_prepare_equals_torchvisions_preset_on_photographs(reference_data, torchvision):
    transforms = torchvision.transforms
    preset = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])
    for path in sorted((reference_data / "data" / "imagenet-samples").iterdir())[::50]:
        with Image.open(path) as image:
            expected = preset(image.convert("RGB"))
        np.testing.assert_array_equal(prepare(read_image(path), TORCHVISION), expected, err_msg=path.name)


def test_prepare_leaves_images_of_the_crops_size_alone(tmp_path):
    image = gradient((24, 24))
    image.save(tmp_path / "stimulus.png")
    np.testing.assert_array_equal(
        prepare(read_image(tmp_path / "stimulus.png"), Preprocessing(resize=32, crop=24)), image
    )


def test_prepared_pixels_have_the_promised_shape_and_type(tmp_path):
    gradient((50, 30)).save(tmp_path / "a.png")
    prepared = prepare(read_image(tmp_path / "a.png"), Preprocessing(resize=20, crop=16))
    assert prepared.shape == (16, 16, 3)
    assert prepared.dtype == np.uint8


class TestModes:
    """Whatever the file holds becomes 8-bit RGB, as a person expects."""

    def test_rgb_is_untouched(self, tmp_path):
        gradient((9, 7)).save(tmp_path / "a.png")
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), gradient((9, 7)))

    @pytest.mark.parametrize("mode", ["L", "1"])
    def test_gray_is_spread_over_the_channels(self, tmp_path, mode):
        gray = gradient((9, 7), mode)
        gray.save(tmp_path / "a.png")
        expected = np.repeat(np.asarray(gray.convert("L"))[..., None], 3, axis=-1)
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)

    @pytest.mark.parametrize("mode", ["RGBA", "LA"])
    def test_transparent_pixels_are_laid_on_white(self, tmp_path, mode):
        image = gradient((9, 7)).convert(mode)
        alpha = np.random.default_rng(1).integers(0, 256, (7, 9)).astype(np.uint8)
        alpha[0], alpha[1] = 0, 255
        image.putalpha(Image.fromarray(alpha))
        image.save(tmp_path / "a.png")
        color = np.asarray(image.convert("RGBA"))[..., :3].astype(float)
        weight = alpha[..., None] / 255
        read = np.asarray(read_image(tmp_path / "a.png"))
        np.testing.assert_allclose(read, weight * color + (1 - weight) * 255, atol=1)
        assert (read[0] == 255).all()
        np.testing.assert_array_equal(read[1], color[1])

    def test_transparent_palette_entries_become_white(self, tmp_path):
        image = Image.fromarray(np.arange(4, dtype=np.uint8).reshape(2, 2)).convert("P")
        image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
        image.save(tmp_path / "a.png", transparency=1)
        image.save(tmp_path / "b.png", transparency=bytes([255, 0, 255, 255]))  # one opacity per entry
        expected = [[[255, 0, 0], [255, 255, 255]], [[0, 0, 255], [9, 9, 9]]]
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)
        np.testing.assert_array_equal(read_image(tmp_path / "b.png"), expected)

    def test_a_transparent_color_of_an_rgb_png_becomes_white(self, tmp_path):
        pixels = np.array([[[1, 2, 3], [200, 0, 0]]], np.uint8)
        Image.fromarray(pixels).save(tmp_path / "a.png", transparency=(1, 2, 3))
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), [[[255, 255, 255], [200, 0, 0]]])

    @pytest.mark.parametrize("suffix", ["png", "tif"])
    def test_16_bit_gray_is_scaled(self, tmp_path, suffix):
        wide = np.array([[0, 257, 128, 129], [32768, 65535, 65278, 10280]], np.uint16)
        image = Image.fromarray(wide)
        assert image.mode == "I;16"
        image.save(tmp_path / f"a.{suffix}")
        expected = np.array([[0, 1, 0, 1], [128, 255, 254, 40]])
        np.testing.assert_array_equal(read_image(tmp_path / f"a.{suffix}"), np.repeat(expected[..., None], 3, axis=-1))

    def test_cmyk_jpeg(self, tmp_path):
        gradient((16, 16), "CMYK").save(tmp_path / "a.jpg", quality=95)
        with Image.open(tmp_path / "a.jpg") as image:
            assert image.mode == "CMYK"
            expected = np.asarray(image.convert("RGB"))
        np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), expected)

    def test_floating_point_pixels_are_refused(self, tmp_path):
        Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "a.tif")
        with pytest.raises(InputError, match=r"a\.tif cannot be decoded .*floating-point"):
            read_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (1, lambda a: a),
        (2, np.fliplr),
        (3, lambda a: np.rot90(a, 2)),
        (4, np.flipud),
        (5, lambda a: a.swapaxes(0, 1)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: np.rot90(a, 2).swapaxes(0, 1)),
        (8, np.rot90),
    ],
)
def test_exif_orientation_is_followed_on_request(tmp_path, orientation, turned):
    exif = Image.Exif()
    exif[0x0112] = orientation
    gradient((6, 4)).save(tmp_path / "a.png", exif=exif)
    stored = np.asarray(gradient((6, 4)))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), stored)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", upright=True), turned(stored))


class TestBadFiles:
    """Each gets one line that names the file, and nothing else escapes."""

    def refused(self, path: Path, *, because: str) -> None:
        for upright in (False, True):
            with pytest.raises(InputError, match=because) as caught:
                read_image(path, upright=upright)
            assert str(path) in str(caught.value)
            assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "bmp"])
    def test_truncated(self, tmp_path, suffix):
        path = tmp_path / f"cut.{suffix}"
        gradient((64, 64)).save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        self.refused(path, because="cannot be decoded|is damaged")

    def test_text_called_png(self, tmp_path):
        (tmp_path / "a.png").write_text("Not an image.")
        self.refused(tmp_path / "a.png", because="is not an image")

    def test_empty_file(self, tmp_path):
        (tmp_path / "a.jpg").touch()
        self.refused(tmp_path / "a.jpg", because="is not an image")

    def test_missing(self, tmp_path):
        self.refused(tmp_path / "a.jpg", because="there is no image")

    def test_folder_called_png(self, tmp_path):
        (tmp_path / "a.png").mkdir()
        self.refused(tmp_path / "a.png", because="cannot be decoded")

    # PIL warns above its limit, and raises above twice its limit.
    @pytest.mark.parametrize("limit", [1000, 400])
    def test_decompression_bomb(self, tmp_path, monkeypatch, limit):
        gradient((40, 30)).save(tmp_path / "a.png")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        self.refused(tmp_path / "a.png", because=rf"more than {limit:,} pixels")

    def test_damaged_bytes_never_raise_anything_else(self, tmp_path):
        rng = np.random.default_rng(0)
        outcomes = set()
        for suffix, mode in (
            ("jpg", "RGB"),
            ("jpg", "CMYK"),
            ("png", "P"),
            ("png", "RGBA"),
            ("gif", "P"),
            ("bmp", "RGB"),
        ):
            path = tmp_path / f"whole.{suffix}"
            gradient((40, 30), mode).save(path)
            whole = np.frombuffer(path.read_bytes(), np.uint8)
            for _ in range(60):
                damaged = whole[: rng.integers(1, len(whole) + 1)].copy()
                damaged[rng.integers(0, min(len(damaged), 200), 3)] = rng.integers(0, 256, 3)
                path.write_bytes(damaged.tobytes())
                try:
                    outcomes.add(read_image(path, upright=True).mode)
                except InputError:
                    outcomes.add("refused")
        assert outcomes == {"RGB", "refused"}


def corrupt_exif(path: Path) -> None:
    """A sound JPEG whose EXIF data end too early, which PIL warns about when it opens the file."""
    exif = Image.Exif()
    exif[0x010E] = "a description of some length"
    data = exif.tobytes()
    gradient((16, 16)).save(path, exif=data[:-20])
    with pytest.warns(UserWarning, match="Truncated File Read|EXIF"), Image.open(path) as image:
        image.getexif()


def test_unreadable_metadata_does_not_warn(tmp_path):
    corrupt_exif(tmp_path / "a.jpg")
    assert read_image(tmp_path / "a.jpg", upright=True).size == (16, 16)  # warnings are errors here


def test_threads_leave_the_warning_filters_as_they_were(tmp_path):
    gradient((300, 300)).save(tmp_path / "a.png")  # large enough for threads to take turns while it is decoded
    before = list(warnings.filters)

    def read_often() -> None:
        for _ in range(20):
            read_image(tmp_path / "a.png")

    threads = [threading.Thread(target=read_often) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before


def test_endings_count_in_any_case():
    assert all(is_image(Path(name)) for name in ("a.png", "b.JPEG", "c.Jpg", "d.TIF", "e.webp"))
    assert not any(is_image(Path(name)) for name in ("a.txt", "png", ".hidden.png", "a.png.csv", "a"))
