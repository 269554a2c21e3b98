"""A network that compiles in a moment, for jobs whose network does not matter."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flax import nnx

from sparseshape_jax.models import Architecture, Network
from sparseshape_jax.preprocessing import Preprocessing
from sparseshape_jax.top_k.spec import TopK
from sparseshape_jax.weights.assign import save_safetensors
from support.networks import random_network

SIDE = 16
"""Of the images that the weights of `save_run` want."""


class Small(Network):
    """Two convolutions, and the largest value of all positions."""

    def __init__(self, *, num_classes: int = 1000, trunk_only: bool = False, dtype: Any = None, rngs: nnx.Rngs) -> None:
        self.architecture = "small"
        self.conv1 = nnx.Conv(3, 4, (3, 3), dtype=dtype, rngs=rngs)
        self.conv2 = nnx.Conv(4, num_classes, (3, 3), dtype=dtype, rngs=rngs)

    def steps(self):
        yield "conv1", self.conv1
        yield "relu1", nnx.relu
        yield "conv2", self.conv2
        yield "logits", lambda x: x.max(axis=(1, 2))


SMALL = Architecture(Small, options=frozenset({"num_classes"}), head=("conv2",))
"""Without a preset; to be registered as "small"."""


def save_run(
    folder: Path, classes: Sequence[str], top_k: Sequence[TopK] = (), *, seed: int = 0, **normalization: Any
) -> Path:
    """Write what a training run leaves: a registered "small" with random weights, its classes and its Top-K."""
    options = {"num_classes": len(classes)}
    metadata = {"options": options, "classes": list(classes), "topk": [spec.to_config() for spec in top_k]}
    save_safetensors(
        random_network("small", seed=seed, gain=2.0, **options),
        folder / "last.safetensors",
        {name: json.dumps(value) for name, value in metadata.items()},
        preprocessing=Preprocessing(resize=SIDE, crop=SIDE, **normalization),
    )
    return folder
