"""Whole networks with Top-K 20 %: images per second here against torchvision's networks in torch, in one run.

    python benchmarks/networks.py

The same architectures, both with random weights, and Top-K at the same places: after pool1, pool3, pool5 of SqueezeNet
1.1, after pool1, pool2, relu3, relu4, pool5 of AlexNet, after the five pools of VGG16. The dense networks are timed,
too: the last column has the part of our time that Top-K takes. Each contestant is a process of its own, as a user has
it: ours keeps the memory that it frees, as all jobs do. They take turns; the table has the median of each.
"""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from contestants import medians_of, run
from jax_work import Forward
from torch_reference import import_torchvision, torch_logits, versions

FRACTIONS = (0.2, 1.0)
NETWORKS = {  # name in both libraries: layers of torchvision's `features` that Top-K follows
    "squeezenet1_1": (2, 5, 8),
    "alexnet": (2, 5, 7, 9, 12),
    "vgg16": (4, 9, 16, 23, 30),
}


def torchs(name: str, images: np.ndarray, fraction: float) -> Callable[[], Any]:
    """A call of torchvision's network on the same images as (N, 3, 224, 224)."""
    network = import_torchvision().models.get_model(name).eval()
    x = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    return lambda: torch_logits(network, x, fraction, NETWORKS[name])


def calls(library: str, name: str, batch_size: int) -> list[Callable[[], Any]]:
    """A call of the network for each of `FRACTIONS`."""
    images = np.random.default_rng(0).normal(size=(batch_size, 224, 224, 3)).astype(np.float32)
    return [(Forward if library == "ours" else torchs)(name, images, fraction) for fraction in FRACTIONS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="turns that each takes (default: 7)")
    parser.add_argument("--batch_size", type=int, default=8, help="images per call (default: 8)")
    options = parser.parse_args()
    print(versions())
    print(
        f"images per second, batches of {options.batch_size}; ratio: ours / torch, above 1 means that ours is faster\n"
    )
    print(f"{'network':>14} {'kept':>5} {'torch':>8} {'ours':>8} {'ratio':>6} {'Top-K takes':>12}")
    for name in NETWORKS:
        found = medians_of(__file__, options.rounds, name, options.batch_size)
        speed = {library: [options.batch_size / seconds for seconds in times] for library, times in found.items()}
        for fraction, theirs, our in zip(FRACTIONS, speed["torch"], speed["ours"], strict=True):
            share = f" {1 - our / speed['ours'][-1]:12.1%}" if fraction < 1 else ""
            print(f"{name:>14} {fraction:5.0%} {theirs:8.1f} {our:8.1f} {our / theirs:6.2f}{share}", flush=True)


if __name__ == "__main__":
    with torch.inference_mode():
        run(main, calls)
