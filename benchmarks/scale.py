"""How the cost of Top-K and of a network grows, as a figure: with positions, channels, images, fractions, devices.

    python benchmarks/scale.py --out scale.png

Each panel changes one thing and leaves the others: maps of 56×56 positions and 128 channels, 8 images, 20 %. The
network is SqueezeNet 1.1 at 224 pixels with Top-K 20 %, and what is trained is ResNet-18 at 32 pixels with batches of
32. Devices are virtual ones of this machine's CPU, and both processes run on it, so that the last panel shows what
splitting and averaging cost, not what more hardware gains. Takes about five minutes, and prints each line as it comes.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax_work import Forward, random_network, training_step
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparseshape_jax import TopK, keep_top_k, parallel
from sparseshape_jax.figures.save import save
from sparseshape_jax.memory import keep_freed_memory
from sparseshape_jax.predictor import Predictor
from sparseshape_jax.preprocessing import Preprocessing
from sparseshape_jax.top_k.placement import place

POSITIONS = tuple(side**2 for side in (7, 14, 28, 56, 112))
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


def train(rounds: int) -> float:
    """Milliseconds of a training step, whose gradients are averaged over all devices of all processes."""
    images = 32 // jax.process_count()
    rng = np.random.default_rng(jax.process_index())
    batch = rng.integers(0, 256, (images, 32, 32, 3), np.uint8), rng.integers(0, 10, images).astype(np.int32)
    return milliseconds(training_step(batch, 0.2, classes=10), rounds)


WORK = {"split": split, "train": train}


def elsewhere(work: str, rounds: int, *, devices: int = 1, processes: int = 1) -> float:
    """Some `WORK` in processes of its own, each of which sees this many virtual devices."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    command = [sys.executable, __file__, "--work", work, "--rounds", str(rounds)]
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    started = []
    for process in range(processes):
        join = ["--join", str(port), str(processes), str(process)] if processes > 1 else []
        environment = os.environ | {"XLA_FLAGS": flags}
        started.append(subprocess.Popen(command + join, env=environment, stdout=subprocess.PIPE, text=True))
    printed = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise SystemExit(f"{work} on {devices} devices of {processes} processes failed; see above")
    return float(json.loads(printed[0].splitlines()[-1]))


def draw(axes: Axes, label: str, values: Sequence[float], measure: Callable[[Any], float]) -> None:
    """Measure a line of a panel, draw it, and print it."""
    found = [measure(value) for value in values]
    axes.loglog(values, found, marker="o", label=label)
    row = ", ".join(f"{value:g}: {cost:.2f}" for value, cost in zip(values, found, strict=True))
    # The slope in log-log axes, by least squares: 1 is proportional growth.
    slope = f"; exponent {np.polyfit(np.log(values), np.log(found), 1)[0]:.2f}" if len(values) > 1 else ""
    print(f"{label} by {axes.get_xlabel()}, ms: {row}{slope}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("scale.png"), help="the figure (default: scale.png)")
    parser.add_argument("--rounds", type=int, default=7, help="calls that are timed, each (default: 7)")
    parser.add_argument("--work", choices=WORK, help=argparse.SUPPRESS)
    parser.add_argument("--join", type=int, nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    rounds = options.rounds
    keep_freed_memory()  # as every job does
    if options.work:
        if options.join:
            port, processes, process = options.join
            parallel.start_processes(coordinator=f"localhost:{port}", processes=processes, process=process)
        print(json.dumps(WORK[options.work](rounds)))
        return

    figure = Figure(figsize=(15, 3.2), layout="constrained")
    panels = {
        "positions": POSITIONS,
        "channels": CHANNELS,
        "images": IMAGES,
        "keep fraction": FRACTIONS,
        "virtual devices": DEVICES,
    }
    for axes, name in zip(figure.subplots(1, len(panels), sharey=True), panels, strict=True):
        axes.set_xlabel(name)
    positions, channels, images, fractions, devices = figure.axes
    draw(positions, "Top-K", POSITIONS, lambda count: top_k(rounds, side=round(count**0.5)))
    draw(channels, "Top-K", CHANNELS, lambda count: top_k(rounds, channels=count))
    draw(fractions, "Top-K", FRACTIONS, lambda fraction: top_k(rounds, fraction=fraction))
    draw(images, "Top-K", IMAGES, lambda count: top_k(rounds, images=count))
    draw(images, "SqueezeNet, dense", IMAGES, lambda count: network(rounds, count, 1.0))
    draw(images, "SqueezeNet, 20 %", IMAGES, lambda count: network(rounds, count, 0.2))
    draw(devices, "SqueezeNet, 20 %", DEVICES, lambda count: elsewhere("split", rounds, devices=count))
    draw(devices, "training step", DEVICES, lambda count: elsewhere("train", rounds, devices=count))
    draw(devices, "training step, 2 processes", [2], lambda count: elsewhere("train", rounds, processes=count))
    for axes, values in zip(figure.axes, panels.values(), strict=True):
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend()
    figure.axes[0].set_ylabel("milliseconds")
    save(figure, options.out.with_suffix(""))


if __name__ == "__main__":
    main()
