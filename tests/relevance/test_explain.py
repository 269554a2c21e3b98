"""What must hold for relevance of whole networks."""

import os
import subprocess
import sys
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from relevance.conftest import TOP_K
from support.commands import on_devices
from support.networks import fill, random_network
from support.small_vgg import SmallVGG

from sparseshape_jax import TopK
from sparseshape_jax.errors import InputError
from sparseshape_jax.models import Network
from sparseshape_jax.models.layers import GlobalAverage, SqueezeExcitation
from sparseshape_jax.relevance import (
    Composite,
    Explainer,
    gradient_of,
    gradient_times_input,
    integrated_gradients,
    ledger,
    relevance,
    smooth_grad,
)
from sparseshape_jax.relevance.composite import COMPOSITES
from sparseshape_jax.relevance.gradients import gradient_of_function
from sparseshape_jax.relevance.twin import Folded

AT = TOP_K["vgg_bn_small"]
RESIDUAL = ("resnet18", "resnet50", "resnext50", "se_resnet50", "se_resnext50")


def inputs(count=3, side=16, seed=0):
    return np.random.default_rng(seed).uniform(-2, 2.4, (count, side, side, 3)).astype(np.float32)


def set_vectors(network, *, biases):
    """Draw biases and running means, or set them to 0, and draw scales and variances around 1."""
    rng = np.random.default_rng(0)
    state = nnx.state(network, nnx.Any(nnx.Param, nnx.BatchStat))
    for path, leaf in nnx.to_flat_state(state):
        name = path[-1]
        if name in ("bias", "mean"):
            leaf[...] = jnp.asarray(rng.normal(0, 0.3, leaf.shape) * biases, jnp.float32)
        elif name in ("scale", "var"):
            leaf[...] = jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), jnp.float32)
    nnx.update(network, state)
    network.eval()
    return network


@cache
def small(*, batch_norm=True, biases=True):
    """The small VGG with random weights, running means and variances."""
    network = nnx.eval_shape(lambda: SmallVGG(batch_norm=batch_norm, rngs=nnx.Rngs(0)))
    return set_vectors(fill(network), biases=biases)


@cache
def explainer(name="epsilon_gamma_box"):
    """Compiling takes nearly all the time, so most tests ask for the same program."""
    return Explainer(small(), Composite(name))


def explained(x, classes):
    """Relevance of three images with Top-K inside, of the pixels and at pool1."""
    return explainer()(x, classes, AT, ("pool1",))


def assert_conserved(network, x, composite, tolerance=1e-4):
    explainer = Explainer(network, composite)
    # SqueezeNet's other logits may be 0.
    classes = explainer(x, np.zeros(len(x), int)).logits.argmax(axis=1)
    found = explainer(x, classes)
    logits = found.logits[np.arange(len(x)), classes]
    assert (np.abs(logits) > 1e-3).all()
    assert (np.abs(found.input.sum(axis=(1, 2, 3)) - logits) <= tolerance * np.abs(logits)).all()


class TestConservation:
    def test_without_biases_relevance_adds_up_to_the_logit(self):
        network = small(batch_norm=False, biases=False)
        for name in ("epsilon_gamma_box", "epsilon_plus_flat"):
            assert_conserved(network, inputs(), Composite(name))

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["epsilon", "epsilon_gamma_box", "epsilon_plus", "epsilon_plus_flat"])
    @pytest.mark.parametrize("architecture", ["squeezenet1_1", "vgg11", "resnet18"])
    def test_of_the_packages_networks(self, architecture, name):
        if architecture == "resnet18" and "plus" in name:
            pytest.skip("a negative branch without a positive contribution has an empty denominator")
        # Where activations shrink from layer to layer, the stabilizer is no longer small.
        options = {"width": 1 / 8} if architecture == "resnet18" else {"gain": 1.5}
        network = set_vectors(random_network(architecture, num_classes=10, **options), biases=False)
        assert_conserved(network, inputs(2, 64), Composite(name))

    def test_the_ledger_balances_at_every_layer(self):
        self.balance(small(), "epsilon_gamma_box", inputs(), AT)

    @pytest.mark.slow
    @pytest.mark.parametrize("name", COMPOSITES)
    @pytest.mark.parametrize("architecture", ["squeezenet1_1", "vgg11_bn", "alexnet", *RESIDUAL])
    def test_of_all_networks(self, architecture, name):
        # Narrow, and with the fewest positions that leave something at the end.
        options = {"width": 1 / 16} if architecture in RESIDUAL else {}
        network = random_network(architecture, num_classes=10, **options)
        self.balance(network, name, inputs(2, 64 if architecture == "alexnet" else 33))

    def balance(self, network, name, x, at=None):
        explainer = Explainer(network, Composite(name))
        classes = explainer(x, np.zeros(len(x), int), at, accounts=True).logits.argmax(axis=1)
        found = explainer(x, classes, at, accounts=True)
        accounts = ledger(network, x, classes, Composite(name), at=at)
        assert list(accounts) == list(found.accounts)
        # Gates have no account, because nothing goes into them.
        layers = [path for path, module in nnx.iter_modules(network) if isinstance(module, nnx.Conv | nnx.Linear)]
        assert {".".join(map(str, path)) for path in layers if "gate" not in path} <= set(accounts)
        total = size = 0
        for layer, entries in accounts.items():
            lost = entries["bias"] + entries["stabilizer"] + entries["empty"]
            assert (np.abs(entries["in"] + lost - entries["out"]) <= 1e-4 * entries["absolute"]).all(), layer
            assert (entries["absolute"] * (1 + 1e-6) >= np.maximum(np.abs(entries["in"]), np.abs(entries["out"]))).all()
            total, size = total + lost, np.maximum(size, entries["absolute"])
        # All together: what the pixels get and what was lost on the way is the logit.
        sums = found.input.sum(axis=(1, 2, 3))
        logits = found.logits[np.arange(len(x)), classes]
        assert (np.abs(logits) > 1e-3).all()
        assert (np.abs(sums + total - logits) <= 1e-4 * size).all()
        first = next(layer for layer in accounts if layer in ("conv1", "conv1_1"))
        np.testing.assert_allclose(accounts[first]["in"], sums, atol=1e-4 * accounts[first]["absolute"].max())


class TestBatches:
    def test_an_image_alone_gives_what_it_gives_in_a_batch(self):
        x = inputs()
        together = explained(x, [0, 1, 2])
        for index in range(len(x)):
            alone = explained(x[index : index + 1], [index])
            for found, expected in (
                (alone.input[0], together.input[index]),
                (alone.at["pool1"][0], together.at["pool1"][index]),
            ):
                np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())

    def test_several_classes_give_what_each_gives(self):
        x = inputs()
        together = explained(x, [[0, 3], [1, 4], [2, 0]])
        assert together.input.shape == (3, 2, 16, 16, 3)
        for position, classes in enumerate(([0, 1, 2], [3, 4, 0])):
            alone = explained(x, classes)
            scale = np.abs(alone.input).max()
            np.testing.assert_allclose(together.input[:, position], alone.input, atol=1e-5 * scale)
            np.testing.assert_allclose(together.at["pool1"][:, position], alone.at["pool1"], atol=1e-4)

    def test_an_image_that_is_not_a_number_leaves_the_others_alone(self):
        x = inputs()
        expected = explained(x, [0, 1, 2]).input
        x[1] = np.nan
        found = explained(x, [0, 1, 2]).input
        assert np.array_equal(found[[0, 2]], expected[[0, 2]])

    @pytest.mark.slow
    def test_four_devices_give_what_one_does(self, tmp_path):
        script = (
            "import sys, jax, numpy as np\n"
            "from relevance.test_explain import AT, Explainer, inputs, small\n"
            "assert jax.local_device_count() == int(sys.argv[2])\n"
            "np.save(sys.argv[1], Explainer(small())(inputs(5), [0, 1, 2, 3, 4], AT).input)\n"
        )
        found = []
        for devices in (1, 4):
            environment = on_devices(devices, PYTHONPATH=os.pathsep.join(sys.path))
            path = tmp_path / f"{devices}.npy"
            subprocess.run([sys.executable, "-c", script, path, str(devices)], env=environment, check=True)
            found.append(np.load(path))
        np.testing.assert_allclose(found[0], found[1], atol=1e-5 * np.abs(found[0]).max())


class TestTwin:
    def test_has_the_networks_values(self):
        x = inputs()
        found = explained(x, [0, 0, 0])
        np.testing.assert_allclose(found.logits, small()(jnp.asarray(x), at=AT), atol=2e-5)

    def test_does_not_touch_the_network(self):
        network, x = small(), jnp.asarray(inputs())
        before = np.asarray(network(x))
        relevance(network, np.asarray(x), [0, 0, 0], at=AT, names=("pool1",))
        assert np.array_equal(network(x), before)

    @pytest.mark.parametrize(
        "name", ["epsilon_alpha2_beta1", *(pytest.param(name, marks=pytest.mark.slow) for name in COMPOSITES[:2])]
    )
    def test_leaving_out_negative_inputs_changes_nothing(self, name):
        network, x = small(), inputs()
        both = [
            Explainer(network, Composite(name), nonnegative=value)(x, [0, 1, 2], AT).input for value in (False, True)
        ]
        np.testing.assert_allclose(*both, atol=1e-5 * np.abs(both[0]).max())

    def test_relevance_at_a_name_is_after_what_is_applied_there(self):
        found = explained(inputs(), [0, 1, 2])
        kept = (found.at["pool1"] != 0).mean(axis=(1, 2))
        assert kept.max() <= 0.2
        assert kept.max() > 0.05

    def test_other_kinds_of_top_k_keep_the_account(self):
        at = {
            "relu1_1": TopK(0.3, mean_replace=True),
            "pool1": TopK(0.2, keep="rest"),
            "relu2_2": TopK(0.3, blend=0.5),
        }
        network, x = small(batch_norm=False, biases=False), inputs()
        with jax.numpy_dtype_promotion("standard"):  # the mean of survivors divides by whole numbers
            found = relevance(network, x, [0, 1, 2], Composite("epsilon_plus"), at=at)
            logits = found.logits[np.arange(3), [0, 1, 2]]
        np.testing.assert_allclose(found.input.sum(axis=(1, 2, 3)), logits, rtol=1e-3)

    def test_a_rule_of_a_single_layer(self):
        x = inputs()
        usual = explained(x, [0, 1, 2]).input
        own = relevance(small(), x, [0, 1, 2], Composite(layers={"conv2_1": "epsilon"}), at=AT).input
        assert np.abs(usual - own).max() > 1e-3 * np.abs(usual).max()

    def test_starts_where_it_is_told(self):
        x = inputs()
        by_class = explained(x, [2, 2, 2]).input
        started = explainer()(x, at=AT, start=lambda logits: logits * jnp.eye(5)[2][None]).input
        np.testing.assert_allclose(started, by_class, atol=1e-6 * np.abs(by_class).max())


class Normed(Network):
    """A network with layers that have no rule."""

    def __init__(self, norm, rngs):
        self.architecture = "normed"
        self.conv1 = nnx.Conv(3, 4, (3, 3), rngs=rngs)
        self.strange = norm
        self.fc = nnx.Linear(4, 3, rngs=rngs)

    def steps(self):
        yield "conv1", self.conv1
        yield "strange", self.strange
        yield "logits", lambda x: self.fc(x.mean(axis=(1, 2)))


class Gated(Network):
    """A convolution, a gate, and a classifier."""

    def __init__(self, rngs):
        self.architecture = "gated"
        self.conv1 = nnx.Conv(3, 8, (3, 3), rngs=rngs)
        self.gate = SqueezeExcitation(8, 4, rngs=rngs)
        self.average = GlobalAverage()
        self.fc = nnx.Linear(8, 3, rngs=rngs)

    def steps(self):
        yield "conv1", self.conv1
        yield "relu1", nnx.relu
        yield "gate", self.gate
        yield "average", self.average
        yield "logits", self.fc


def test_a_gate_is_a_constant_factor():
    gated, x = fill(nnx.eval_shape(lambda: Gated(nnx.Rngs(0)))), inputs(1)
    gated.eval()
    before = gated.activations(jnp.asarray(x), ("relu1", "average"))
    factors = before["average"][0] / before["relu1"][0].mean(axis=(0, 1))
    assert 0 < factors.min() < factors.max() < 1
    constant = nnx.clone(gated)
    constant.gate = Folded()  # which leaves activations as they are
    constant.fc.kernel.set_value(jnp.asarray(gated.fc.kernel[...]) * factors[:, None])
    found, expected = (Explainer(network, nonnegative=True)(x, [1], accounts=True) for network in (gated, constant))
    np.testing.assert_allclose(found.logits, expected.logits, rtol=1e-5)
    np.testing.assert_allclose(found.input, expected.input, atol=1e-5 * np.abs(expected.input).max())
    assert list(found.accounts) == ["conv1", "average", "fc"]


class TestRefusals:
    @pytest.mark.parametrize(
        ("norm", "message"),
        [
            (
                lambda: nnx.LayerNorm(4, rngs=nnx.Rngs(0)),
                "strange is a LayerNorm, for which there is no relevance rule",
            ),
            (lambda: nnx.BatchNorm(4, rngs=nnx.Rngs(0)), "the normalization strange belongs to no convolution"),
        ],
    )
    def test_layers_without_a_rule(self, norm, message):
        network = fill(nnx.eval_shape(lambda: Normed(norm(), nnx.Rngs(0))))
        network.eval()
        with pytest.raises(InputError, match=message):
            relevance(network, inputs(), [0, 0, 0])

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"classes": None}, "give one for each image"),
            ({"classes": [0, 1, 5]}, "there is no class 5; the network has 5, from 0"),
            ({"classes": [0, 1, -1]}, "there is no class"),
            ({"names": ("pool9",)}, "no activation called 'pool9'"),
            ({"at": {"conv1_1": TopK(0.2)}}, "apply it after bn1_1"),
            ({"composite": Composite(layers={"conv9": "zplus"})}, "has no layer conv9 .*; it has conv1_1, conv1_2"),
            ({"composite": Composite(layers={"conv1_2": "flat"})}, "first convolution only, not for conv1_2"),
        ],
    )
    def test_settings(self, settings, message):
        with pytest.raises(InputError, match=message):
            relevance(small(), inputs(), **{"classes": [0, 1, 2], **settings})

    def test_a_trunk_without_a_start(self):
        trunk = random_network("vgg11", trunk_only=True)
        with pytest.raises(InputError, match="has no logits to start from; give the relevance of pool5"):
            relevance(trunk, inputs(1, 32), [0])
        with pytest.raises(InputError, match="has no logits"):
            gradient_of(trunk)


class TestGradients:
    def test_of_a_linear_function_all_agree(self):
        weights = np.random.default_rng(0).normal(size=(16 * 16 * 3, 4)).astype(np.float32)
        gradient = gradient_of_function(lambda x: x.reshape(len(x), -1) @ jnp.asarray(weights) + 3)
        x, classes = inputs(), np.array([0, 1, 3])
        slopes = weights.T[classes].reshape(x.shape)
        np.testing.assert_allclose(gradient_times_input(gradient, x, classes), x * slopes, rtol=1e-5)
        found = integrated_gradients(gradient, x, classes, baseline=0.5, steps=3)
        np.testing.assert_allclose(found.input, (x - 0.5) * slopes, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found.gap, 0, atol=1e-3)
        np.testing.assert_allclose(smooth_grad(gradient, x, classes, copies=2), slopes, rtol=1e-5)

    def test_smooth_grad_is_seeded_and_independent_of_the_batch(self):
        gradient, x = gradient_of(small()), inputs()
        found = smooth_grad(gradient, x, [0, 1, 2], copies=3)
        assert np.array_equal(found, smooth_grad(gradient, x, [0, 1, 2], copies=3))
        np.testing.assert_allclose(smooth_grad(gradient, x[1:2], [1], copies=3)[0], found[1], atol=1e-5)
        assert not np.allclose(found, smooth_grad(gradient, x, [0, 1, 2], copies=3, seed=1))
        without = smooth_grad(gradient, x, [0, 1, 2], copies=1, sigma=0)
        np.testing.assert_allclose(without, gradient(x, [0, 1, 2])[0], atol=1e-6)

    def test_refuses(self):
        gradient = gradient_of(small())
        with pytest.raises(InputError, match="steps is 0"):
            integrated_gradients(gradient, inputs(), [0, 1, 2], steps=0)
        with pytest.raises(InputError, match="copies is 0"):
            smooth_grad(gradient, inputs(), [0, 1, 2], copies=0)
