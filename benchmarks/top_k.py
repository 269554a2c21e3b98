"""Top-K: this package's two methods and its automatic choice against torch.topk and scatter, in one run.

    python benchmarks/top_k.py

Each library has the array in its own layout: (N, H, W, C) here, (N, C, H, W) in torch. The four take turns, so that
other load on the machine affects all of them. The table has the median of each.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
import torch
from torch_reference import torch_top_k, versions

from sparseshape_jax import keep_top_k

SHAPES = ((8, 112, 112, 64), (8, 56, 56, 128), (8, 28, 28, 256), (8, 14, 14, 512))
"""The activations after VGG16's first four pools, for a batch of 8."""
FRACTIONS = (0.05, 0.2, 0.5)
METHODS = ("top_k", "threshold", "auto")


def milliseconds(function: Callable[[], Any]) -> float:
    began = time.perf_counter()
    function()
    return 1000 * (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="turns that each takes (default: 9)")
    rounds = parser.parse_args().rounds
    print(versions())
    print("medians in ms; ratio: torch / ours, above 1 means that ours is faster\n")
    print(f"{'shape':>18} {'kept':>5} {'torch':>8}" + "".join(f" {method:>10} {'ratio':>6}" for method in METHODS))
    for shape, fraction in itertools.product(SHAPES, FRACTIONS):
        # A rectified feature map: half of it is zero.
        x = np.maximum(np.random.default_rng(0).normal(size=shape), 0).astype(np.float32)
        ours = jax.device_put(x)
        theirs = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
        contestants: dict[str, Callable[[], Any]] = {"torch": partial(torch_top_k, theirs, fraction)}
        for method in METHODS:
            compiled = jax.jit(partial(keep_top_k, fraction=fraction, method=method))
            contestants[method] = lambda compiled=compiled, x=ours: compiled(x).block_until_ready()
        for function in contestants.values():
            function()  # compiles, allocates
        times: dict[str, list[float]] = {name: [] for name in contestants}
        for _ in range(rounds):
            for name, function in contestants.items():
                times[name].append(milliseconds(function))
        medians = {name: statistics.median(values) for name, values in times.items()}
        line = f"{'×'.join(map(str, shape)):>18} {fraction:5.0%} {medians['torch']:8.1f}"
        print(line + "".join(f" {medians[name]:10.1f} {medians['torch'] / medians[name]:6.2f}" for name in METHODS))


if __name__ == "__main__":
    with torch.inference_mode():
        main()
