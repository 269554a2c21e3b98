"""Relevance maps per second, next to zennit on torchvision's networks, in one run.

    python benchmarks/relevance.py

SqueezeNet 1.1 with its classifier and VGG16's trunk, both with random weights, under two composites: z⁺ everywhere
(EpsilonPlus), and γ with a box at the first layer (EpsilonGammaBox). Needs `pip install zennit`. The contestants take
turns; the table has the median of each.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import jax
import numpy as np
import torch
from flax import nnx
from torch_reference import import_torchvision, versions

from sparseshape_jax.models import build
from sparseshape_jax.preprocessing import TORCHVISION
from sparseshape_jax.relevance import Composite, Explainer

torchvision = import_torchvision()  # before zennit, which imports it too
from zennit.attribution import Gradient  # noqa: E402
from zennit.composites import EpsilonGammaBox, EpsilonPlus  # noqa: E402

LOW, HIGH = (
    np.asarray(TORCHVISION.normalize(np.full((1, 1, 1, 3), value))).reshape(1, 3, 1, 1) for value in (0.0, 1.0)
)


def ours(name: str, composite: str, images: np.ndarray) -> Callable[[], object]:
    trunk = name == "vgg16"
    network = nnx.jit(lambda: build(name, trunk_only=trunk, rngs=nnx.Rngs(0)))()
    network.eval()
    # zennit takes every convolution for one, the classifier's too.
    explainer = Explainer(network, Composite(composite, head="convolution"))
    if trunk:
        return lambda: explainer(images, start=_same)
    return lambda: explainer(images, np.zeros(len(images), int))


def _same(x: jax.Array) -> jax.Array:
    return x


def theirs(name: str, composite: str, images: np.ndarray) -> Callable[[], object]:
    network = torchvision.models.get_model(name).eval()
    network = network.features if name == "vgg16" else network
    x = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    if composite == "epsilon_plus":
        rules = EpsilonPlus()
    else:
        rules = EpsilonGammaBox(low=torch.tensor(LOW).float(), high=torch.tensor(HIGH).float())

    def start(output: torch.Tensor) -> torch.Tensor:
        if output.ndim == 4:
            return output
        return output * torch.nn.functional.one_hot(torch.zeros(len(output), dtype=torch.long), output.shape[1])

    attributor = Gradient(network, rules)
    attributor.__enter__()  # for good
    return lambda: attributor(x, start)[1].numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    print(f"{versions()}; batch {options.batch}, 224×224; maps per second, median of {options.turns}")
    images = np.random.default_rng(0).normal(size=(options.batch, 224, 224, 3)).astype(np.float32)
    for name in ("squeezenet1_1", "vgg16"):
        for composite in ("epsilon_plus", "epsilon_gamma_box"):
            contestants = {"ours": ours(name, composite, images), "zennit": theirs(name, composite, images)}
            seconds: dict[str, list[float]] = {who: [] for who in contestants}
            for turn in range(options.turns + 1):
                for who, call in contestants.items():
                    begun = time.perf_counter()
                    call()
                    if turn:  # the first compiles
                        seconds[who].append(time.perf_counter() - begun)
            rates = {who: options.batch / statistics.median(found) for who, found in seconds.items()}
            print(f"{name:<14} {composite:<18}" + "".join(f"  {who} {rate:6.2f}" for who, rate in rates.items()))


if __name__ == "__main__":
    main()
