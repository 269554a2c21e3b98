"""How far the convolutions and the JPEG decoder alone let training go: both libraries' own, without anything of ours.

    python benchmarks/limits.py

First, the convolutions of ResNet-18 at 32 and 64 px, batch of 32: forward, and the gradients by the input and by the
kernel, as one XLA program for each shape and as torch calls, each in its own layout; times the number of layers of that
shape, summed over the network. A training step of this package cannot take less time than XLA's convolutions, whatever
else it does well. Then the loader: decoding a JPEG, cropping it at random to 224 px and flipping it, by Pillow in one
thread, times two. No loader that decodes with Pillow can do more with two cores, in either library.
"""

import argparse
import io
import statistics
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch
from jax import lax
from jax_work import training_step
from PIL import Image
from torch_reference import import_torchvision, versions
from training import BATCH, CLASSES, CROP, SIDES, medians, torch_step

Shape = tuple[int, int, int, int, int]
"""The side of the input, channels in, channels out, the side of the kernel, the stride."""


def convolutions(side: int) -> Counter[Shape]:
    """How often each shape of convolution occurs in torchvision's ResNet-18, for images of `side` pixels."""
    found: Counter[Shape] = Counter()
    network = import_torchvision().models.resnet18()

    def count(layer: Any, inputs: Any, _: Any) -> None:
        found[inputs[0].shape[-1], layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.stride[0]] += 1

    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(count)
    network.eval()(torch.zeros(1, 3, side, side))
    return found


def xla(shape: Shape) -> Callable[[], Any]:
    """A call of the convolution and of both of its gradients."""
    side, inputs, outputs, kernel, stride = shape
    x = jax.random.normal(jax.random.key(0), (BATCH, side, side, inputs))
    weights = jax.random.normal(jax.random.key(1), (kernel, kernel, inputs, outputs))
    pad = ((kernel // 2,) * 2,) * 2

    def forward(x: jax.Array, weights: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(x, weights, (stride,) * 2, pad, dimension_numbers=("NHWC", "HWIO", "NHWC"))

    @jax.jit
    def both(x: jax.Array, weights: jax.Array) -> Any:
        y, pull_back = jax.vjp(forward, x, weights)
        return y, pull_back(y)

    return lambda: jax.block_until_ready(both(x, weights))


def torchs(shape: Shape) -> Callable[[], Any]:
    """The same in torch."""
    side, inputs, outputs, kernel, stride = shape
    x = torch.randn(BATCH, inputs, side, side, requires_grad=True)
    weights = torch.randn(outputs, inputs, kernel, kernel, requires_grad=True)

    def call() -> Any:
        y = torch.nn.functional.conv2d(x, weights, stride=stride, padding=kernel // 2)
        return torch.autograd.grad(y, (x, weights), y.detach())

    return call


def convolution_table(rounds: int) -> None:
    print(f"{'ResNet-18, ms':>22} {'torch':>8} {'ours':>8} {'ratio':>6}   convolutions alone: torch, XLA, ratio")
    rng = np.random.default_rng(0)
    for side in SIDES:
        alone = {"torch": 0.0, "XLA": 0.0}
        for shape, count in convolutions(side).items():
            for name, seconds in medians({"torch": torchs(shape), "XLA": xla(shape)}, rounds).items():
                alone[name] += 1e3 * count * seconds
        batch = rng.integers(0, 256, (BATCH, side, side, 3), np.uint8), rng.integers(0, CLASSES, BATCH).astype(np.int32)
        steps = medians({"torch": torch_step(batch, 1.0), "ours": training_step(batch, 1.0, classes=CLASSES)}, rounds)
        theirs, ours = 1e3 * steps["torch"], 1e3 * steps["ours"]
        print(
            f"{f'{side}×{side}, a step':>22} {theirs:8.1f} {ours:8.1f} {theirs / ours:6.2f}   "
            f"{alone['torch']:.1f}, {alone['XLA']:.1f}, {alone['torch'] / alone['XLA']:.2f}",
            flush=True,
        )


def decoded_per_second(rounds: int) -> float:
    """Images per second that Pillow decodes, crops and resizes in one thread; the JPEGs of `training.py`."""
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
    print("medians; ratio: torch / ours, above 1 means that ours is faster\n")
    convolution_table(options.rounds)
    print(f"\nPillow, images per second of two threads at best: {2 * decoded_per_second(options.rounds):.0f}")


if __name__ == "__main__":
    main()
