"""Weights in and out of networks, against torchvision: its names, its layouts, its logits."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support.networks import random_network

from sparseshape_jax import models
from sparseshape_jax.errors import InputError
from sparseshape_jax.preprocessing import CAFFE
from sparseshape_jax.weights import keys
from sparseshape_jax.weights.assign import assign, export, save_safetensors, save_torch, turn_linear
from sparseshape_jax.weights.catalog import CATALOG
from sparseshape_jax.weights.load import abstract, load
from sparseshape_jax.weights.read import read_arrays, read_metadata

TORCHVISION = [name for name, entry in CATALOG.items() if (entry.url or "").startswith("https://download.pytorch.org")]
DEEPEST = ("resnet101", "resnet152")
"""They are like resnet50, but take long to trace."""
OTHERS = ("resnet18_cifar", "se_resnet50", "se_resnext50")
THEIR_NAMES = {"resnext50": "resnext50_32x4d"}
"""Torchvision's names of networks where they are not ours."""


def random_torch_network(torch, torchvision, architecture: str, num_classes: int):
    """A torchvision network with random weights, and statistics that are not batch normalization's 0 and 1."""
    with torch.device("meta"):
        network = torchvision.models.get_model(architecture, num_classes=num_classes)
    network = network.to_empty(device="cpu").eval()
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    network.load_state_dict({name: torch.from_numpy(array) for name, array in random_arrays(shapes).items()})
    return network


def random_arrays(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Arrays for torchvision's names that keep the activations' scale from layer to layer."""
    rng = np.random.default_rng(0)
    arrays = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            arrays[name] = np.zeros((), np.int64)
            continue
        drawn = rng.random(shape, np.float32) - np.float32(0.5)
        if name.endswith("running_var") or (len(shape) == 1 and name.endswith("weight")):
            drawn += 1
        elif len(shape) > 1:
            drawn *= np.sqrt(24 / np.prod(shape[1:])).astype(np.float32)
        arrays[name] = drawn
    return arrays


@cache
def shape_of(architecture: str, trunk_only: bool) -> models.Network:
    """The network with shapes for weights. Not to be filled: it is shared."""
    return abstract(architecture, trunk_only=trunk_only)


def assert_close(ours, theirs) -> None:
    """Within 1e-4 of the largest logit."""
    theirs = theirs.numpy()
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())


@pytest.mark.parametrize(
    ("architecture", "zipped", "size"),
    [
        ("alexnet", True, 67),
        pytest.param("vgg16", True, 32, marks=pytest.mark.slow),
        pytest.param("vgg16_bn", False, 32, marks=pytest.mark.slow),
        ("resnet18", True, 64),
        ("resnet50", False, 64),
        ("squeezenet1_1", True, 64),
    ],
)
def test_there_and_back_again(torch, torchvision, tmp_path, architecture, zipped, size):
    network = random_torch_network(torch, torchvision, architecture, num_classes=7)
    file, back = tmp_path / "torch.pth", tmp_path / "ours.pth"
    torch.save(network.state_dict(), file, _use_new_zipfile_serialization=zipped)
    images = np.random.default_rng(1).random((2, size, size, 3), np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))

    model = load(architecture, weights=file).network
    file.unlink()
    assert expected.shape == (2, 7)
    assert_close(nnx.jit(lambda network, x: network(x))(model, images), expected)

    save_torch(model, back)
    state = torch.load(back, weights_only=True)
    original = network.state_dict()
    assert list(state) == [name for name in original if not name.endswith("num_batches_tracked")]
    assert all(torch.equal(state[name], original[name]) for name in state)
    with torch.device("meta"):
        fresh = torchvision.models.get_model(architecture, num_classes=7)
    fresh.load_state_dict(state, strict=True, assign=True)


@pytest.mark.parametrize(
    "architecture",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in DEEPEST)) for name in TORCHVISION],
)
def test_every_key_of_torchvision_has_its_place(torch, torchvision, architecture):
    """Names and shapes of all networks, without drawing or storing their weights."""
    with torch.device("meta"):
        state = torchvision.models.get_model(THEIR_NAMES.get(architecture, architecture)).state_dict()
    arrays = {
        name: np.broadcast_to(np.int8(0), tuple(value.shape))
        for name, value in state.items()
        if not name.endswith("num_batches_tracked")
    }
    assert keys.detect(arrays) == keys.table_for(architecture, arrays) == keys.table_for(architecture)
    assert None not in keys.paths(arrays, keys.table_for(architecture)).values()
    ours = keys.to_ours(arrays, keys.table_for(architecture))
    model = shape_of(architecture, False)
    assert {path: array.shape for path, array in turn_linear(model, ours).items()} == shapes(model)
    assert [(name, array.shape) for name, array in keys.to_torch(ours, keys.table_for(architecture)).items()] == [
        (name, array.shape) for name, array in arrays.items()
    ]


def shapes(model: models.Network) -> dict[str, tuple[int, ...]]:
    state = nnx.to_flat_state(nnx.state(model, (nnx.Param, nnx.BatchStat)))
    return {".".join(path): variable.get_value().shape for path, variable in state}


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(table, marks=[pytest.mark.slow] * (table.architecture in DEEPEST))
        for table in keys.tables()
        if table.architecture
        in (*TORCHVISION, "resnet18_cifar", "se_resnet50", "se_resnext50")  # and not those that other tests register
    ],
    ids=lambda table: f"{table.architecture}-{table.convention.name}",
)
def test_tables_name_the_networks_layers(table):
    """Our side of each table names each layer of the network once, the classifier's too if the table has them."""
    has_head = bool(table.head)
    model = shape_of(table.architecture, not has_head)
    layers = list(table.layers.values())
    assert set(layers) == {path.rpartition(".")[0] for path in shapes(model)}
    assert len(layers) == len(set(layers))
    if has_head:
        assert tuple(table.layers[layer] for layer in table.head) == models.architecture_of(model).head


def test_resnet18_cifars_classifier_reads_what_torch_flattens(torch, tmp_path):
    """The reference's names, and a classifier on 2 × 2 cells of a narrow network: its rows move from CHW to HWC."""
    model = random_network("resnet18_cifar", width=0.0625, image_size=64, num_classes=5)
    state = export(model)
    assert "layer2.0.shortcut.0.weight" in state
    assert state["linear.weight"].shape == (5, 32 * 4)
    images = np.random.default_rng(0).random((2, 64, 64, 3), np.float32)
    collected = model.activations(images, ("avgpool", "logits"))
    flattened = torch.from_numpy(np.asarray(collected["avgpool"]).transpose(0, 3, 1, 2).copy()).flatten(1)
    expected = torch.nn.functional.linear(
        flattened, *(torch.from_numpy(state[f"linear.{n}"]) for n in ("weight", "bias"))
    )
    np.testing.assert_allclose(collected["logits"], expected.numpy(), rtol=1e-5, atol=1e-5)

    save_torch(model, tmp_path / "x.pth")
    again = load("resnet18_cifar", weights=tmp_path / "x.pth", width=0.0625, image_size=64)
    np.testing.assert_array_equal(again.network(images), collected["logits"])


def test_safetensors_keep_the_preprocessing(tmp_path):
    model = small()
    path = tmp_path / "x.safetensors"
    save_safetensors(model, path, {"license": "ours"}, preprocessing=CAFFE)
    assert read_metadata(path)["license"] == "ours"
    assert read_metadata(path)["architecture"] == "squeezenet1_1"
    loaded = load("squeezenet1_1", weights=path)
    assert loaded.preprocessing == CAFFE
    assert loaded.entry is None
    for name, array in export(model).items():
        np.testing.assert_array_equal(export(loaded.network)[name], array)


def small(**options) -> models.Network:
    return random_network("squeezenet1_1", num_classes=3, **options)


def test_one_error_lists_everything():
    source = export(small())
    arrays = {f"renamed.{name}" if name.startswith("features.3.") else name: array for name, array in source.items()}
    arrays["features.0.weight"] = np.zeros((64, 1, 3, 3), np.float32)
    model = small()
    before = export(model)
    with pytest.raises(InputError) as error:
        assign(model, arrays, source="weights.pth")
    message = str(error.value)
    assert message.startswith("weights.pth do not fit squeezenet1_1")
    assert "no place for: renamed.features.3.squeeze.weight" in message
    assert "nothing to fill: fire2.expand1x1.bias" in message
    assert "wrong shapes: conv1.kernel is (3, 3, 1, 64), not (3, 3, 3, 64)" in message
    assert "\n" not in message
    for name, array in export(model).items():  # nothing was filled
        np.testing.assert_array_equal(array, before[name])


def test_wrong_architecture_is_named_and_long_lists_end():
    model = shape_of("resnet18", False)
    with pytest.raises(
        InputError, match=r"do not fit resnet18 \(they look like squeezenet1_1's.*and \d+ more.*and \d+ more"
    ):
        assign(model, export(small()))


def test_networks_without_a_table_are_refused():
    model = abstract("resnet18_cifar")
    model.architecture = "resnet19"
    with pytest.raises(InputError, match=r"no architecture 'resnet19'; there are alexnet, "):
        assign(model, {})


def test_dtype_of_the_source_does_not_matter():
    model, source = small(), export(small())
    assign(model, {name: array.astype(np.float16) for name, array in source.items()})
    assert export(model)["features.0.weight"].dtype == np.float32
    np.testing.assert_allclose(export(model)["features.0.weight"], source["features.0.weight"], rtol=1e-3, atol=1e-6)


def test_trunk_only(tmp_path):
    whole = small()
    path = tmp_path / "whole.pth"
    save_torch(whole, path)
    trunk = load("squeezenet1_1", weights=path, trunk_only=True).network
    images = np.random.default_rng(0).random((1, 40, 40, 3), np.float32)
    assert trunk.names[-1] == "fire9"
    np.testing.assert_array_equal(trunk(images), whole.activations(images, ("fire9",))["fire9"])
    with pytest.raises(InputError, match=r"no place for: classifier\.1\.weight, classifier\.1\.bias$"):
        assign(small(trunk_only=True), export(whole))
    save_torch(trunk, path)
    assert not any(name.startswith("classifier") for name in read_arrays(path))
    with pytest.raises(InputError, match=r"trunk_only=True\); nothing to fill: conv10\.bias, conv10\.kernel$"):
        load("squeezenet1_1", weights=path)


def test_a_loaded_network_can_be_trained_and_jitted(tmp_path):
    """It was built from shapes: nothing of that may be left, dropout's random state included."""
    path = tmp_path / "x.pth"
    save_torch(small(), path)
    model = load("squeezenet1_1", weights=path, dtype=jnp.bfloat16).network
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(nnx.state(model)))
    images = np.random.default_rng(0).random((1, 40, 40, 3), np.float32)
    model.train()
    run = nnx.jit(lambda network, x: network(x))
    first, second = run(model, images), run(model, images)
    assert first.dtype == jnp.bfloat16
    assert not np.array_equal(first, second)
