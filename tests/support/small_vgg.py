"""The small VGGs of the relevance goldens: two blocks of two convolutions, with or without normalization."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx

from sparseshape_jax.models import Network
from sparseshape_jax.models.layers import AdaptiveAveragePool, AveragePool, BatchNorm, Conv, max_pool
from sparseshape_jax.models.network import flatten
from sparseshape_jax.weights.assign import turn_linear

WIDTHS = {"1_1": (3, 6), "1_2": (6, 6), "2_1": (6, 10), "2_2": (10, 10)}


class SmallVGG(Network):
    """3×3 convolutions, max-pools (the second an average with `batch_norm`), and two dense layers."""

    def __init__(self, *, batch_norm: bool = False, rngs: nnx.Rngs) -> None:
        self.architecture = "vgg_small"
        self.batch_norm = batch_norm
        for name, (inputs, outputs) in WIDTHS.items():
            setattr(self, f"conv{name}", Conv(inputs, outputs, (3, 3), padding=1, rngs=rngs))
            if batch_norm:
                setattr(self, f"bn{name}", BatchNorm(outputs, rngs=rngs))
        self.average = AveragePool(2, 2)
        self.avgpool = AdaptiveAveragePool(2)
        self.fc6 = nnx.Linear(40, 16, rngs=rngs)
        self.logits = nnx.Linear(16, 5, rngs=rngs)

    def steps(self):
        for name in WIDTHS:
            yield f"conv{name}", getattr(self, f"conv{name}")
            if self.batch_norm:
                yield f"bn{name}", getattr(self, f"bn{name}")
            yield f"relu{name}", nnx.relu
            if name == "1_2":
                yield "pool1", lambda x: max_pool(x, 2, 2)
        yield "pool2", self.average if self.batch_norm else lambda x: max_pool(x, 2, 2)
        yield "avgpool", self.avgpool
        yield "fc6", lambda x: self.fc6(flatten(x))
        yield "relu6", nnx.relu
        yield "logits", self.logits


def fill(network: Network, path: Path) -> Network:
    """Give a network the weights of a golden, and set it to eval mode."""
    with np.load(path) as file:
        weights = {name.removeprefix("weights/"): file[name] for name in file.files if name.startswith("weights/")}
    weights = turn_linear(network, weights)
    state = nnx.state(network, nnx.Any(nnx.Param, nnx.BatchStat))
    for name, leaf in nnx.to_flat_state(state):
        leaf.set_value(jnp.asarray(weights.pop(".".join(map(str, name)))))  # the network may be abstract
    assert not weights
    nnx.update(network, state)
    network.eval()
    return network
