"""An architecture of one's own, registered with one call, in every job: tests/support/gated.py."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from PIL import Image
from support import gated

from sparseshape_jax import InputError, TopK, load, place
from sparseshape_jax.models import build
from sparseshape_jax.top_k.placement import parse
from sparseshape_jax.weights.assign import save_safetensors, save_torch


def noise_network(seed: int = 0) -> gated.Gated:
    network = build("gated", start="noise", num_classes=3, rngs=nnx.Rngs(seed))
    assert isinstance(network, gated.Gated)
    return network


def script(*arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, gated.__file__, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def images(tmp_path) -> Path:
    """Reddish and bluish noise, 32 images each."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name, tint in (("blue", (0, 0, 120)), ("red", (120, 0, 0))):
            (tmp_path / "images" / split / name).mkdir(parents=True)
            for index in range(32):
                pixels = rng.integers(0, 136, (16, 16, 3)) + np.array(tint)
                Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "images" / split / name / f"{index}.png")
    return tmp_path / "images"


def test_trains_and_evaluates_from_images(images, tmp_path):
    out = tmp_path / "run"
    settings = ["--model", "gated", "--topk.fraction", "0.5", "--epochs", "6", "--data.image_size", "16"]
    settings += ["--data.augment.crop", "padded", "--data.augment.padding", "0", "--optimizer.learning_rate", "0.2"]
    script("train", "classifier", *settings, "--data.path", str(images), "--out", str(out))
    loaded = load(None, weights=out)
    assert loaded.network.architecture == "gated"
    assert loaded.top_k == (TopK(0.5, after=("feat_4",)),)

    measured = ["--weights", str(out), "--data", str(images / "val"), "--fractions", "trained", "0.1", "1"]
    script("evaluate", "accuracy", *measured, "--out", str(tmp_path / "accuracy"))
    rows = json.loads((tmp_path / "accuracy" / "results.json").read_text())["rows"]
    assert [[spec["after"] for spec in row["top_k"]] for row in rows] == [[["feat_4"]], [["feat_4"]], []]
    assert rows[0]["top1"] > 0.9
    trained = json.loads((out / "results.json").read_text())["rows"][-1]
    assert rows[0]["top1"] == pytest.approx(trained["top1"])
    assert rows[1]["loss"] != rows[0]["loss"]


def test_a_start_from_noise_trains_with_two_outputs():
    """Both outputs are fitted to targets; Top-K at the gate's source acts on the gate as well."""
    network = noise_network()
    rng = np.random.default_rng(0)
    noise = jnp.asarray(rng.normal(size=(8, gated.NOISE)), jnp.float32)
    images = jnp.asarray(rng.uniform(-0.5, 0.5, (8, 4, 4, 3)), jnp.float32)
    labels = jnp.arange(8) % 3
    at = place(TopK(0.5), network)
    graphdef, params, rest = nnx.split(network, nnx.Param, ...)
    optimizer = optax.sgd(0.1, momentum=0.9)

    @jax.jit
    def step(params, rest, state):
        def loss_of(params):
            model = nnx.merge(graphdef, params, rest, copy=True)
            out = model.activations(noise, ("image", "logits"), at=at)
            loss = jnp.mean((out["image"] - images) ** 2)
            loss += jnp.mean(optax.softmax_cross_entropy_with_integer_labels(out["logits"], labels))
            return loss, nnx.state(model, nnx.Not(nnx.Param))

        (loss, rest), gradient = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), rest, state, loss

    state, losses = optimizer.init(params), []
    for _ in range(60):
        params, rest, state, loss = step(params, rest, state)
        losses.append(float(loss))
    assert losses[-1] < losses[0] / 2


def test_the_gate_receives_what_top_k_left_of_its_source():
    network = noise_network()
    network.eval()
    noise = jnp.asarray(np.random.default_rng(1).normal(size=(2, gated.NOISE)), jnp.float32)
    seen = network.activations(noise, network.names, at={"feat_4": TopK(0.25)})
    assert np.all(np.sum(np.asarray(seen["feat_4"]) != 0, axis=(1, 2)) <= 4)
    gate = nnx.sigmoid(network.gate(seen["feat_4"].mean(axis=(1, 2))))
    np.testing.assert_allclose(seen["gated"], seen["feat_8"] * gate[:, None, None], rtol=1e-6)
    np.testing.assert_allclose(seen["logits"], network.fc(seen["gated"].mean(axis=(1, 2))), rtol=1e-5)
    assert parse("4_10", network) == (TopK(0.1, after=("feat_4",)),)


def test_weights_are_saved_and_loaded_whole(tmp_path):
    network = noise_network(seed=3)
    network.eval()
    options = {"options": json.dumps({"start": "noise", "num_classes": 3})}
    save_safetensors(network, tmp_path / "gated.safetensors", options)
    save_torch(network, tmp_path / "gated.pth")
    noise = jnp.ones((2, gated.NOISE))
    for loaded in (
        load("gated", weights=tmp_path / "gated.safetensors"),
        load("gated", weights=tmp_path / "gated.pth", start="noise"),
    ):
        for name in ("image", "logits"):
            np.testing.assert_array_equal(
                loaded.network.activations(noise, [name])[name], network.activations(noise, [name])[name]
            )
    with pytest.raises(InputError, match="do not fit gated"):
        load("gated", weights=tmp_path / "gated.pth")  # the start from images has another first layer
    with pytest.raises(InputError, match=r"the noise has shape \(2, 5\); it must be \(N, 6\)"):
        network(jnp.ones((2, 5)))
