"""Registered architectures: known by name, replaceable, saved and loaded; and networks whose steps branch."""

from collections.abc import Iterator

import jax
import numpy as np
import pytest
from flax import nnx
from support.networks import own_registry, random_network

from sparseshape_jax import InputError, TopK, models, place
from sparseshape_jax.weights import keys
from sparseshape_jax.weights.assign import export, save_safetensors
from sparseshape_jax.weights.load import load
from sparseshape_jax.weights.read import read_arrays


class Toy(models.Network):
    """A convolution, a place for Top-K, a classifier."""

    def __init__(self, *, num_classes: int = 10, width: int = 4, trunk_only: bool = False, dtype=None, rngs) -> None:
        self.architecture = "toy"
        self.trunk_only = trunk_only
        self.conv = nnx.Conv(3, width, (3, 3), dtype=dtype, rngs=rngs)
        if not trunk_only:
            self.fc = nnx.Linear(width, num_classes, dtype=dtype, rngs=rngs)

    def steps(self):
        yield "conv", self.conv
        yield "relu", nnx.relu
        if not self.trunk_only:
            yield "logits", lambda x: self.fc(x.mean((1, 2)))


OPTIONS = frozenset({"num_classes", "width"})
TOY = models.Architecture(Toy, options=OPTIONS, head=("fc",), top_k_after=("relu",))
IMAGES = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)


@pytest.fixture(autouse=True)
def toy() -> Iterator[None]:
    with own_registry():
        models.register("toy", TOY)
        yield


def test_it_is_known_by_name() -> None:
    assert models.architectures()[-1] == "toy"
    assert models.architecture("toy") is TOY
    network = random_network("toy", width=6, num_classes=3)
    assert models.architecture_of(network) is TOY
    assert network(IMAGES).shape == (2, 3)
    assert place(TopK(0.1), network) == {"relu": TopK(0.1)}
    assert random_network("toy", trunk_only=True).names == ("conv", "relu")


def test_options_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="toy has no option depth, pooling; it has dtype, num_classes, trunk_only, wi"):
        models.build("toy", rngs=nnx.Rngs(0), pooling="average", depth=18)
    with pytest.raises(InputError, match="toy cannot be built with width"):
        models.build("toy", rngs=nnx.Rngs(0), width="wide")
    with pytest.raises(InputError, match=r"no architecture 'tin'; there are alexnet, .*, toy$"):
        models.build("tin", rngs=nnx.Rngs(0))


def test_a_second_registration_replaces_the_first() -> None:
    other = models.Architecture(lambda **options: Toy(width=2, **options), top_k_after=("conv",))
    models.register("toy", other)
    assert models.architectures().count("toy") == 1
    network = models.build("toy", rngs=nnx.Rngs(0))
    assert place(TopK(0.1), network) == {"conv": TopK(0.1)}
    with pytest.raises(InputError, match="toy has no option width"):
        models.build("toy", rngs=nnx.Rngs(0), width=3)


@pytest.mark.parametrize("layers", [{}, {"features.0": "conv", "classifier": "fc"}], ids=["own names", "other names"])
def test_its_weights_are_saved_and_loaded(tmp_path, layers) -> None:
    models.register("toy", models.Architecture(Toy, options=OPTIONS, head=("fc",), torch_layers=layers))
    network, file = random_network("toy", width=6, num_classes=3), tmp_path / "toy.safetensors"
    save_safetensors(network, file, {"options": '{"width": 6}'})
    expected = ["features.0.weight", "features.0.bias", "classifier.weight", "classifier.bias"]
    if not layers:
        expected = ["conv.bias", "conv.kernel", "fc.bias", "fc.kernel"]
    assert list(export(network)) == expected
    loaded = load(None, weights=file)
    assert loaded.num_classes == 3
    np.testing.assert_array_equal(loaded.network(IMAGES), network(IMAGES))
    trunk = load("toy", weights=file, trunk_only=True).network
    np.testing.assert_array_equal(trunk(IMAGES), network.activations(IMAGES, ("relu",))["relu"])
    detected = keys.detect(read_arrays(file))
    assert (detected and detected.architecture) == ("toy" if layers else None)  # its own names cannot be told apart


class Branching(models.Network):
    """From noise to two images, with a gate that skips a stage: the shape of FastGAN's generator."""

    def __init__(self, *, computed: list[str] | None = None, rngs: nnx.Rngs) -> None:
        self.architecture = "branching"
        self.start = nnx.Linear(5, 4 * 4 * 6, rngs=rngs)
        self.gate = nnx.Linear(6, 6, rngs=rngs)
        self.small, self.large = nnx.Linear(6, 3, rngs=rngs), nnx.Linear(6, 3, rngs=rngs)
        self.computed = nnx.static([] if computed is None else computed)

    def check_input(self, inputs) -> None:
        if inputs.ndim != 2 or inputs.shape[1] != 5:
            raise InputError(f"noise has shape {inputs.shape}; branching takes (N, 5)")

    def steps(self):
        feat_4 = yield "feat_4", self._logged("feat_4", lambda x: self.start(x).reshape(-1, 4, 4, 6))
        yield "feat_8", self._logged("feat_8", lambda x: x.repeat(2, 1).repeat(2, 2))
        gated = yield "gated_8", self._logged("gated_8", lambda x: x * self.gate(feat_4.mean((1, 2), keepdims=True)))
        yield "image_4", self._logged("image_4", lambda _: self.small(feat_4))
        yield "image_8", self._logged("image_8", lambda _: self.large(gated))

    def _logged(self, name, function):
        def call(x):
            self.computed.append(name)
            return function(x)

        return call


NAMES = ("feat_4", "feat_8", "gated_8", "image_4", "image_8")
NOISE = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)


@pytest.fixture
def branching() -> Branching:
    return Branching(rngs=nnx.Rngs(0))


class TestBranching:
    def test_names_are_listed_without_computing(self, branching) -> None:
        assert branching.names == NAMES
        branching.check_names(NAMES)
        assert branching.computed == []

    def test_a_gate_receives_what_came_out_after_the_operator(self, branching) -> None:
        plain = branching.activations(NOISE, NAMES)
        at = {"feat_4": TopK(0.2)}
        sparse = branching.activations(NOISE, NAMES, at=at)
        feat_4 = at["feat_4"](plain["feat_4"])
        assert (feat_4 != plain["feat_4"]).any()
        np.testing.assert_array_equal(sparse["feat_4"], feat_4)
        gate = branching.gate(feat_4.mean((1, 2), keepdims=True))
        np.testing.assert_array_equal(sparse["gated_8"], feat_4.repeat(2, 1).repeat(2, 2) * gate)
        np.testing.assert_array_equal(sparse["image_4"], branching.small(feat_4))

    def test_an_operator_at_an_output_reaches_no_other(self, branching) -> None:
        plain = branching.activations(NOISE, NAMES)
        changed = branching.activations(NOISE, NAMES, at={"image_4": lambda x: x + 1, "gated_8": lambda x: 2 * x})
        np.testing.assert_array_equal(changed["image_4"], plain["image_4"] + 1)
        np.testing.assert_array_equal(changed["image_8"], branching.large(2 * plain["gated_8"]))

    def test_two_outputs(self, branching) -> None:
        images = branching.activations(NOISE, ("image_8", "image_4"))
        assert {name: image.shape for name, image in images.items()} == {
            "image_8": (2, 8, 8, 3),
            "image_4": (2, 4, 4, 3),
        }
        np.testing.assert_array_equal(branching(NOISE), images["image_8"])

    @pytest.mark.parametrize("last", range(len(NAMES)))
    def test_nothing_beyond_the_last_name_is_computed(self, branching, last) -> None:
        def unreachable(x):
            raise AssertionError("the operator comes after the last name")

        branching.activations(NOISE, (NAMES[last], NAMES[0]), at=dict.fromkeys(NAMES[last + 1 :], unreachable))
        assert branching.computed == list(NAMES[: last + 1])

    def test_its_input_is_its_own(self, branching) -> None:
        with pytest.raises(InputError, match=r"noise has shape \(2, 8, 8, 3\); branching takes \(N, 5\)"):
            branching(IMAGES)

    def test_it_compiles_and_differentiates(self, branching) -> None:
        graphdef, params = nnx.split(branching)

        @jax.jit
        def gradient(params):
            def loss(params):
                network = nnx.merge(graphdef, params)
                images = network.activations(NOISE, ("image_4", "image_8"), at={"feat_4": TopK(0.2)})
                return sum((image**2).sum() for image in images.values())

            return jax.grad(loss)(params)

        assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient(params)))
