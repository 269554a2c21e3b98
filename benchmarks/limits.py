"""How far the machine lets training go: a step next to its matrix products alone, and the loader next to Pillow alone.

    python benchmarks/limits.py

First, a training step of ResNet-18 at 32 and 64 px, batch of 32, in both libraries; what its convolutions take alone,
forward and both gradients, each in a program of its own; and what part of the step their operations would take in a
large product of two matrices, where nothing waits for memory. Each library is a process of its own. Then decoding a
JPEG, cropping it at random to 224 px and flipping it, by Pillow in one thread, times two: no loader that decodes with
Pillow can do more with two cores, in either library.
"""

import argparse
import io
import statistics
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from contestants import LIBRARIES, medians_of, run
from flax import nnx
from PIL import Image
from torch_reference import import_torchvision, versions
from training import BATCH, CROP, SIDES, steps

from sparseshape_jax.models.layers import Conv

PRODUCT = 2048
"""Rows and columns of the matrices that are multiplied."""


class Convolution(NamedTuple):
    """A convolution of ResNet-18, on a batch."""

    x: tuple[int, int, int, int]
    """(N, C, H, W)."""
    kernel: tuple[int, int, int, int]
    """(out, in, rows, columns)."""
    stride: int
    padding: int

    @property
    def gradients(self) -> tuple[bool, bool]:
        """By input and by kernel; nobody needs the one by the image."""
        return self.x[1] > 3, True

    def operations(self) -> float:
        """Of a training step."""
        positions = np.prod([(size + 2 * self.padding - self.kernel[2]) // self.stride + 1 for size in self.x[2:]])
        return float((1 + sum(self.gradients)) * 2 * self.x[0] * positions * np.prod(self.kernel))


def convolutions(side: int) -> Counter[Convolution]:
    """How often each stands in the network."""
    found: Counter[Convolution] = Counter()
    network = import_torchvision().models.resnet18().eval()

    def count(layer: Any, inputs: Any, _: Any) -> None:
        x, kernel = (BATCH, *inputs[0].shape[1:]), tuple(layer.weight.shape)
        found[Convolution(x, kernel, layer.stride[0], layer.padding[0])] += 1

    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(count)
    network(torch.zeros(1, 3, side, side))
    return found


def torchs(one: Convolution) -> Callable[[], Any]:
    """A call of torch's convolution and its gradients."""
    x, kernel = torch.randn(one.x), torch.randn(one.kernel)
    stride, padding = [one.stride] * 2, [one.padding] * 2
    change = torch.randn_like(torch.nn.functional.conv2d(x, kernel, None, stride, padding))

    def call() -> None:
        torch.nn.functional.conv2d(x, kernel, None, stride, padding)
        torch.ops.aten.convolution_backward(
            change, x, kernel, None, stride, padding, [1, 1], False, [0, 0], 1, [*one.gradients, False]
        )

    return call


def ours(one: Convolution) -> Callable[[], Any]:
    """A call of our layer and its gradients."""
    rngs = nnx.Rngs(0)
    outputs, inputs, *taps = one.kernel
    layer = Conv(inputs, outputs, taps, strides=one.stride, padding=one.padding, use_bias=False, rngs=rngs)
    graphdef, state = nnx.split(layer)
    x = rngs.normal((one.x[0], *one.x[2:], inputs))
    change = jnp.ones(jax.eval_shape(layer, x).shape)

    def forward(state: Any, x: Any) -> Any:
        return nnx.merge(graphdef, state)(x)

    @jax.jit
    def passes(state: Any, x: Any) -> Any:
        if one.gradients[0]:
            y, gradients = jax.vjp(forward, state, x)
        else:
            y, gradients = jax.vjp(lambda state: forward(state, x), state)
        return y, gradients(change)

    return lambda: jax.block_until_ready(passes(state, x))


def product(library: str) -> Callable[[], Any]:
    """A call of a product of two matrices."""
    if library == "torch":
        theirs = torch.ones(PRODUCT, PRODUCT)
        return lambda: theirs @ theirs
    ours, multiply = jnp.ones((PRODUCT, PRODUCT)), jax.jit(jnp.matmul)
    return lambda: multiply(ours, ours).block_until_ready()


def calls(library: str, side: int) -> list[Callable[[], Any]]:
    """A product of matrices, a training step, and each of its convolutions."""
    convolution = torchs if library == "torch" else ours
    return [product(library), *steps(library, side, (1.0,)), *map(convolution, convolutions(side))]


def decoded_per_second(rounds: int) -> float:
    """Images per second that Pillow decodes, crops and resizes in one thread: a JPEG like those of `training.py`."""
    from skimage import data

    stored = io.BytesIO()
    Image.fromarray(data.astronaut()).crop((0, 0, 256, 256)).save(stored, "JPEG", quality=90)
    rng = np.random.default_rng(0)
    count, times = 100, []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(count):
            side = 256 * np.sqrt(rng.uniform(0.08, 1))
            left, top = (rng.uniform(0, 256 - side) for _ in range(2))
            box = (left, top, left + side, top + side)
            image = Image.open(stored).convert("RGB").resize((CROP, CROP), Image.Resampling.BILINEAR, box=box)
            np.asarray(image)[:, ::-1].copy()
        times.append(time.perf_counter() - began)
    return count / statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="turns that each takes (default: 7)")
    options = parser.parse_args()
    print(versions())
    print("medians, ms; product: what the operations of the convolutions take in a product of matrices\n")
    title = f"ResNet-18, batch {BATCH}"
    print(f"{title:>22} {'':>5} {'step':>7} {'convolutions alone':>19} {'product':>13}", flush=True)
    for side in SIDES:
        found, counts = medians_of(__file__, options.rounds, side), convolutions(side)
        operations = sum(count * one.operations() for one, count in counts.items())
        for library in LIBRARIES:
            multiplied, step, *each = (1e3 * seconds for seconds in found[library])
            alone = sum(count * cost for count, cost in zip(counts.values(), each, strict=True))
            least = operations / (2 * PRODUCT**3) * multiplied
            line = f"{f'{side}×{side}, dense':>22} {library:>5} {step:7.1f}"
            print(f"{line} {alone:12.1f} ({alone / step:4.0%}) {least:6.1f} ({least / step:4.0%})", flush=True)
    speed = [f"{library} {2 * PRODUCT**3 / found[library][0] / 1e9:.0f}" for library in LIBRARIES]
    print(f"\na product of matrices, GFLOP/s: {', '.join(speed)}")
    print(f"Pillow, two threads at best: {2 * decoded_per_second(options.rounds):.0f} images per second")


if __name__ == "__main__":
    run(main, calls)
