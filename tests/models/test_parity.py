"""Every network against torch, with the same random weights: each activation, and not only the last.

The tolerance is 1e-4 of an activation's largest magnitude. Measured deviations are below 1e-5: both sum the same
products in float32, in different orders.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support.packages import require_package
from support.torch_reference import torch_top_k

from sparseshape_jax import TopK, models
from sparseshape_jax.top_k.placement import place
from sparseshape_jax.weights import keys
from sparseshape_jax.weights.assign import assign, export
from sparseshape_jax.weights.load import abstract

SQUARE, OBLONG = (224, 224), (131, 97)


def images(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(*shape, 3)).astype(np.float32)


def twin(oracle, architecture: str, **options) -> models.Network:
    """Our network with the oracle's weights, in eval mode."""
    model = abstract(architecture, **options)
    assign(model, oracle.arrays())
    model.eval()
    return model


def assert_equal(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], tolerance: float = 1e-4) -> None:
    assert set(ours) == set(theirs)
    for name, expected in theirs.items():
        assert ours[name].shape == expected.shape, name
        error = np.abs(ours[name] - expected).max() / np.abs(expected).max()
        assert error < tolerance, f"{name} is off by {error:.1e}"


WHOLE, TRUNK = {"num_classes": 7}, {"trunk_only": True}


@pytest.fixture(
    scope="module",
    params=[
        ("alexnet", WHOLE),
        ("vgg16", WHOLE),
        ("vgg11_bn", TRUNK),
        ("resnet18", WHOLE),
        ("resnet50", WHOLE),
        ("squeezenet1_1", WHOLE),
    ],
    ids=lambda param: param[0],
)
def pair(request, torchvision_oracle):
    """A torchvision network and ours, with the same weights."""
    architecture, options = request.param
    theirs = torchvision_oracle(architecture, **options)
    return theirs, twin(theirs, architecture, **options)


@pytest.mark.parametrize("size", [SQUARE, OBLONG], ids=str)
def test_every_activation_equals_torchvisions(pair, run, size):
    theirs, ours = pair
    batch = images(1, *size)
    assert_equal(run(ours, batch), theirs.activations(batch))


@pytest.mark.parametrize(
    ("architecture", "options"), [("alexnet", TRUNK), ("resnet18", WHOLE), ("squeezenet1_1", WHOLE)]
)
def test_top_k_changes_what_follows_as_in_torch(torch, torchvision_oracle, run, architecture, options):
    """In double precision, since rounding would swap neighbors in rank here and there.

    Overlapping max pools give the same value to neighboring positions, so that the lower index is put to the test.
    """
    theirs = torchvision_oracle(architecture, **options)
    ours = twin(theirs, architecture, **options)
    theirs.network.double()
    batch = images(1, *OBLONG).astype(np.float64)
    at = place(TopK(0.2, method="top_k"), ours)  # compiles fast; both methods agree bit for bit
    expected = theirs.activations(batch, at={name: lambda x: torch_top_k(torch, x, 0.2) for name in at})
    assert_equal(run(ours, batch, at=at, double=True), expected, tolerance=1e-10)
    for name in at:
        kept = np.count_nonzero(expected[name], axis=(1, 2))
        assert kept.max() <= max(1, int(0.2 * np.prod(expected[name].shape[1:3])))


@pytest.mark.slow
def test_resnext_equals_torchvisions(torch, torchvision, oracle, run):
    theirs = oracle(lambda: torchvision.models.resnext50_32x4d(num_classes=7))
    batch = images(1, *OBLONG)
    assert_equal(run(twin(theirs, "resnext50", **WHOLE), batch), theirs.activations(batch))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "name"),
    [("se_resnet50", "legacy_seresnet50"), ("se_resnext50", "legacy_seresnext50_32x4d")],
)
def test_networks_with_gates_equal_timms(torchvision, oracle, run, architecture, name):  # timm imports torchvision
    require_package("timm")
    import timm

    theirs = oracle(lambda: timm.create_model(name, num_classes=7))
    ours = twin(theirs, architecture, **WHOLE)
    assert keys.detect(theirs.arrays()) == keys.table_for(architecture)
    # In double precision: gates amplify what is rounded differently, to 2e-4 in single precision.
    theirs.network.double()
    for size in (OBLONG, (64, 50)):  # the first pool has incomplete windows, and has not
        batch = images(1, *size).astype(np.float64)
        found = run(ours, batch, double=True)
        assert found.pop("avgpool").shape == (1, 1, 1, 2048)
        assert_equal(found, theirs.activations(batch), tolerance=1e-10)


def cifar_resnet(torch):
    """ResNet-18 as the paper's code has it, from its description: a CIFAR ResNet, here on 64-pixel images."""
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(outputs)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(outputs)
            self.shortcut = nn.Sequential()
            if stride > 1:
                self.shortcut = nn.Sequential(
                    nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
                )

        def forward(self, x):
            y = torch.relu(self.bn1(self.conv1(x)))
            return torch.relu(self.bn2(self.conv2(y)) + self.shortcut(x))

    class CifarResNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(64)
            self.relu = nn.ReLU()
            self.layer1 = nn.Sequential(Block(64, 64, 1), Block(64, 64, 1))
            self.layer2 = nn.Sequential(Block(64, 128, 2), Block(128, 128, 1))
            self.layer3 = nn.Sequential(Block(128, 256, 2), Block(256, 256, 1))
            self.layer4 = nn.Sequential(Block(256, 512, 2), Block(512, 512, 1))
            self.avgpool = nn.AvgPool2d(4)
            self.linear = nn.Linear(512 * (64 // 8 // 4) ** 2, 7)

        def forward(self, x):
            x = self.relu(self.bn1(self.conv1(x)))
            x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
            return self.linear(self.avgpool(x).flatten(1))

    return CifarResNet()


@pytest.fixture(scope="module")
def cifar_pair(torch, oracle):
    theirs = oracle(lambda: cifar_resnet(torch))
    return theirs, twin(theirs, "resnet18_cifar", image_size=64, **WHOLE)


def test_resnet18_cifar_equals_its_description(cifar_pair, run):
    theirs, ours = cifar_pair
    batch = images(2, 64, 64)
    assert_equal(run(ours, batch), theirs.activations(batch))


def test_resnet18_cifar_at_224_has_a_classifier_of_25088_inputs():
    assert abstract("resnet18_cifar").fc.in_features == 25_088


def global_cifar_resnet(torch, torchvision, depth: int):
    """A torchvision ResNet that begins with a 3×3 convolution of stride 1 and has no max-pool."""
    network = torchvision.models.get_model(f"resnet{depth}", num_classes=7)
    network.conv1 = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    network.maxpool = torch.nn.Identity()
    return network


def as_stored(name: str) -> str:
    """torchvision's name of an array as CIFAR ResNets call it."""
    return name.replace("downsample", "shortcut").replace("fc.", "linear.")


@pytest.mark.parametrize("depth", [18, 50])
def test_cifar_resnets_with_a_global_pool_are_torchvisions_with_another_start(torch, torchvision, oracle, run, depth):
    """At any size: the weights have no part that depends on it."""
    theirs = oracle(lambda: global_cifar_resnet(torch, torchvision, depth))
    ours = abstract(f"resnet{depth}_cifar_global", **WHOLE)
    assign(ours, {as_stored(name): array for name, array in theirs.arrays().items()})
    ours.eval()
    for side in (32, 44):
        batch = images(1, side, side)
        expected = theirs.activations(batch)
        del expected["pool1"]
        assert_equal(run(ours, batch), expected)


@pytest.mark.parametrize("depth", [18, 34, 50, 101])
def test_cifar_resnets_with_a_global_pool_have_torchvisions_arrays(torch, torchvision, depth):
    with torch.device("meta"):
        theirs = global_cifar_resnet(torch, torchvision, depth).state_dict()
    ours = models.build(f"resnet{depth}_cifar_global", rngs=nnx.Rngs(0), width=1 / 64, **WHOLE)
    assert list(export(ours)) == [as_stored(name) for name in theirs if "num_batches" not in name]


@pytest.mark.parametrize("architecture", ["resnet18", "resnet18_cifar"])
def test_train_mode_equals_torch(torchvision_oracle, cifar_pair, architecture):
    """Batch statistics are used, and the running ones move as torch's do (unbiased variance)."""
    if architecture == "resnet18":
        theirs = torchvision_oracle(architecture, **WHOLE)
        ours = twin(theirs, architecture, **WHOLE)
    else:
        theirs, ours = cifar_pair
    batch = images(4, 64, 64)
    theirs.network.train()
    ours.train()
    before = theirs.arrays()
    expected = theirs.activations(batch)["logits"]
    graphdef, params, rest = nnx.split(ours, nnx.Param, ...)

    @jax.jit
    def step(params, rest, batch):
        model = nnx.merge(graphdef, params, rest, copy=True)
        return model(batch), nnx.state(model, nnx.BatchStat)

    logits, statistics = step(params, rest, batch)
    nnx.update(ours, statistics)
    assert_equal({"logits": np.asarray(logits)}, {"logits": expected})
    after, exported = theirs.arrays(), export(ours)
    running = [name for name in after if "running" in name]
    assert len(running) == 40
    for name in running:
        assert np.abs(after[name] - before[name]).max() > 1e-2
        np.testing.assert_allclose(exported[name], after[name], rtol=1e-4, atol=1e-4, err_msg=name)


def test_average_pooling_equals_torch(torch, torchvision_oracle, run):
    """Gatys' switch: the five max pools of a VGG become average pools."""
    theirs = torchvision_oracle("vgg11", **TRUNK)
    for index, module in enumerate(theirs.network.features):
        if isinstance(module, torch.nn.MaxPool2d):
            theirs.network.features[index] = torch.nn.AvgPool2d(2)
    batch = images(1, *OBLONG)
    ours = twin(theirs, "vgg11", pooling="average", **TRUNK)
    assert_equal(run(ours, batch), theirs.activations(batch))


def test_bfloat16_computes_nearby_and_keeps_float32_parameters(torchvision_oracle, run):
    """bfloat16 has 8 bits: each layer rounds by up to 0.4 %, which 18 layers turn into 2.7 % of the largest."""
    theirs = torchvision_oracle("resnet18", **WHOLE)
    ours = twin(theirs, "resnet18", dtype=jnp.bfloat16, **WHOLE)
    weights = jax.tree.leaves(nnx.state(ours, (nnx.Param, nnx.BatchStat)))
    assert all(array.dtype == jnp.float32 for array in weights)
    batch = images(2, *OBLONG)
    computed = run(ours, batch)
    assert all(array.dtype == jnp.bfloat16 for array in computed.values())
    in_float32 = {name: array.astype(np.float32) for name, array in computed.items()}
    assert_equal(in_float32, theirs.activations(batch), tolerance=5e-2)
