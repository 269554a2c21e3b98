"""The networks, by the names that torchvision gives them, as sequences of named activations.

>>> from flax import nnx
>>> network = build("vgg16", trunk_only=True, rngs=nnx.Rngs(0))
>>> network.activations(images, ("relu1_1", "pool4"), at={"pool1": TopK(0.05)})
"""

from sparseshape_jax.models.alexnet import AlexNet
from sparseshape_jax.models.inception import Inception
from sparseshape_jax.models.network import Network, Operator
from sparseshape_jax.models.registry import Architecture, architecture, architecture_of, architectures, build, register
from sparseshape_jax.models.resnet import ResNet
from sparseshape_jax.models.squeezenet import SqueezeNet
from sparseshape_jax.models.vgg import VGG

__all__ = [
    "VGG",
    "AlexNet",
    "Architecture",
    "Inception",
    "Network",
    "Operator",
    "ResNet",
    "SqueezeNet",
    "architecture",
    "architecture_of",
    "architectures",
    "build",
    "register",
]
