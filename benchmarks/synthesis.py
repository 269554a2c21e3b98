"""Texture synthesis on VGG16: what the optimiser, a batch and PyTorch cost beside bare evaluations, in one run.

    python benchmarks/synthesis.py

The objective is that of `synthesize.py texture`: Gram matrices at relu1_1 and pool1 to pool4 of torchvision's VGG16
with average pooling, pixels as a sigmoid over the target's range, from the flat start, at one size. In PyTorch the same
objective, with the same weights and from the same image, is minimised by `torch.optim.LBFGS` as the reference sets it
up: over the pixels as they are, strong Wolfe, learning rate 1, history 100, in calls of 20 iterations, on the loss in
the reference's units. Ours has its defaults, whitened pixels among them; `--whitening 0` leaves its pixels as they are.
"""

import argparse
import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch
import torch.nn.functional as F
from top_k import torch_top_k
from tqdm import tqdm

from sparseshape_jax.errors import InputError
from sparseshape_jax.placement import TopK
from sparseshape_jax.synthesis.job import Texture, default_image, read_pixels
from sparseshape_jax.synthesis.minimise import Run, minimise
from sparseshape_jax.synthesis.objective import REFERENCE_SCALE
from sparseshape_jax.synthesis.pixels import Parameterisation
from sparseshape_jax.synthesis.state import State
from sparseshape_jax.synthesis.workshop import Task, Workshop
from sparseshape_jax.weights.assign import export

BATCH = 4


class Ours:
    """This package on one square photograph."""

    def __init__(self, size: int, keep: str, whitening: float) -> None:
        config = Texture(size=size, topk=TopK(0.05, keep=keep), whitening=whitening)  # type: ignore[arg-type]
        pixels = read_pixels(default_image(), size)
        left = (pixels.shape[1] - size) // 2
        self.pixels, self.top_k = pixels[:, left : left + size], config.topk
        self.workshop = Workshop(config)
        self.problem = self.workshop._problem(self.tasks(1, 1), State("", np.zeros((2, 1), int)))
        self.scale = self.workshop._scale(self.problem)
        self.args = ({**self.problem.per_image, "scale": self.scale},)
        self.value_and_grad = self.workshop._value_and_grad(self.problem.kind, self.problem.top_k)
        self.bare = jax.jit(self.value_and_grad)

    def tasks(self, count: int, steps: int) -> list[Task]:
        return [Task("photo", self.pixels, "texture", self.top_k, seed, steps) for seed in range(count)]

    def whole_run(self, count: int, steps: int) -> None:
        """All that the job does for a batch, from the target to the image on the disk."""
        with tempfile.TemporaryDirectory() as folder, tqdm(disable=True) as progress:
            self.workshop.make(self.tasks(count, steps), Path(folder), Path(folder, ".state.npz"), progress)

    def bare_evaluations(self, steps: int) -> None:
        for _ in range(steps):
            jax.block_until_ready(self.bare(self.problem.start, *self.args))

    def race(self, goal: float, steps: int) -> tuple[int, float]:
        """Evaluations and seconds that it takes to reach a loss; the seconds are infinite if `steps` are too few."""
        done, began, ended = 0, time.perf_counter(), np.inf

        def watch(evaluations: int, run: Run) -> None:
            nonlocal done, ended
            done = evaluations
            if run.losses[0, -1] * self.scale[0] <= goal:
                ended = time.perf_counter()
                raise StopIteration

        options = {"steps": steps, "optimiser": self.workshop.optimiser, "args": self.args, "every": 1}
        with contextlib.suppress(StopIteration):
            minimise(self.value_and_grad, self.problem.start, callback=watch, **options)
        return done, ended - began


class Torch:
    """The same in PyTorch."""

    def __init__(self, ours: Ours, keep: str) -> None:
        model = ours.workshop.loaded.model
        self.names, self.layers, self.keep = model.names, ours.workshop.layers, keep
        arrays = [torch.from_numpy(array) for array in export(model).values()]
        self.weights = list(zip(arrays[::2], arrays[1::2], strict=True))
        self.low, self.high = (float(ours.problem.per_image[name].item()) for name in ("low", "high"))
        # The image that ours starts from, but with the reference's params.
        bounds = (ours.problem.per_image["low"], ours.problem.per_image["high"])
        image = ours.workshop.parameterisation.to_normalised(ours.problem.start, *bounds)
        start = Parameterisation("sigmoid", whitening=0).to_params(image, *bounds)
        self.start = torch.from_numpy(np.array(start).transpose(0, 3, 1, 2).copy())
        normalised = np.asarray(ours.workshop.loaded.preprocessing.normalise(jax.numpy.asarray(ours.pixels)))
        with torch.no_grad():
            self.targets = self.grams(torch.from_numpy(normalised.transpose(2, 0, 1).copy())[None])

    def grams(self, x: torch.Tensor) -> list[torch.Tensor]:
        weights, grams = iter(self.weights), []
        for name in self.names[: self.names.index(self.layers[-1]) + 1]:
            if name.startswith("conv"):
                x = F.conv2d(x, *next(weights), padding=1)
            else:
                x = F.relu(x) if name.startswith("relu") else F.avg_pool2d(x, 2)
            if name in self.layers:
                sparse = x if self.keep == "all" else torch_top_k(x, 0.05)
                flat = (x - sparse if self.keep == "rest" else sparse).flatten(2)[0]
                grams.append(flat @ flat.T / flat.numel())
        return grams

    def loss(self, params: torch.Tensor) -> torch.Tensor:
        grams = self.grams(self.low + (self.high - self.low) * torch.sigmoid(params))
        differences = [((gram - target) ** 2).sum() for gram, target in zip(grams, self.targets, strict=True)]
        return REFERENCE_SCALE * torch.stack(differences).sum()

    def race(self, steps: int) -> tuple[float, int, float]:
        """The best loss of so many evaluations; the evaluations and seconds after which it was there."""
        params = self.start.clone().requires_grad_()
        optimiser = torch.optim.LBFGS([params], lr=1, history_size=100, max_iter=20, line_search_fn="strong_wolfe")
        losses: list[float] = []
        seconds: list[float] = []

        def closure() -> torch.Tensor:
            optimiser.zero_grad()
            loss = self.loss(params)
            loss.backward()
            losses.append(loss.item())
            seconds.append(time.perf_counter() - began)
            return loss

        began = time.perf_counter()
        while len(losses) < steps:
            before = len(losses)
            optimiser.step(closure)
            if len(losses) == before + 1:  # it has given up
                break
        best = int(np.argmin(losses[:steps]))
        return losses[best], best + 1, seconds[best]


def seconds_of(function: Callable[..., Any], *arguments: Any) -> float:
    began = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128, help="side of the image in pixels (default: 128)")
    parser.add_argument("--steps", type=int, default=200, help="evaluations for torch's L-BFGS (default: 200)")
    parser.add_argument("--rounds", type=int, default=3, help="turns that each takes (default: 3)")
    parser.add_argument("--keep", choices=("all", "top", "rest"), default="all", help="of 5 %% (default: all)")
    parser.add_argument("--whitening", type=float, default=0.5, help="of our pixels (default: 0.5, as in the scripts)")
    options = parser.parse_args()
    try:
        ours = Ours(options.size, options.keep, options.whitening)
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
    theirs = Torch(ours, options.keep)
    first, again = (float(np.asarray(loss).squeeze()) for loss in (ours.scale, theirs.loss(theirs.start).detach()))
    assert abs(first - again) < 1e-3 * first, f"the objectives differ at the start: {first} here, {again} in torch"

    steps = max(1, options.steps // 5)
    contestants: dict[str, Callable[[], Any]] = {
        "bare": lambda: ours.bare_evaluations(steps),
        "one": lambda: ours.whole_run(1, steps),
        "batch": lambda: ours.whole_run(BATCH, steps),
    }
    for warm_up in (ours.bare_evaluations, lambda n: ours.whole_run(1, n), lambda n: ours.whole_run(BATCH, n)):
        warm_up(1)  # compiles, allocates
    ours.race(0, 1)
    theirs.race(2)
    times: dict[str, list[float]] = {name: [] for name in (*contestants, "torch", "ours")}
    for _ in range(options.rounds):
        for name, function in contestants.items():
            times[name].append(seconds_of(function))
        goal, torch_needs, seconds = theirs.race(options.steps)
        times["torch"].append(seconds)
        we_need, seconds = ours.race(goal, 2 * options.steps)
        times["ours"].append(seconds)
    medians = {name: statistics.median(values) for name, values in times.items()}

    print(f"jax {jax.__version__} on {jax.default_backend()}, torch {torch.__version__} with {torch.get_num_threads()}")
    print(
        f"threads; {options.size}×{options.size}, keep {options.keep}; medians of {options.rounds} rounds, in seconds\n"
    )
    bare, one, batch, torchs, our = (medians[name] for name in ("bare", "one", "batch", "torch", "ours"))
    evaluation = f"an evaluation of loss and gradient, bare: {1000 * bare / steps:.1f} ms"
    for what, numerator, denominator, goal_ratio in (
        (f"a whole run / its {steps} evaluations, bare", one, bare, 1.15),
        (f"a run for a batch of {BATCH} / for one image", batch, one, 4.2),
        (f"to torch's best loss of {options.steps} evaluations: ours / torch", our, torchs, 0.9),
    ):
        print(
            f"{what:<58} {numerator:7.2f} / {denominator:6.2f} = {numerator / denominator:5.2f}   (goal ≤ {goal_ratio})"
        )
    print(f"\n{evaluation}; torch's best loss: {goal:.4g}, {goal / first:.2g} of the start's,")
    print(f"after {torch_needs} evaluations there and {we_need} here{'' if np.isfinite(our) else ' not yet'}")


if __name__ == "__main__":
    main()
