"""Few-shot training: an iteration of FastGAN with LPIPS, DiffAugment and Top-K 5 %, against torch, in one run.

    python benchmarks/few_shot.py

Ours is what `train.py few-shot` compiles. In torch it is the reference's order of work, eager, on networks of the same
layers and widths. Each is a process of its own, and they take turns; the table has the median of each.
`benchmarks/fid.py` compares the trace of the Fréchet distance.
"""

import argparse
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch
from contestants import medians_of, run
from torch_fastgan import Iteration
from torch_reference import versions

from sparseshape_jax import TopK, parallel
from sparseshape_jax.few_shot.initial import with_first_weights
from sparseshape_jax.few_shot.lpips import LPIPS
from sparseshape_jax.few_shot.step import GANStep
from sparseshape_jax.models.fastgan import Generator
from sparseshape_jax.models.fastgan_discriminator import Discriminator
from sparseshape_jax.top_k.placement import place

WIDTH, NZ = 16, 256
FRACTIONS = (0.05, 1.0)


def ours(pixels: np.ndarray, fraction: float) -> Callable[[], Any]:
    """A call that takes the next iteration with this package."""
    batch, size = pixels.shape[:2]
    generator = with_first_weights(lambda rngs: Generator(size, WIDTH, NZ, axis_name=parallel.AXIS, rngs=rngs), 0)
    discriminator = with_first_weights(
        lambda rngs: Discriminator(size, WIDTH, decoder_width=WIDTH, axis_name=parallel.AXIS, rngs=rngs), 0
    )
    at = place(TopK(fraction, after=("feat_32",)), generator)
    stepper = GANStep(generator, discriminator, LPIPS.load(), at=at, batch_size=batch)
    step, state = parallel.data_parallel(stepper.train(), donate=True), parallel.replicate(stepper.start())

    def call() -> Any:
        nonlocal state
        state, metrics = step(state, pixels)
        return jax.block_until_ready((state, metrics))

    return call


def theirs(pixels: np.ndarray, fraction: float) -> Callable[[], Any]:
    """The same with torch, from the same bytes."""
    batch, size = pixels.shape[:2]
    iteration = Iteration(size, WIDTH, NZ, batch, fraction)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    return lambda: iteration(images / 127.5 - 1)


def calls(library: str, size: int, batch: int) -> list[Callable[[], Any]]:
    """A call that takes the next iteration, for each of `FRACTIONS`."""
    pixels = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), dtype=np.uint8)
    return [(ours if library == "ours" else theirs)(pixels, fraction) for fraction in FRACTIONS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="turns that each takes (default: 5)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256], help="sides in pixels (default: 64 256)")
    parser.add_argument("--batch", type=int, default=8, help="pictures per iteration (default: 8)")
    options = parser.parse_args()
    print(versions())
    print(f"medians of {options.rounds}; ratio: ours / torch in iterations, above 1 means that ours is faster\n")
    print(
        f"{f'ngf = ndf = {WIDTH}, batch {options.batch}':>26} {'torch':>8} {'ours':>8} {'ratio':>6}   s per iteration"
    )
    for size in options.sizes:
        found = medians_of(__file__, options.rounds, size, options.batch)
        for fraction, torchs, our in zip(FRACTIONS, found["torch"], found["ours"], strict=True):
            title = f"{size} px, " + (f"Top-K {fraction:.0%}" if fraction < 1 else "dense")
            print(f"{title:>26} {torchs:8.2f} {our:8.2f} {torchs / our:6.2f}", flush=True)


if __name__ == "__main__":
    run(main, calls)
