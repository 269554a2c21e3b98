"""Relevance against zennit's, computed in double precision; see the README of the goldens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from relevance.conftest import TOP_K, golden, network

from sparseshape_jax import TopK
from sparseshape_jax.preprocessing import CAFFE, Preprocessing
from sparseshape_jax.relevance import Composite, Explainer, gradient_of, gradient_times_input, integrated_gradients
from sparseshape_jax.relevance.composite import COMPOSITES
from sparseshape_jax.relevance.gradients import gradient_of_function

TOLERANCES = {"epsilon": 5e-3, "epsilon_alpha2_beta1": 1e-3, "epsilon_alpha2_beta1_flat": 1e-3}
SMALL = ("vgg_small", "vgg_bn_small", "resnet18_narrow")


def assert_near(found, expected, tolerance):
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


def compare(reference_data, name, composite, prefix):
    found, net = golden(reference_data, name), network(reference_data, name)
    at = TOP_K[name] if prefix else {}
    names = [key.rpartition("/")[2] for key in found if key.startswith(f"{prefix}layer_sums/{composite}/")]
    explained = Explainer(net, Composite(composite))(found["x"], found["classes"], at, names)
    tolerance = TOLERANCES.get(composite, 1e-4)
    assert_near(explained.input, found[f"{prefix}relevance/{composite}"], tolerance)
    assert_near(explained.logits, found[f"{prefix}logits"], 1e-5)
    sums = found[f"{prefix}sums/{composite}"]
    size = np.abs(explained.input).sum(axis=(1, 2, 3))
    assert (np.abs(explained.input.sum(axis=(1, 2, 3)) - sums[:, 0]) <= tolerance * size).all()
    assert len(names) > 5
    for each in names:
        own = explained.at[each].reshape(len(sums), -1)
        expected = found[f"{prefix}layer_sums/{composite}/{each}"]
        assert (np.abs(own.sum(axis=1) - expected) <= tolerance * np.abs(own).sum(axis=1)).all(), each
        if (key := f"{prefix}layer_relevance/{composite}/{each}") in found:
            assert_near(explained.at[each], found[key], tolerance)


QUICKLY = {
    "vgg_small": ("epsilon_gamma_box", "thesis"),
    "vgg_bn_small": ("epsilon", "epsilon_alpha2_beta1_flat"),
    "resnet18_narrow": ("epsilon_plus",),
}
"""Compiling takes nearly all the time; each rule once, each network once, the rest among the slow."""


@pytest.mark.parametrize(
    ("name", "composite", "prefix"),
    [
        pytest.param(name, each, prefix, marks=() if each in QUICKLY[name] and prefix == "topk/" else pytest.mark.slow)
        for name in SMALL
        for each in COMPOSITES
        for prefix in ("", "topk/")
    ],
)
def test_small_networks(reference_data, name, composite, prefix):
    compare(reference_data, name, composite, prefix)


@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["", "topk/"])
@pytest.mark.parametrize("composite", COMPOSITES)
def test_resnet50(reference_data, composite, prefix):
    compare(reference_data, "resnet50_narrow", composite, prefix)


NETWORKS = [
    pytest.param(name, prefix, marks=() if (name, prefix) == ("vgg_bn_small", "topk/") else pytest.mark.slow)
    for name in SMALL
    for prefix in ("", "topk/")
]


@pytest.mark.parametrize(("name", "prefix"), NETWORKS)
def test_gradients(reference_data, name, prefix):
    found = golden(reference_data, name)
    gradient = gradient_of(network(reference_data, name), TOP_K[name] if prefix else {})
    x, classes = found["x"], found["classes"]
    assert_near(gradient_times_input(gradient, x, classes), found[f"{prefix}gradient_times_input"], 1e-4)
    integrated = integrated_gradients(gradient, x, classes, steps=32)
    assert_near(integrated.input, found[f"{prefix}integrated_gradients"], 1e-4)


def assert_alike(relevance, times_input):
    assert np.corrcoef(relevance.ravel(), times_input.ravel())[0, 1] > 0.9999


DEEP = [pytest.param("resnet50_narrow", prefix, marks=pytest.mark.slow) for prefix in ("", "topk/")]


@pytest.mark.parametrize(("name", "prefix"), [*NETWORKS, *DEEP])
def test_epsilon_is_gradient_times_input(reference_data, name, prefix):
    found = golden(reference_data, name)
    at = TOP_K[name] if prefix else {}
    net = network(reference_data, name)
    relevance = Explainer(net, Composite("epsilon"))(found["x"], found["classes"], at).input
    assert_alike(relevance, gradient_times_input(gradient_of(net, at), found["x"], found["classes"]))


@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["", "topk/"])
def test_epsilon_is_gradient_times_input_in_squeezenet(reference_data, prefix):
    found, net = golden(reference_data, "squeezenet"), network(reference_data, "squeezenet")
    x, at = squeezenet_inputs(found), squeezenet_top_k(found) if prefix else {}
    relevance = Explainer(net, Composite("epsilon"), CAFFE)(x, found["classes"], at).input
    assert_alike(relevance, gradient_times_input(gradient_of(net, at), x, found["classes"]))


@pytest.mark.slow
@pytest.mark.parametrize("at", [{}, {"pool1": TopK(0.2)}], ids=["dense", "topk"])
def test_epsilon_is_gradient_times_input_in_vgg16s_trunk(reference_data, at):
    found, net = golden(reference_data, "vgg16_trunk"), network(reference_data, "vgg16_trunk")
    x, channel = trunk_inputs(found), int(found["channel"])
    # The gradient of the sum that relevance starts from.
    gradient = gradient_of_function(lambda x: net(x, at=at)[..., channel].sum(axis=(1, 2))[:, None])
    relevance = Explainer(net, Composite("epsilon"))(x, at=at, start=only(channel)).input
    assert_alike(relevance, gradient_times_input(gradient, x, np.zeros(len(x), int)))


def squeezenet_inputs(found):
    return np.asarray(found["images"][..., ::-1], np.float32) - found["mean_bgr"].astype(np.float32)


def squeezenet_top_k(found):
    return dict.fromkeys(found["topk/after"].tolist(), TopK(float(found["topk/fraction"])))


def trunk_inputs(found):
    return np.asarray(Preprocessing().normalize(found["images"].astype(np.float64) / 255), np.float32)


def only(channel):
    """Relevance starts with the activations of one channel."""

    def start(features):
        return features.at[..., :channel].set(0).at[..., channel + 1 :].set(0)

    return start


def composite_of(key):
    """`+head` means that SqueezeNet's last convolution is treated as a classifier, which is our default."""
    name, plus, _ = key.partition("+")
    return Composite(name) if plus else Composite(name, head="convolution")


SQUEEZENET = [
    ("", name)
    for name in (
        "epsilon",
        "epsilon_plus",
        "epsilon_plus_flat",
        "epsilon_alpha2_beta1",
        "epsilon_alpha2_beta1_flat",
        "epsilon_gamma_box",
        "epsilon_plus_flat+head",
        "epsilon_alpha2_beta1_flat+head",
        "epsilon_gamma_box+head",
    )
] + [("topk/", name) for name in ("epsilon_plus", "epsilon_plus_flat+head", "epsilon_alpha2_beta1_flat+head")]


@pytest.mark.slow
@pytest.mark.parametrize(("prefix", "composite"), SQUEEZENET)
def test_squeezenet(reference_data, prefix, composite):
    found, net = golden(reference_data, "squeezenet"), network(reference_data, "squeezenet")
    x, at = squeezenet_inputs(found), squeezenet_top_k(found) if prefix else {}
    names = [key.rpartition("/")[2] for key in found if key.startswith(f"{prefix}layer_sums/{composite}/")]
    explained = Explainer(net, composite_of(composite), CAFFE)(x, found["classes"], at, names)
    tolerance = TOLERANCES.get(composite.partition("+")[0], 1e-4)
    assert_near(explained.input, found[f"{prefix}relevance/{composite}"], tolerance)
    assert_near(explained.logits, found[f"{prefix}logits"], 1e-5)
    for each in names:
        own = explained.at[each].reshape(2, -1)
        expected = found[f"{prefix}layer_sums/{composite}/{each}"]
        assert (np.abs(own.sum(axis=1) - expected) <= tolerance * np.abs(own).sum(axis=1)).all(), each


@pytest.mark.slow
def test_squeezenet_gradients(reference_data):
    found = golden(reference_data, "squeezenet")
    x = squeezenet_inputs(found)
    gradient = gradient_of(network(reference_data, "squeezenet"))
    assert_near(gradient_times_input(gradient, x, found["classes"]), found["gradient_times_input"], 1e-4)
    integrated = integrated_gradients(gradient, x, found["classes"], steps=16)
    assert_near(integrated.input, found["integrated_gradients"], 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("composite", ["epsilon_plus_flat", "epsilon_alpha2_beta1_flat+head"])
def test_a_whole_photograph(reference_data, composite):
    found, net = golden(reference_data, "squeezenet"), network(reference_data, "squeezenet")
    x = np.asarray(found["full/image"][None, ..., ::-1], np.float32) - found["mean_bgr"].astype(np.float32)
    explained = Explainer(net, composite_of(composite), CAFFE)(x, [int(found["full/class"])])
    assert abs(explained.logits[0, found["full/class"]] - found["full/logit"]) < 1e-4
    expected = found[f"full/relevance_channel_sum/{composite}"]
    off = np.abs(explained.input[0].sum(axis=-1) - expected) / np.abs(expected).max()
    # In single precision one max-pool takes another of nearly equal winners, which moves relevance by a pixel or two.
    assert (off <= TOLERANCES.get(composite.partition("+")[0], 1e-4)).mean() > 0.9995
    assert off.max() < 1e-3


@pytest.mark.slow
def test_a_whole_photograph_in_double_precision(reference_data):
    found, net = golden(reference_data, "squeezenet"), network(reference_data, "squeezenet")
    x = np.asarray(found["full/image"][None, ..., ::-1], np.float64) - found["mean_bgr"]
    with jax.enable_x64(True):
        state = nnx.state(net, nnx.Param)
        nnx.update(net, jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), state))
        explainer = Explainer(net, Composite("epsilon_plus_flat", head="convolution"), CAFFE)
        explained = explainer(x, [int(found["full/class"])])
    assert explained.input.dtype == np.float64
    assert_near(explained.input[0].sum(axis=-1), found["full/relevance_channel_sum/epsilon_plus_flat"], 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("composite", [name for name in COMPOSITES if name not in ("thesis", "epsilon_alpha2_beta1")])
def test_vgg16_trunk(reference_data, composite):
    found, net = golden(reference_data, "vgg16_trunk"), network(reference_data, "vgg16_trunk")
    explained = Explainer(net, Composite(composite))(trunk_inputs(found), start=only(int(found["channel"])))
    assert_near(explained.logits, found["pool5"], 1e-4)
    assert_near(explained.input, found[f"relevance/{composite}"], TOLERANCES.get(composite, 1e-4))
