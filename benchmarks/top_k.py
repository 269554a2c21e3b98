"""Top-K: this package's two methods and its automatic choice against torch.topk and scatter, in one run.

    python benchmarks/top_k.py

Each library has the array in its own layout: (N, H, W, C) here, (N, C, H, W) in torch. All take turns, so that other
load on the machine affects all of them, and the process keeps the memory that they free, as jobs do. The table has the
median of each; its last column is what the automatic choice takes for Top-K and its gradient, as a multiple of Top-K
alone.
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
from sparseshape_jax.memory import keep_freed_memory

SHAPES = ((8, 112, 112, 64), (8, 56, 56, 128), (8, 28, 28, 256), (8, 14, 14, 512))
"""The activations after VGG16's first four pools, for a batch of 8."""
FRACTIONS = (0.05, 0.2, 0.5)
METHODS = ("top_k", "threshold", "auto")
GRADIENT = "with gradient"


def milliseconds(function: Callable[[], Any]) -> float:
    began = time.perf_counter()
    function()
    return 1000 * (time.perf_counter() - began)


def with_gradient(x: jax.Array, cotangent: jax.Array, fraction: float) -> tuple[jax.Array, jax.Array]:
    """Top-K, and what flows back through it."""
    sparse, pull_back = jax.vjp(partial(keep_top_k, fraction=fraction), x)
    return sparse, pull_back(cotangent)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="turns that each takes (default: 9)")
    rounds = parser.parse_args().rounds
    keep_freed_memory()
    print(versions())
    print("medians in ms; ratio: torch / ours, above 1 means that ours is faster\n")
    titles = "".join(f" {method:>10} {'ratio':>6}" for method in METHODS)
    print(f"{'shape':>18} {'kept':>5} {'torch':>8}{titles} {GRADIENT}")
    ratios: dict[str, list[float]] = {method: [] for method in METHODS}
    for shape, fraction in itertools.product(SHAPES, FRACTIONS):
        # A rectified feature map: half of it is zero.
        x = np.maximum(np.random.default_rng(0).normal(size=shape), 0).astype(np.float32)
        ours = jax.device_put(x)
        theirs = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
        contestants: dict[str, Callable[[], Any]] = {"torch": partial(torch_top_k, theirs, fraction)}
        for method in METHODS:
            compiled = jax.jit(partial(keep_top_k, fraction=fraction, method=method))
            contestants[method] = lambda compiled=compiled, x=ours: compiled(x).block_until_ready()
        both = jax.jit(lambda x, y, fraction=fraction: with_gradient(x, y, fraction))
        contestants[GRADIENT] = lambda both=both, x=ours: jax.block_until_ready(both(x, x))
        for function in contestants.values():
            function()  # compiles, allocates
        times: dict[str, list[float]] = {name: [] for name in contestants}
        for _ in range(rounds):
            for name, function in contestants.items():
                times[name].append(milliseconds(function))
        medians = {name: statistics.median(values) for name, values in times.items()}
        for method in METHODS:
            ratios[method].append(medians["torch"] / medians[method])
        line = f"{'×'.join(map(str, shape)):>18} {fraction:5.0%} {medians['torch']:8.1f}"
        line += "".join(f" {medians[method]:10.1f} {ratios[method][-1]:6.2f}" for method in METHODS)
        print(f"{line} {medians[GRADIENT] / medians['auto']:{len(GRADIENT)}.2f}", flush=True)
    print(
        f"{'geometric mean':>33}" + "".join(f"{statistics.geometric_mean(ratios[method]):18.2f}" for method in METHODS)
    )


if __name__ == "__main__":
    with torch.inference_mode():
        main()
