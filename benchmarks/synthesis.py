"""Texture synthesis on VGG16: the cost of the optimizer and of a batch, next to PyTorch's and optax's L-BFGS.

    python benchmarks/synthesis.py

The objective is that of `synthesize.py texture`: Gram matrices at relu1_1 and pool1 to pool4 of torchvision's VGG16
with average pooling, pixels as a sigmoid over the target's range, from the flat start, at one size. Two others minimize
the same objective, with the same weights and from the same image:

- `torch.optim.LBFGS` as the reference sets it up: over the pixels as they are, strong Wolfe, learning rate 1, history
  100, in calls of 20 iterations, on the loss in the reference's units. Ours has its defaults, including whitened
  pixels; `--whitening 0` leaves its pixels as they are.
- `optax.lbfgs` over exactly our params and loss, with our history, and otherwise its defaults. Its line search is a
  loop on the device, and XLA's convolutions are slower in loops on a CPU: compare the evaluations, too.
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
import optax
import torch
import torch.nn.functional as F
from torch_reference import torch_top_k, versions
from tqdm import tqdm

from sparseshape_jax import output
from sparseshape_jax.errors import InputError
from sparseshape_jax.models import Network
from sparseshape_jax.synthesis.batch import Batch
from sparseshape_jax.synthesis.config import TextureConfig
from sparseshape_jax.synthesis.jobs import layers_to_match, load_network
from sparseshape_jax.synthesis.objective import REFERENCE_SCALE, Objective, terms_for
from sparseshape_jax.synthesis.optimize.lbfgs import lbfgs
from sparseshape_jax.synthesis.optimize.minimize import Run
from sparseshape_jax.synthesis.pixels import Parameterization, starting_image
from sparseshape_jax.synthesis.runner import BatchProblem, Runner
from sparseshape_jax.synthesis.targets import default_image, read_pixels
from sparseshape_jax.synthesis.task import SynthesisTask, shared_top_k
from sparseshape_jax.top_k.spec import TopK
from sparseshape_jax.weights.assign import export

BATCH = 4


class Ours:
    """This package on one square photograph."""

    def __init__(self, size: int, keep: str, whitening: float) -> None:
        self.config = TextureConfig(size=size, topk=TopK(0.05, keep=keep), whitening=whitening)  # type: ignore[arg-type]
        pixels = read_pixels(default_image(), size)
        left = (pixels.shape[1] - size) // 2
        self.pixels = pixels[:, left : left + size]
        loaded = load_network(self.config)
        self.network, self.layers = loaded.network, layers_to_match(loaded.network, None)
        self.runner = Runner(
            loaded.network,
            loaded.preprocessing,
            Objective(terms_for("texture", self.layers), shared_top_k(self.tasks(1, 1))),
            Parameterization(self.config.bounds, whitening),
            lbfgs(history=self.config.history),
        )
        start = starting_image((size, size), self.config.start, 0)
        self.problem = self.runner.problem({"image": self.pixels[None]}, start[None], (self.config.topk.keep,))

    def tasks(self, count: int, steps: int) -> list[SynthesisTask]:
        return [SynthesisTask("photo", self.pixels, "texture", self.config.topk, seed, steps) for seed in range(count)]

    def whole_run(self, count: int, steps: int) -> None:
        """All that the job does for a batch, from the target to the image on the disk."""
        tasks = self.tasks(count, steps)
        with tempfile.TemporaryDirectory() as folder, tqdm(disable=True) as progress:
            out = Path(folder)
            made = Batch(tasks, self.runner).make(out, out / ".state.npz", progress)
            for task, (image, _) in zip(tasks, made, strict=True):
                output.write_image(out / task.file, image)

    def bare_evaluations(self, steps: int) -> None:
        for _ in range(steps):
            jax.block_until_ready(self.runner.value_and_grad(self.problem.start, self.problem))

    def race(self, goal: float, steps: int) -> tuple[int, float]:
        """Evaluations and seconds that it takes to reach a loss; the seconds are infinite if `steps` are too few."""
        done, began, ended = 0, time.perf_counter(), np.inf

        def watch(evaluations: int, run: Run) -> None:
            nonlocal done, ended
            done = evaluations
            if run.losses[0, -1] * self.problem.scale[0] <= goal:
                ended = time.perf_counter()
                raise StopIteration

        with contextlib.suppress(StopIteration):
            self.runner.run(self.problem, steps=steps, callback=watch, every=1)
        return done, ended - began


class Optax:
    """`optax.lbfgs` on our loss."""

    def __init__(self, runner: Runner, problem: BatchProblem, history: int) -> None:
        self.start, self.scale = problem.start, problem.scale[0]
        solver = optax.lbfgs(memory_size=history)

        def loss(params: jax.Array) -> jax.Array:
            return runner.losses(params, problem)[0]

        value_and_grad = optax.value_and_grad_from_state(loss)

        def step(params: jax.Array, state: Any) -> tuple[jax.Array, Any]:
            value, gradient = value_and_grad(params, state=state)
            updates, state = solver.update(gradient, state, params, value=value, grad=gradient, value_fn=loss)
            return optax.apply_updates(params, updates), state

        self.init, self.step = solver.init, jax.jit(step)

    def race(self, goal: float, steps: int) -> tuple[int, float]:
        """Evaluations and seconds that it takes to reach a loss; the seconds are infinite if `steps` are too few."""
        params, state = self.start, self.init(self.start)
        done, began = 1, time.perf_counter()  # the first step also evaluates the start
        while done < steps:
            params, state = self.step(params, state)
            done += int(optax.tree_utils.tree_get(state, "num_linesearch_steps"))
            if float(optax.tree_utils.tree_get(state, "value")) * self.scale <= goal:
                return done, time.perf_counter() - began
        return done, np.inf


class Torch:
    """PyTorch, with the reference's optimizer."""

    def __init__(self, ours: Ours, keep: str) -> None:
        network: Network = ours.network
        self.names, self.layers, self.keep = network.names, ours.layers, keep
        arrays = [torch.from_numpy(array) for array in export(network).values()]
        self.weights = list(zip(arrays[::2], arrays[1::2], strict=True))
        bounds = (ours.problem.per_image["low"], ours.problem.per_image["high"])
        self.low, self.high = (float(bound.item()) for bound in bounds)
        # The image that ours starts from, but with the reference's params.
        image = ours.runner.parameterization.to_normalized(ours.problem.start, *bounds)
        start = Parameterization("sigmoid", whitening=0).to_params(image, *bounds)
        self.start = torch.from_numpy(np.array(start).transpose(0, 3, 1, 2).copy())
        normalized = np.asarray(ours.runner.preprocessing.normalize(jax.numpy.asarray(ours.pixels)))
        with torch.no_grad():
            self.targets = self.grams(torch.from_numpy(normalized.transpose(2, 0, 1).copy())[None])

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
        optimizer = torch.optim.LBFGS([params], lr=1, history_size=100, max_iter=20, line_search_fn="strong_wolfe")
        losses: list[float] = []
        seconds: list[float] = []

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = self.loss(params)
            loss.backward()
            losses.append(loss.item())
            seconds.append(time.perf_counter() - began)
            return loss

        began = time.perf_counter()
        while len(losses) < steps:
            before = len(losses)
            optimizer.step(closure)
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
    with_optax = Optax(ours.runner, ours.problem, ours.config.history)
    first, again = float(ours.problem.scale[0]), theirs.loss(theirs.start).item()
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
    with_optax.race(0, 2)
    theirs.race(2)
    times: dict[str, list[float]] = {name: [] for name in (*contestants, "torch", "ours", "optax")}
    for _ in range(options.rounds):
        for name, function in contestants.items():
            times[name].append(seconds_of(function))
        goal, torch_needs, seconds = theirs.race(options.steps)
        times["torch"].append(seconds)
        we_need, seconds = ours.race(goal, 2 * options.steps)
        times["ours"].append(seconds)
        optax_needs, seconds = with_optax.race(goal, 2 * options.steps)
        times["optax"].append(seconds)
    medians = {name: statistics.median(values) for name, values in times.items()}

    print(versions())
    print(f"{options.size}×{options.size}, keep {options.keep}; medians of {options.rounds} rounds, in seconds\n")
    bare = medians["bare"]
    for what, numerator, denominator, limit in (
        (f"a whole run / its {steps} evaluations, bare", "one", "bare", 1.15),
        (f"a run for a batch of {BATCH} / for one image", "batch", "one", 4.2),
        (f"to torch's best loss of {options.steps} evaluations: ours / torch", "ours", "torch", 0.9),
        ("to the same loss: ours / optax.lbfgs", "ours", "optax", 1.0),
    ):
        above, below = medians[numerator], medians[denominator]
        print(f"{what:<58} {above:7.2f} / {below:6.2f} = {above / below:5.2f}   (goal ≤ {limit})")
    print(f"\nan evaluation of loss and gradient, bare: {1000 * bare / steps:.1f} ms")
    print(f"torch's best loss: {goal:.4g}, {goal / first:.2g} of the start's; evaluations that it takes:")
    for name, needed in (("torch", torch_needs), ("ours", we_need), ("optax", optax_needs)):
        print(f"{name:>8} {needed:5}{'' if np.isfinite(medians[name]) else ', and not reached yet'}")


if __name__ == "__main__":
    main()
