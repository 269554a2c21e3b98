"""Torch networks as oracles: their activations under our names, with an operator inserted at any of them."""

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

ALEXNET = "conv1, relu1, pool1, conv2, relu2, pool2, conv3, relu3, conv4, relu4, conv5, relu5, pool5"
SQUEEZENET = "conv1, relu1, pool1, fire2, fire3, pool3, fire4, fire5, pool5, fire6, fire7, fire8, fire9"


def vgg_features(features) -> list[str]:
    names, block, position = [], 1, 1
    for module in features:
        kind = type(module).__name__
        if kind.endswith("Pool2d"):
            names.append(f"pool{block}")
            block, position = block + 1, 1
        else:
            prefix = {"Conv2d": "conv", "BatchNorm2d": "bn", "ReLU": "relu"}[kind]
            names.append(f"{prefix}{block}_{position}")
            position += kind == "ReLU"
    return names


def modules_by_our_names(network) -> dict[str, Any]:
    """Which torch module gives which of our activations."""
    kind = type(network).__name__
    if kind == "SqueezeNet":
        modules = dict(zip(SQUEEZENET.split(", "), network.features, strict=True))
        modules |= {"conv10": network.classifier[1], "relu10": network.classifier[2]}
    elif hasattr(network, "layer0"):  # timm's; its average has other axes than ours
        modules = {name: getattr(network.layer0, name) for name in ("conv1", "bn1", "relu1")}
        modules = {**modules, "pool1": network.pool0, **stages(network)}
    elif hasattr(network, "layer1"):
        modules = {name: getattr(network, name) for name in ("conv1", "bn1")} | {"relu1": network.relu}
        if hasattr(network, "maxpool"):
            modules["pool1"] = network.maxpool
        modules |= {**stages(network), "avgpool": network.avgpool}
    else:
        names = ALEXNET.split(", ") if kind == "AlexNet" else vgg_features(network.features)
        head = (1, 2, 4, 5) if kind == "AlexNet" else (0, 1, 3, 4)
        modules = dict(zip(names, network.features, strict=True))
        if not len(network.classifier):  # a trunk
            return modules
        modules |= {"avgpool": network.avgpool}
        modules |= {
            name: network.classifier[index] for name, index in zip(("fc6", "relu6", "fc7", "relu7"), head, strict=True)
        }
    return modules | {"logits": network}


def stages(network) -> dict[str, Any]:
    modules = {}
    for stage in range(1, 5):
        blocks = getattr(network, f"layer{stage}")
        modules |= {f"layer{stage}_{index}": block for index, block in enumerate(blocks)}
        modules[f"layer{stage}"] = blocks
    return modules


class Oracle:
    """A torch network with random weights.

    The weights keep the activations' scale from layer to layer, and batch normalization's running statistics are not
    the 0 and 1 that would hide them.
    """

    def __init__(self, torch: ModuleType, build: Callable[[], Any]) -> None:
        self.torch = torch
        with torch.device("meta"):  # the default weights are slow to draw
            network = build()
        self.network = network.to_empty(device="cpu").eval()
        torch.manual_seed(0)
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                if name.endswith("num_batches_tracked"):
                    value.zero_()
                elif value.ndim > 1:
                    bound = (6 / value[0].numel()) ** 0.5
                    value.uniform_(-bound, bound)
                elif name.endswith(("running_var", "weight")):
                    value.uniform_(0.5, 1.5)
                else:
                    value.uniform_(-0.3, 0.3)

    def arrays(self) -> dict[str, np.ndarray]:
        """The state dict; copies, because JAX may share the memory while torch still writes to it."""
        state = self.network.state_dict()
        return {name: value.numpy().copy() for name, value in state.items() if "num_batches_tracked" not in name}

    def to_torch(self, images: np.ndarray):
        return self.torch.from_numpy(images).permute(0, 3, 1, 2)

    def activations(self, images: np.ndarray, at: Mapping[str, Callable] | None = None) -> dict[str, np.ndarray]:
        """Every activation by our name, NHWC, after the operator that `at` has for it."""
        collected, handles = {}, []

        def hook(name: str):
            def collect(module, inputs, output):
                if name in (at or {}):
                    output = at[name](output)
                array = output.numpy().copy()  # the ReLU that follows works in place
                collected[name] = array.transpose(0, 2, 3, 1) if array.ndim == 4 else array
                return output

            return collect

        for name, module in modules_by_our_names(self.network).items():
            handles.append(module.register_forward_hook(hook(name)))
        with self.torch.no_grad():
            self.network(self.to_torch(images))
        for handle in handles:
            handle.remove()
        return collected


@pytest.fixture(scope="session")
def oracle(torch) -> Callable[[Callable[[], Any]], Oracle]:
    """Makes an `Oracle` of what builds a torch network."""
    return lambda build: Oracle(torch, build)


@pytest.fixture(scope="session")
def torchvision_oracle(torch, torchvision) -> Callable[..., Oracle]:
    """Makes an `Oracle` of one of torchvision's networks, by name; AlexNet and VGG also as light trunks."""

    def make(name: str, *, trunk_only: bool = False, **options) -> Oracle:
        def build():
            network = torchvision.models.get_model(name, **options)
            if trunk_only:
                network.avgpool, network.classifier = torch.nn.Identity(), torch.nn.Sequential()
            return network

        return Oracle(torch, build)

    return make


@pytest.fixture(scope="session")
def run() -> Callable[..., dict[str, np.ndarray]]:
    """Activations of one of our networks, all of them unless named, compiled as one program."""

    def activations(model, images, names=None, at=None, *, double=False) -> dict[str, np.ndarray]:
        names = names or model.names
        with jax.enable_x64(double):
            graphdef, weights, rest = nnx.split(model, (nnx.Param, nnx.BatchStat), ...)
            if double:
                weights = jax.tree.map(lambda array: array.astype(np.float64), weights)
                images = np.asarray(images, np.float64)
            program = jax.jit(lambda state, images: nnx.merge(graphdef, *state).activations(images, names, at=at))
            return jax.tree.map(np.asarray, program((weights, rest), images))

    return activations
