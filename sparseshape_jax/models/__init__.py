"""The networks, by the names that torchvision gives them.

>>> from flax import nnx
>>> network = build("vgg16", trunk_only=True, rngs=nnx.Rngs(0))
>>> network.activations(images, ("relu1_1", "pool4"), at={"pool1": TopK(0.05)})
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from flax import nnx

from sparseshape_jax.errors import InputError
from sparseshape_jax.models.alexnet import AlexNet
from sparseshape_jax.models.network import Network, Operator
from sparseshape_jax.models.resnet import ResNet
from sparseshape_jax.models.squeezenet import SqueezeNet
from sparseshape_jax.models.vgg import VGG

__all__ = ["ARCHITECTURES", "VGG", "AlexNet", "Network", "Operator", "ResNet", "SqueezeNet", "build"]

ARCHITECTURES: dict[str, Callable[..., Network]] = {
    "alexnet": AlexNet,
    **{f"vgg{depth}": partial(VGG, depth) for depth in (11, 13, 16, 19)},
    **{f"vgg{depth}_bn": partial(VGG, depth, batch_norm=True) for depth in (11, 13, 16, 19)},
    **{f"resnet{depth}": partial(ResNet, depth) for depth in (18, 34, 50, 101, 152)},
    "resnet18_code_spec": partial(ResNet, 18, stem="cifar"),
    "squeezenet1_1": SqueezeNet,
}


def build(architecture: str, *, rngs: nnx.Rngs, **options: Any) -> Network:
    """A network with random weights, in train mode.

    Args:
        architecture: a key of `ARCHITECTURES`.
        rngs: where the weights (stream `params`) and dropout masks (stream `dropout`) come from.
        options: the architecture's own (`num_classes`, `trunk_only`, `pooling`, `dtype`, …).

    Raises:
        InputError: an unknown architecture, an option that it does not have, or a value that the option cannot have.
    """
    if architecture not in ARCHITECTURES:
        raise InputError(f"there is no architecture {architecture!r}; there are {', '.join(ARCHITECTURES)}")
    try:
        return ARCHITECTURES[architecture](rngs=rngs, **options)
    except TypeError as error:
        raise InputError(f"{architecture} cannot be built with {', '.join(options)}: {error}") from error
