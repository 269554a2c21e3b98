"""What it brings that freed memory is kept: forward passes per second with and without `keep_freed_memory`.

    python benchmarks/memory.py

Each network runs in processes of its own, in turn with and without. The table has the median of the rounds, and the
peak of resident memory.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from jax_work import Forward

from sparseshape_jax.memory import keep_freed_memory

CASES = (("squeezenet1_1", 8), ("squeezenet1_1", 64), ("vgg16", 8), ("vgg16", 32))
SECONDS = 5


def measure(network: str, batch_size: int) -> dict[str, float]:
    """Images per second and GiB."""
    images = np.random.default_rng(0).normal(size=(batch_size, 224, 224, 3)).astype(np.float32)
    forward = Forward(network, images, 1.0)
    forward()
    calls, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < SECONDS:
        forward()
        calls += 1
    with Path("/proc/self/status").open() as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 2**20
    return {"speed": calls * batch_size / passed, "peak": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="turns that each takes (default: 3)")
    parser.add_argument("--case", nargs=3, metavar=("NETWORK", "BATCH", "KEEP"), help="one part (what the table runs)")
    options = parser.parse_args()
    if options.case:
        network, batch_size, keep = options.case
        if keep == "True":
            keep_freed_memory()
        print(json.dumps(measure(network, int(batch_size))))
        return
    print(f"{'network':>14} {'batch':>6} {'images/s':>9} {'kept':>6} {'ratio':>6} {'GiB':>6} {'kept':>6}")
    for network, batch_size in CASES:
        found: dict[bool, list[dict[str, float]]] = {False: [], True: []}
        for _ in range(options.rounds):
            for keep in found:
                command = [sys.executable, __file__, "--case", network, str(batch_size), str(keep)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                found[keep].append(json.loads(done.stdout))
        speeds, peaks = (
            [statistics.median(one[name] for one in found[keep]) for keep in found] for name in ("speed", "peak")
        )
        print(
            f"{network:>14} {batch_size:6d} {speeds[0]:9.1f} {speeds[1]:6.1f} {speeds[1] / speeds[0]:6.2f}"
            f" {peaks[0]:6.2f} {peaks[1]:6.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
