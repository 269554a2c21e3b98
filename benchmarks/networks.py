"""Whole networks with Top-K 20 %: images per second here against torchvision's networks in torch, in one run.

    python benchmarks/networks.py

The same architectures, both with random weights, and Top-K at the same places: after pool1, pool3, pool5 of SqueezeNet
1.1, after pool1, pool2, relu3, relu4, pool5 of AlexNet, after the five pools of VGG16. The dense networks are timed,
too: the last column has the part of our time that Top-K takes. Each contestant is a process of its own, as a user has
it: ours keeps the memory that it frees, as all jobs do. They take turns; the table has the median of each.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jax_work import Forward
from torch_reference import import_torchvision, torch_logits, versions

from sparseshape_jax.memory import keep_freed_memory

FRACTION = 0.2
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


def serve(library: str, name: str, fraction: float, batch_size: int) -> None:
    """What a contestant's process does: a forward pass for each line that it reads, and the seconds that it took."""
    images = np.random.default_rng(0).normal(size=(batch_size, 224, 224, 3)).astype(np.float32)
    if library == "ours":
        keep_freed_memory()  # as every job does
    call = Forward(name, images, fraction) if library == "ours" else torchs(name, images, fraction)
    call()  # compiles, allocates
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        call()
        print(time.perf_counter() - began, flush=True)


class Contestant:
    """A process that waits for its turns."""

    def __init__(self, *facts: Any) -> None:
        command = [sys.executable, __file__, "--serve", *map(str, facts)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._next_line()

    def turn(self) -> float:
        """The seconds of one forward pass."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._next_line())

    def end(self) -> None:
        self._process.communicate()

    def _next_line(self) -> str:
        assert self._process.stdout is not None
        if not (line := self._process.stdout.readline()):
            sys.exit("a contestant ended early")
        return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="turns that each takes (default: 7)")
    parser.add_argument("--batch_size", type=int, default=8, help="images per call (default: 8)")
    parser.add_argument(
        "--serve", nargs=4, metavar=("LIBRARY", "NETWORK", "FRACTION", "BATCH"), help="be one (what the table runs)"
    )
    options = parser.parse_args()
    if options.serve:
        library, name, fraction, batch_size = options.serve
        serve(library, name, float(fraction), int(batch_size))
        return
    print(versions())
    print(
        f"images per second, batches of {options.batch_size}; ratio: ours / torch, above 1 means that ours is faster\n"
    )
    print(f"{'network':>14} {'kept':>5} {'torch':>8} {'ours':>8} {'ratio':>6} {'Top-K takes':>12}")
    for name in NETWORKS:
        keys = [(fraction, library) for fraction in (FRACTION, 1.0) for library in ("torch", "ours")]
        contestants = {key: Contestant(key[1], name, key[0], options.batch_size) for key in keys}
        times: dict[tuple[float, str], list[float]] = {key: [] for key in contestants}
        for _ in range(options.rounds):
            for key, contestant in contestants.items():
                times[key].append(contestant.turn())
        for contestant in contestants.values():
            contestant.end()
        speed = {key: options.batch_size / statistics.median(values) for key, values in times.items()}
        for fraction in (FRACTION, 1.0):
            theirs, our = speed[fraction, "torch"], speed[fraction, "ours"]
            share = f" {1 - our / speed[1.0, 'ours']:12.1%}" if fraction < 1 else ""
            print(f"{name:>14} {fraction:5.0%} {theirs:8.1f} {our:8.1f} {our / theirs:6.2f}{share}", flush=True)


if __name__ == "__main__":
    with torch.inference_mode():
        main()
