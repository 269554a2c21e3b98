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


def serve(library: str, name: str, batch_size: int) -> None:
    """What a contestant's process does: for each line that it reads, the seconds of its passes, Top-K first."""
    images = np.random.default_rng(0).normal(size=(batch_size, 224, 224, 3)).astype(np.float32)
    if library == "ours":
        keep_freed_memory()  # as every job does
    calls = [(Forward if library == "ours" else torchs)(name, images, fraction) for fraction in FRACTIONS]
    for call in calls:
        call()  # compiles, allocates
    print("ready", flush=True)
    for _ in sys.stdin:
        print(*map(timed, calls), flush=True)


def timed(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


class Contestant:
    """A process that waits for its turns."""

    def __init__(self, *facts: Any) -> None:
        command = [sys.executable, __file__, "--serve", *map(str, facts)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._next_line()

    def turn(self) -> list[float]:
        """The seconds of a forward pass at each of `FRACTIONS`."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return [float(seconds) for seconds in self._next_line().split()]

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
        "--serve", nargs=3, metavar=("LIBRARY", "NETWORK", "BATCH"), help="be one (what the table runs)"
    )
    options = parser.parse_args()
    if options.serve:
        library, name, batch_size = options.serve
        serve(library, name, int(batch_size))
        return
    print(versions())
    print(
        f"images per second, batches of {options.batch_size}; ratio: ours / torch, above 1 means that ours is faster\n"
    )
    print(f"{'network':>14} {'kept':>5} {'torch':>8} {'ours':>8} {'ratio':>6} {'Top-K takes':>12}")
    for name in NETWORKS:
        contestants = {library: Contestant(library, name, options.batch_size) for library in ("torch", "ours")}
        times: dict[str, list[list[float]]] = {library: [] for library in contestants}
        for _ in range(options.rounds):
            for library, contestant in contestants.items():
                times[library].append(contestant.turn())
        for contestant in contestants.values():
            contestant.end()
        speed = {
            library: [options.batch_size / statistics.median(column) for column in zip(*rounds, strict=True)]
            for library, rounds in times.items()
        }
        for fraction, theirs, our in zip(FRACTIONS, speed["torch"], speed["ours"], strict=True):
            share = f" {1 - our / speed['ours'][-1]:12.1%}" if fraction < 1 else ""
            print(f"{name:>14} {fraction:5.0%} {theirs:8.1f} {our:8.1f} {our / theirs:6.2f}{share}", flush=True)


if __name__ == "__main__":
    with torch.inference_mode():
        main()
