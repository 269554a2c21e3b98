"""Named activations: their names, stopping early, operators at names, and what is refused."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support.networks import fill, random_network

from sparseshape_jax import InputError, models
from sparseshape_jax.models.resnet import Block
from sparseshape_jax.weights.load import abstract


@cache
def shape_only(architecture: str, **options) -> models.Network:
    """Shapes instead of weights; for questions that need no numbers. Shared, so not to be changed."""
    model = abstract(architecture, num_classes=7, **options)
    model.eval()
    return model


def shapes(model: models.Network, images: tuple[int, ...], names=None, at=None) -> dict[str, tuple[int, ...]]:
    """Shapes of activations, all of them unless named, without computing anything."""
    graphdef, state = nnx.split(model)
    names = model.names if names is None else names
    run = lambda state, images: nnx.merge(graphdef, state).activations(images, names, at=at)  # noqa: E731
    found = jax.eval_shape(run, state, jax.ShapeDtypeStruct(images, jnp.float32))
    return {name: found[name].shape for name in found}


def convolutions(model: models.Network, names: tuple[str, ...]) -> int:
    """How many convolutions are computed for these activations."""
    graphdef, state = nnx.split(model)
    run = lambda state, images: nnx.merge(graphdef, state).activations(images, names)  # noqa: E731
    images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    return str(jax.make_jaxpr(run)(state, images)).count("conv_general_dilated[")


@pytest.mark.parametrize(
    ("architecture", "first", "last_of_trunk"),
    [
        ("alexnet", "conv1", "pool5"),
        ("vgg11", "conv1_1", "pool5"),
        ("vgg19_bn", "conv1_1", "pool5"),
        ("resnet34", "conv1", "layer4"),
        ("resnet18_cifar", "conv1", "layer4"),
        ("squeezenet1_1", "conv1", "fire9"),
    ],
)
def test_names(architecture, first, last_of_trunk):
    names = shape_only(architecture).names
    assert len(set(names)) == len(names)
    assert (names[0], names[-1]) == (first, "logits")
    trunk = shape_only(architecture, trunk_only=True)
    assert trunk.names == names[: names.index(last_of_trunk) + 1]
    assert set(models.architecture(architecture).top_k_after) <= set(trunk.names)
    assert architecture in models.architectures()
    assert trunk.architecture == architecture


@pytest.mark.parametrize("architecture", ["vgg11", "resnet18", "squeezenet1_1"])
def test_calling_gives_the_last_activation(architecture):
    for trunk_only in (False, True):
        model = shape_only(architecture, trunk_only=trunk_only)
        graphdef, state = nnx.split(model)
        images = jax.ShapeDtypeStruct((2, 64, 80, 3), jnp.float32)
        called = jax.eval_shape(lambda state, images, g=graphdef: nnx.merge(g, state)(images), state, images)
        assert called.shape == shapes(model, images.shape)[model.names[-1]]
    assert shapes(shape_only(architecture), (2, 64, 80, 3))["logits"] == (2, 7)


@pytest.mark.parametrize(
    ("architecture", "names", "count"),
    [
        ("alexnet", ("pool1",), 1),
        ("alexnet", ("relu3", "conv1"), 3),
        ("alexnet", ("logits",), 5),
        ("vgg11", ("pool2",), 2),
        ("resnet18", ("relu1",), 1),
        ("resnet18", ("layer1", "layer1_0"), 5),
        ("resnet18", ("logits",), 20),
        ("squeezenet1_1", ("fire2",), 4),
        ("squeezenet1_1", ("logits",), 26),
    ],
)
def test_nothing_after_the_last_name_is_computed(architecture, names, count):
    assert convolutions(shape_only(architecture), names) == count


def test_activations_come_in_the_order_of_the_request_and_no_others():
    model = random_network("vgg11", trunk_only=True)
    images = jnp.ones((1, 33, 33, 3))
    assert list(model.activations(images, ("pool1", "conv1_1"))) == ["pool1", "conv1_1"]
    assert model.activations(images, ()) == {}


# The smallest sides that the docstrings state; a ResNet takes any.
SMALLEST = [("alexnet", 63), ("vgg11", 32), ("vgg11_bn", 32), ("squeezenet1_1", 17)]


@pytest.mark.parametrize(("architecture", "side"), [*SMALLEST, ("resnet18", 1)])
def test_smallest_images(architecture, side):
    assert shapes(shape_only(architecture), (1, side, side, 3))["logits"] == (1, 7)
    assert shapes(shape_only(architecture), (1, side + 70, side, 3))["logits"] == (1, 7)


@pytest.mark.parametrize(("architecture", "side"), SMALLEST)
def test_smaller_images_are_refused_but_early_activations_work(architecture, side):
    model = shape_only(architecture)
    for height, width in ((side - 1, 100), (100, side - 1)):
        with pytest.raises(InputError, match=f"{height}×{width} pixels are too small for {architecture}.* at pool5"):
            shapes(model, (1, height, width, 3))
        assert 0 not in shapes(model, (1, height, width, 3), ("pool1",))["pool1"]


def test_an_empty_batch_is_no_small_image():
    assert shapes(shape_only("resnet18"), (0, 64, 64, 3))["logits"] == (0, 7)


@pytest.mark.parametrize("shape", [(64, 64, 3), (1, 3, 64, 64), (1, 64, 64, 1), (1, 64, 64), (2, 1, 64, 64, 3)])
def test_other_arrays_are_refused(shape):
    with pytest.raises(InputError, match=r"images have shape \(.*takes \(N, H, W, 3\)"):
        shapes(shape_only("resnet18"), shape)


def test_unknown_names_are_refused_with_the_allowed_ones():
    model = shape_only("alexnet")
    for names, at in ((("pool3", "pool1"), None), (("pool1",), {"pool3": jnp.abs})):
        with pytest.raises(InputError) as caught:
            shapes(model, (1, 224, 224, 3), names, at)
        message = str(caught.value)
        assert message.startswith("alexnet has no activation called 'pool3'; it has ")
        assert all(name in message for name in model.names)


def test_operators_apply_where_they_are_put():
    model = random_network("squeezenet1_1", trunk_only=True)
    images = jnp.asarray(np.random.default_rng(0).normal(size=(1, 33, 33, 3)), jnp.float32)
    plain = model.activations(images, ("conv1", "relu1", "pool1"))

    def unreachable(x):
        raise AssertionError("the operator comes after the last name")

    at = {"relu1": lambda x: x + 1, "fire9": unreachable}
    changed = model.activations(images, ("conv1", "relu1", "pool1"), at=at)
    np.testing.assert_array_equal(changed["conv1"], plain["conv1"])
    np.testing.assert_array_equal(changed["relu1"], plain["relu1"] + 1)
    np.testing.assert_array_equal(changed["pool1"], plain["pool1"] + 1)


class TestDropout:
    @pytest.mark.parametrize(
        ("architecture", "inputs"),
        [
            # As in torchvision: before AlexNet's linear layers, after VGG's, before SqueezeNet's last convolution.
            ("alexnet", [(1, 9216), (1, 4096)]),
            ("vgg11", [(1, 4096), (1, 4096)]),
            ("squeezenet1_1", [(1, 13, 13, 512)]),
        ],
    )
    def test_where_it_is(self, architecture, inputs):
        dropped = []

        def forward():
            model = models.build(architecture, rngs=nnx.Rngs(0))
            assert model.dropout.rate == 0.5
            model.dropout = nnx.data(lambda x: dropped.append(x.shape) or x)
            return model(jnp.zeros((1, 224, 224, 3)))

        jax.eval_shape(forward)
        assert dropped == inputs

    def test_it_works_in_train_mode_only(self):
        """A last layer that copies its input shows what was dropped: half of it, the rest doubled."""
        model = random_network("squeezenet1_1", num_classes=512)
        model.train()
        model.conv10.kernel[...] = jnp.eye(512)[None, None]
        model.conv10.bias[...] = jnp.zeros(512)
        images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 97, 97, 3)), jnp.float32)
        run = nnx.jit(lambda model: model.activations(images, ("fire9", "conv10")))
        first, second = run(model), run(model)
        active = np.asarray(first["fire9"] > 0)
        kept = np.asarray(first["conv10"])[active]
        np.testing.assert_allclose(np.mean(kept > 0), 0.5, atol=4 * 0.5 / np.sqrt(kept.size))  # four deviations
        np.testing.assert_allclose(kept[kept > 0], 2 * np.asarray(first["fire9"])[active][kept > 0], rtol=1e-5)
        assert (first["conv10"] != second["conv10"]).any()
        model.eval()
        evaluated = run(model)
        np.testing.assert_allclose(evaluated["conv10"], evaluated["fire9"], rtol=1e-5)


class TestResNetOptions:
    def test_width_multiplies_every_layer(self):
        found = shapes(shape_only("resnet18", width=0.5), (1, 64, 64, 3))
        assert [found[name][-1] for name in ("conv1", "layer1", "layer2", "layer3", "layer4")] == [32, 32, 64, 128, 256]
        assert found["logits"] == (1, 7)
        wide = shapes(shape_only("resnet50", width=2), (1, 64, 64, 3))
        assert [wide[name][-1] for name in ("conv1", "layer1", "layer4")] == [128, 512, 4096]

    @pytest.mark.parametrize(("image_size", "inputs"), [(25, 512), (32, 512), (56, 512), (57, 4 * 512), (224, 25_088)])
    def test_resnet18_cifars_classifier_follows_the_image_size(self, image_size, inputs):
        model = shape_only("resnet18_cifar", image_size=image_size)
        assert model.fc.in_features == inputs
        assert shapes(model, (1, image_size, image_size, 3))["logits"] == (1, 7)

    def test_resnet18_cifar_refuses_other_sizes_but_its_trunk_takes_any(self):
        with pytest.raises(InputError, match="built for images of 224×224 pixels"):
            shapes(shape_only("resnet18_cifar"), (1, 64, 64, 3))
        assert shapes(shape_only("resnet18_cifar"), (1, 64, 64, 3), ("layer4",))["layer4"] == (1, 8, 8, 512)


@pytest.mark.parametrize(
    ("architecture", "options", "message"),
    [
        ("vgg12", {}, r"no architecture 'vgg12'; there are alexnet, .*squeezenet1_1, .*vgg19_bn"),
        (
            "alexnet",
            {"pooling": "average"},
            "alexnet has no option pooling; it has dropout, dtype, num_classes, trunk_only",
        ),
        ("vgg11", {"pooling": "mean"}, "pooling is 'mean'; it can be max or average"),
        ("resnet18", {"stem": "small"}, "resnet18 has no option stem; it has"),
        ("resnet18", {"width": "wide"}, "resnet18 cannot be built with width"),
        ("resnet18", {"width": 0}, "width is 0; it must be above 0"),
        ("resnet18_cifar", {"image_size": 24}, "image_size is 24 pixels; resnet18_cifar needs at least 25"),
    ],
)
def test_what_cannot_be_built(architecture, options, message):
    with pytest.raises(InputError, match=message):
        abstract(architecture, **options)


class Small(models.Network):
    """An architecture is a list of steps: this one is a block of ResNet's, and a classifier."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.architecture = "small"
        self.block = Block(3, 4, stride=2, bottleneck=False, axis_name=None, dtype=None, rngs=rngs)
        self.classifier = nnx.Linear(4, 7, rngs=rngs)

    def steps(self):
        yield "block", self.block
        yield "logits", lambda x: self.classifier(x.mean((1, 2)))


def test_gradients_and_statistics_in_one_compiled_step():
    """The way that training goes: split once, merge a copy inside, hand the other state back."""
    model = fill(nnx.eval_shape(lambda: Small(rngs=nnx.Rngs(0))))
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    @jax.jit
    def step(params, rest, images):
        def loss(params):
            model = nnx.merge(graphdef, params, rest, copy=True)
            return jnp.mean(model(images) ** 2), nnx.state(model, nnx.Not(nnx.Param))

        return jax.grad(loss, has_aux=True)(params)

    images = np.random.default_rng(0).normal(size=(4, 9, 9, 3)).astype(np.float32)
    gradients, moved = jax.tree.map(np.asarray, step(params, rest, images))
    assert all(np.isfinite(leaf).all() and leaf.any() for leaf in jax.tree.leaves(gradients))
    before, after = jax.tree.leaves(rest), jax.tree.leaves(moved)
    assert len(before) == len(after) == 6
    assert all((np.asarray(one) != other).any() for one, other in zip(before, after, strict=True))
