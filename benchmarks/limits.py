"""How far the machine lets training go: a step next to its matrix products alone, and the loader next to Pillow alone.

    python benchmarks/limits.py

First, a training step of ResNet-18 at 32 and 64 px, batch of 32, in both libraries, and what part of its time the
operations of its convolutions would take in a large product of two matrices, where nothing waits for memory. Then
decoding a JPEG, cropping it at random to 224 px and flipping it, by Pillow in one thread, times two: no loader that
decodes with Pillow can do more with two cores, in either library.
"""

import argparse
import io
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax_work import training_step
from PIL import Image
from torch_reference import import_torchvision, versions
from training import BATCH, CLASSES, CROP, SIDES, medians, torch_step

PRODUCT = 2048
"""Rows and columns of the matrices that are multiplied."""


def operations(side: int) -> float:
    """Of the convolutions of a training step: forward, and the gradients by kernel and (but for the first) input."""
    found = []
    network = import_torchvision().models.resnet18().eval()

    def count(layer: Any, inputs: Any, output: Any) -> None:
        passes = 3 if inputs[0].shape[1] > 3 else 2
        found.append(passes * 2 * output.shape[2] * output.shape[3] * layer.weight.numel())

    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(count)
    network(torch.zeros(1, 3, side, side))
    return float(BATCH * sum(found))


def operations_per_second(rounds: int) -> dict[str, float]:
    """What each library does in a product of two float32 matrices."""
    ours, theirs = jnp.ones((PRODUCT, PRODUCT)), torch.ones(PRODUCT, PRODUCT)
    multiply = jax.jit(jnp.matmul)
    calls = {"torch": lambda: theirs @ theirs, "ours": lambda: multiply(ours, ours).block_until_ready()}
    return {name: 2 * PRODUCT**3 / seconds for name, seconds in medians(calls, rounds).items()}


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
    rounds = parser.parse_args().rounds
    print(versions())
    print("medians; part: of the time, what the operations of its convolutions take in a product of matrices\n")
    speed = operations_per_second(rounds)
    print(f"{f'ResNet-18, batch {BATCH}':>22} {'torch, ms':>10} {'part':>6} {'ours, ms':>10} {'part':>6}")
    rng = np.random.default_rng(0)
    for side in SIDES:
        batch = rng.integers(0, 256, (BATCH, side, side, 3), np.uint8), rng.integers(0, CLASSES, BATCH).astype(np.int32)
        steps = medians({"torch": torch_step(batch, 1.0), "ours": training_step(batch, 1.0, classes=CLASSES)}, rounds)
        line = f"{f'{side}×{side}, dense':>22}"
        for name, seconds in steps.items():
            line += f" {1e3 * seconds:10.1f} {operations(side) / speed[name] / seconds:6.0%}"
        print(line, flush=True)
    print(f"\na product of matrices: torch {speed['torch'] / 1e9:.0f}, ours {speed['ours'] / 1e9:.0f} GFLOP/s")
    print(f"Pillow, two threads at best: {2 * decoded_per_second(rounds):.0f} images per second")


if __name__ == "__main__":
    main()
