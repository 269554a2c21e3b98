"""AlexNet as torchvision has it (Krizhevsky 2014, "One weird trick…"): one column, no local response normalization."""

from functools import partial
from typing import Any

from flax import nnx

from sparseshape_jax.models.layers import AdaptiveAveragePool, Linear, max_pool
from sparseshape_jax.models.network import Network, Steps, flatten
from sparseshape_jax.models.registry import Architecture, register

CONVOLUTIONS = {  # name: (features, kernel, stride, padding)
    "conv1": (64, 11, 4, 2),
    "conv2": (192, 5, 1, 2),
    "conv3": (384, 3, 1, 1),
    "conv4": (256, 3, 1, 1),
    "conv5": (256, 3, 1, 1),
}
POOLED = (1, 2, 5)


class AlexNet(Network):
    """`torchvision.models.alexnet`. Images (N, H, W, 3), H and W at least 63, to logits (N, num_classes).

    Activations: `conv1`, `relu1`, `pool1`, …, `relu5`, `pool5`, `avgpool`, `fc6`, `relu6`, `fc7`, `relu7`, `logits`.
    """

    def __init__(
        self,
        *,
        num_classes: int = 1000,
        trunk_only: bool = False,
        dropout: float = 0.5,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ) -> None:
        self.architecture = "alexnet"
        self.trunk_only = trunk_only
        inputs = 3
        for name, (features, kernel, stride, padding) in CONVOLUTIONS.items():
            convolution = nnx.Conv(
                inputs, features, (kernel, kernel), strides=stride, padding=padding, dtype=dtype, rngs=rngs
            )
            setattr(self, name, convolution)
            inputs = features
        if not trunk_only:
            self.avgpool = AdaptiveAveragePool(6)
            self.dropout = nnx.Dropout(dropout, rngs=rngs)
            self.fc6 = Linear(6 * 6 * 256, 4096, dtype=dtype, rngs=rngs)
            self.fc7 = Linear(4096, 4096, dtype=dtype, rngs=rngs)
            self.fc8 = Linear(4096, num_classes, dtype=dtype, rngs=rngs)

    def steps(self) -> Steps:
        for number in range(1, 6):
            yield f"conv{number}", getattr(self, f"conv{number}")
            yield f"relu{number}", nnx.relu
            if number in POOLED:
                yield f"pool{number}", partial(max_pool, window=3, stride=2)
        if self.trunk_only:
            return
        yield "avgpool", self.avgpool
        yield "fc6", lambda x: self.fc6(self.dropout(flatten(x)))
        yield "relu6", nnx.relu
        yield "fc7", lambda x: self.fc7(self.dropout(x))
        yield "relu7", nnx.relu
        yield "logits", self.fc8


register(
    "alexnet",
    Architecture(
        AlexNet,
        options=frozenset({"num_classes", "dropout"}),
        head=("fc6", "fc7", "fc8"),
        top_k_after=("pool1", "pool2", "relu3", "relu4", "pool5"),  # the paper's
        match=("relu1", "pool1", "pool2", "relu3", "relu4"),
        torch_layers={
            "features.0": "conv1",
            "features.3": "conv2",
            "features.6": "conv3",
            "features.8": "conv4",
            "features.10": "conv5",
            "classifier.1": "fc6",
            "classifier.4": "fc7",
            "classifier.6": "fc8",
        },
        flattened={"fc6": "conv5"},
    ),
)
