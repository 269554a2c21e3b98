"""How the cost of Top-K and of a network grows, as a figure: with positions, channels, images, fractions, devices.

    python benchmarks/scale.py --out scale.png

Each panel changes one thing and leaves the others: maps of 56×56 positions and 128 channels, 8 images, 20 %. The
network is SqueezeNet 1.1 at 224 pixels with Top-K 20 %. Devices are virtual ones of this machine's CPU, so that the
last panel shows what splitting costs, not what more hardware gains. Takes a few minutes.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax_work import Forward, random_network
from matplotlib.figure import Figure

from sparseshape_jax import TopK, keep_top_k
from sparseshape_jax.figures.save import save
from sparseshape_jax.predictor import Predictor
from sparseshape_jax.preprocessing import Preprocessing
from sparseshape_jax.top_k.placement import place

SIDES = (7, 14, 28, 56, 112)
CHANNELS = (16, 64, 128, 256, 512)
IMAGES = (1, 2, 4, 8, 16, 32)
FRACTIONS = (0.01, 0.05, 0.2, 0.5, 0.8)
DEVICES = (1, 2, 4)
BATCH = 8


def milliseconds(call: Callable[[], Any], rounds: int) -> float:
    call()
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        found.append(1e3 * (time.perf_counter() - began))
    return statistics.median(found)


def top_k(rounds: int, *, side: int = 56, channels: int = 128, images: int = BATCH, fraction: float = 0.2) -> float:
    """Milliseconds of a Top-K of rectified maps."""
    shape = (images, side, side, channels)
    x = jnp.asarray(np.maximum(np.random.default_rng(0).normal(size=shape), 0), jnp.float32)
    sparse = jax.jit(partial(keep_top_k, fraction=fraction))
    return milliseconds(lambda: sparse(x).block_until_ready(), rounds)


def network(rounds: int, images: int, fraction: float) -> float:
    pixels = np.random.default_rng(0).random((images, 224, 224, 3), np.float32)
    return milliseconds(Forward("squeezenet1_1", pixels, fraction), rounds)


def split(rounds: int) -> float:
    """Milliseconds of a batch through the predictor, which splits it over the devices of this process."""
    found = random_network("squeezenet1_1")
    found.eval()
    logits = Predictor(found, Preprocessing()).logits(place(TopK(0.2), found))
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, 224, 224, 3), np.uint8)
    return milliseconds(lambda: logits(pixels), rounds)


def on_devices(count: int, rounds: int) -> float:
    """`split` in a process of its own that sees this many virtual devices."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"
    command = [sys.executable, __file__, "--split", "--rounds", str(rounds)]
    done = subprocess.run(command, env=os.environ | {"XLA_FLAGS": flags}, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("scale.png"), help="the figure (default: scale.png)")
    parser.add_argument("--rounds", type=int, default=7, help="calls that are timed, each (default: 7)")
    parser.add_argument("--split", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    rounds = options.rounds
    if options.split:
        print(json.dumps(split(rounds)))
        return

    panels = {
        "positions": ([side**2 for side in SIDES], {"Top-K": [top_k(rounds, side=side) for side in SIDES]}),
        "channels": (CHANNELS, {"Top-K": [top_k(rounds, channels=channels) for channels in CHANNELS]}),
        "images": (
            IMAGES,
            {
                "Top-K": [top_k(rounds, images=images) for images in IMAGES],
                "SqueezeNet, dense": [network(rounds, images, 1.0) for images in IMAGES],
                "SqueezeNet, 20 %": [network(rounds, images, 0.2) for images in IMAGES],
            },
        ),
        "keep fraction": (FRACTIONS, {"Top-K": [top_k(rounds, fraction=fraction) for fraction in FRACTIONS]}),
        "virtual devices": (DEVICES, {"SqueezeNet, 20 %": [on_devices(count, rounds) for count in DEVICES]}),
    }
    figure = Figure(figsize=(15, 3.2), layout="constrained")
    for axes, (name, (values, lines)) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        for label, found in lines.items():
            axes.loglog(values, found, marker="o", label=label)
            # The slope in log-log axes, by least squares: 1 is proportional growth.
            slope = np.polyfit(np.log(values), np.log(found), 1)[0]
            row = ", ".join(f"{value:g}: {cost:.2f}" for value, cost in zip(values, found, strict=True))
            print(f"{label} by {name}, ms: {row}; exponent {slope:.2f}", flush=True)
        axes.set_xlabel(name)
        axes.set_xticks(values, [f"{value:g}" for value in values], minor=False)
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend()
    figure.axes[0].set_ylabel("milliseconds")
    save(figure, options.out.with_suffix(""))


if __name__ == "__main__":
    main()
