"""Making one batch of tasks, octave by octave, with its progress, saved states and snapshots."""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from sparseshape_jax import output, parallel
from sparseshape_jax.synthesis.optimize.minimize import Minimum, Run
from sparseshape_jax.synthesis.runner import BatchProblem, Runner
from sparseshape_jax.synthesis.state import State
from sparseshape_jax.synthesis.targets import resize_to
from sparseshape_jax.synthesis.task import Task

SAVED_EVERY = 25
"""Evaluations between saved states."""


class Batch:
    """Tasks with the same size, objective and length, which are made together.

    Args:
        tasks: what to make.
        runner: of their objective.
        snapshots: evaluations between snapshots; 0 for none.
    """

    def __init__(self, tasks: Sequence[Task], runner: Runner, snapshots: int = 0) -> None:
        self.tasks, self.runner, self.snapshots = tasks, runner, snapshots

    def make(self, folder: Path, state_file: Path, progress: "tqdm[Any]") -> list[tuple[np.ndarray, dict[str, Any]]]:
        """Make the images, resuming from `state_file` if it is there.

        Args:
            folder: where snapshots and GIFs go.
            state_file: where the state is saved now and then.
            progress: advanced by one for each evaluation of each image.

        Returns each task's image (h, w, 3), in [0, 1] or NaN, and the account of how it was made: losses (one per
        evaluation, in the reference's units), evaluations, iterations, seconds, status.
        """
        state = State.read(state_file, len(self.tasks))
        progress.update(len(self.tasks) * state.evaluations)
        if self.snapshots and not state.evaluations:
            for stale in [file for task in self.tasks for file in _snapshots(folder, task).glob("*.png")]:
                stale.unlink()
        result: Minimum | None = None
        while state.octave < self.tasks[0].octaves:
            problem = self._problem(state)
            state.scale = problem.scale
            result = self._minimize(problem, state, folder, state_file, progress)
            state.advance(result, self.runner.images(result.params, problem))
        assert result is not None
        assert state.images is not None
        if self.snapshots:
            for task in self.tasks:
                _write_gif(_snapshots(folder, task), folder / f"{task.stem}.gif")
        accounts = []
        for index, status in enumerate(result.status):
            losses = np.concatenate([part[index] for part in state.losses])
            accounts.append(
                {
                    "losses": losses[np.isfinite(losses)].tolist(),
                    "evaluations": int(state.counts[0, index]),
                    "iterations": int(state.counts[1, index]),
                    "seconds": round(state.seconds / len(self.tasks), 3),
                    "status": status.name.lower().replace("_", "-"),
                }
            )
        return list(zip(state.images, accounts, strict=True))

    def _problem(self, state: State) -> BatchProblem:
        """The problem at the octave that `state` has reached."""
        each = [task.sources(state.octave) for task in self.tasks]
        sources = {name: np.stack([found[name] for found in each]) for name in each[0]}
        if state.images is None:
            starts = np.stack([task.start(state.octave) for task in self.tasks])
        else:
            height, width, _ = next(iter(each[0].values())).shape
            starts = np.stack([resize_to(image, (height, width)) for image in state.images])
        return self.runner.problem(sources, starts, [task.keep for task in self.tasks], scale=state.scale)

    def _minimize(
        self, problem: BatchProblem, state: State, folder: Path, state_file: Path, progress: "tqdm[Any]"
    ) -> Minimum:
        """Minimize at one octave, showing progress and saving the state now and then."""
        count, steps = len(self.tasks), self.tasks[0].steps
        began, seen = time.monotonic() - state.seconds, state.evaluations
        before = sum(part.shape[1] for part in state.losses)

        def watch(done: int, run: Run) -> None:
            nonlocal seen
            progress.update(count * (before + done - seen))
            seen = before + done
            best = np.mean(np.asarray(run.state.record.best_value))
            progress.set_postfix_str(f"loss {best:.4f} of the start's", refresh=False)
            state.seconds = time.monotonic() - began
            if done % SAVED_EVERY == 0:
                state.pause(run)
                state.write(state_file)
            if self.snapshots and done % self.snapshots == 0:
                images = self.runner.images(run.state.record.best_params, problem)
                for task, image in zip(self.tasks, images, strict=True):
                    output.write_image(_snapshots(folder, task) / f"{state.octave}-{done:06}.png", image)

        # Few enough evaluations between calls that the bar moves and no snapshot is missed.
        usual = 5 if parallel.on_cpu() else SAVED_EVERY
        every = math.gcd(usual, self.snapshots)
        start = state.resume(problem.start, self.runner.minimizer)
        result = self.runner.run(problem, start, steps=steps, callback=watch, every=every)
        progress.update(count * (before + steps - seen))  # all may have stopped early
        state.seconds = time.monotonic() - began
        return result


def _snapshots(folder: Path, task: Task) -> Path:
    return folder / "snapshots" / task.stem


def _write_gif(snapshots: Path, path: Path) -> None:
    """Write the snapshots in a folder, in the order of their names, as an animation; the last one stays longer."""
    frames = [Image.open(file).convert("P", palette=Image.Palette.ADAPTIVE) for file in sorted(snapshots.glob("*.png"))]
    if frames:
        size = frames[-1].size
        frames = [frame if frame.size == size else frame.resize(size) for frame in frames]
        durations = [120] * (len(frames) - 1) + [1500]
        with output.replacing(path) as temporary:
            frames[0].save(temporary, save_all=True, append_images=frames[1:], duration=durations, loop=0)
