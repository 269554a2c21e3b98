"""The loop of any training run: steps, epochs, checkpoints, signals, and resuming where a run stopped.

What is trained is a `Task`: it brings the state, the batches, the step and the end of an epoch. `run` does the rest, in
one process or several.
"""

import contextlib
import math
import signal
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
import yaml
from tqdm import tqdm

from sparseshape_jax import output, parallel
from sparseshape_jax.errors import InputError
from sparseshape_jax.training.checkpoints import Checkpoints
from sparseshape_jax.training.config import DistributedConfig
from sparseshape_jax.training.log import Log, Row
from sparseshape_jax.training.task import Epoch, Metrics, Task


@dataclass
class HostState:
    """What the host remembers from step to step. Checkpoints hold it next to the state."""

    sums: dict[str, float] = field(default_factory=dict)
    """Each metric, summed over the steps of this epoch."""
    steps: int = 0
    """How many steps that is."""
    best: float = -math.inf
    """The highest score of an epoch so far."""
    unlogged: dict[str, float] = field(default_factory=dict)
    """Each metric, summed over the steps since they were last logged."""
    unlogged_steps: int = 0
    """How many steps that is."""

    def add(self, metrics: Mapping[str, float]) -> None:
        """Count the metrics of one more step."""
        self.sums = {name: self.sums.get(name, 0.0) + value for name, value in metrics.items()}
        self.unlogged = {name: self.unlogged.get(name, 0.0) + value for name, value in metrics.items()}
        self.steps += 1
        self.unlogged_steps += 1

    def take_unlogged(self) -> dict[str, float]:
        """Each metric's mean over the steps since this was last called."""
        means = {name: total / self.unlogged_steps for name, total in self.unlogged.items()}
        self.unlogged, self.unlogged_steps = {}, 0
        return means

    def end_epoch(self, score: float) -> None:
        """Start the sums of the next epoch."""
        self.sums, self.steps, self.best = {}, 0, max(self.best, score)

    @property
    def means(self) -> dict[str, float]:
        """Each metric's mean over the steps of this epoch so far."""
        return {name: total / self.steps for name, total in self.sums.items()}


def run(
    task: Task,
    config: Any,
    *,
    out: str | Path,
    epochs: int,
    steps_per_epoch: int,
    batch_size: int,
    shown: Mapping[str, str],
    save_every: int = 0,
    measure: Callable[[Any, int], Sequence[Row]] | None = None,
    measure_every: int = 0,
    log_every: int = 0,
    tensorboard: bool = False,
    may_change: Collection[str] = (),
) -> list[Row]:
    """Train in the folder `out`, from its newest checkpoint or from the start, to the end.

    Args:
        task: what is trained.
        config: all settings, a dataclass with defaults; written to config.yaml. A folder that holds a run with other
            settings is refused.
        out: the folder for checkpoints, weights, metrics.jsonl and config.yaml.
        epochs: how many.
        steps_per_epoch: how many steps each has. The state is saved after each epoch.
        batch_size: images per step, of all processes together; for the progress bar.
        shown: the metrics that the progress bar shows, and what it calls them.
        save_every: also save the state every this many steps.
        measure: from a state and the number of steps done to rows for the log. It must not change the state.
        measure_every: call it every this many steps, but not where an epoch ends.
        log_every: log a row of kind "train" every this many steps: the means of all metrics since the one before, and
            images_per_second. 0: the task logs what it likes when an epoch ends.
        tensorboard: write TensorBoard's event files too.
        may_change: dotted names of settings that may change when a run resumes.

    Returns the rows of metrics.jsonl in process 0, and no rows in the others.

    Raises:
        InputError: a folder with another run or that cannot be written to, a metric that is not finite.
        KeyboardInterrupt: stopped by a signal, after the state was saved.
    """
    total = epochs * steps_per_epoch
    writes = parallel.this_process()[0] == 0
    folder = output.prepare_folder(out)
    check_settings(folder, config, may_change)
    if writes:
        output.write_config(folder / "config.yaml", config)
    with Checkpoints(folder / "checkpoints") as checkpoints:
        state, host, first = task.start(), HostState(), checkpoints.latest or 0
        if checkpoints.latest is not None:
            state, remembered = checkpoints.restore(jax.tree.map(np.asarray, state))
            host = HostState(**remembered)
            print(f"resuming at step {first} of {total} (epoch {first / steps_per_epoch:.4g})")
        log = Log(folder, first, tensorboard=tensorboard) if writes else None
        state = parallel.replicate(state)
        with _progress_bar(first, total, batch_size, hidden=not writes) as bar, stop_requests() as stop:
            meter = _Meter(host, bar, shown, folder, epochs, steps_per_epoch, batch_size)
            for step, batch in zip(range(first, total), task.batches(first), strict=False):
                state, metrics = task.step(state, batch, step)
                meter.read()  # the metrics of the step before, while the devices compute this one
                meter.unread, done = (step, metrics), step + 1
                stopping, epoch_ends = stop(done), done % steps_per_epoch == 0
                if log_every and done % log_every == 0:
                    meter.read()
                    row: Row = {"kind": "train", "epoch": done / steps_per_epoch, "step": done, **host.take_unlogged()}
                    if log is not None:
                        log.add([row | {"images_per_second": bar.format_dict["rate"]}])
                if measure is not None and measure_every and done % measure_every == 0 and not epoch_ends:
                    meter.read()
                    measured = measure(state, done)
                    if log is not None:
                        log.add(measured)
                if not (stopping or epoch_ends or (save_every and done % save_every == 0)):
                    continue
                meter.read()
                score = None
                if epoch_ends:
                    epoch = Epoch(done // steps_per_epoch, done, host.means, bar.format_dict["rate"])
                    bar.set_description(f"epoch {epoch.number}/{epochs}, evaluating")
                    report = task.end_epoch(state, epoch)
                    score, state = report.score, state if report.state is None else report.state
                    if log is not None:
                        for name in ("last", "best") if score > host.best else ("last",):
                            report.write(name)
                        log.add(report.rows)
                        bar.write(report.message)
                    host.end_epoch(score)
                    if report.from_best is not None:
                        checkpoints.wait()
                        best, _ = checkpoints.restore(parallel.unreplicate(state), checkpoints.best)
                        state = report.from_best(parallel.replicate(best))
                checkpoints.save(done, parallel.unreplicate(state), asdict(host), score)
                if done < total and (stopping or stop(done)):  # asked again, because evaluating and saving take a while
                    checkpoints.wait()
                    raise KeyboardInterrupt
    if log is None:
        return []
    log.close()
    return log.rows


@contextlib.contextmanager
def processes(settings: DistributedConfig) -> Iterator[None]:
    """Join the other processes of a run if there are any; if the body raises in one of them, all end.

    Raises:
        InputError: the others cannot be reached, or one of them was lost.
    """
    if settings.wanted:
        parallel.start_processes(
            coordinator=settings.coordinator, processes=settings.processes, process=settings.process
        )
    with parallel.abort_together():
        yield


@dataclass
class _Meter:
    """Reads the metrics of steps, adds them up and shows them."""

    host: HostState
    bar: tqdm
    shown: Mapping[str, str]
    folder: Path
    epochs: int
    steps_per_epoch: int
    batch_size: int
    unread: tuple[int, Metrics] | None = None
    """The newest step and its metrics, until they are read."""

    def read(self) -> None:
        """Wait for the unread step. Raises `InputError` if a metric is not finite, so that it is never saved."""
        if self.unread is None:
            return
        (step, metrics), self.unread = self.unread, None
        values = {name: float(value) for name, value in parallel.unreplicate(dict(metrics)).items()}
        if not all(math.isfinite(value) for value in values.values()):
            found = ", ".join(f"{name} {value}" for name, value in values.items())
            raise InputError(
                f"the metrics at step {step} (epoch {step / self.steps_per_epoch:.4g}) are not finite: {found}; what"
                f" was saved in {self.folder} before is kept: lower optimizer.learning_rate, or add warm-up or"
                " optimizer.clip_norm"
            )
        self.host.add(values)
        means = self.host.means
        self.bar.set_description(f"epoch {step // self.steps_per_epoch + 1}/{self.epochs}")
        self.bar.set_postfix({label: f"{means[name]:.3f}" for name, label in self.shown.items()}, refresh=False)
        self.bar.update(self.batch_size)


def check_settings(folder: Path, config: Any, may_change: Collection[str] = ()) -> None:
    """Raise `InputError` if `folder` holds checkpoints of a run with other settings than `config`.

    A setting that the earlier run did not know yet had its default there.
    """
    path = folder / "config.yaml"
    if not (any((folder / "checkpoints").glob("*")) and path.is_file()):
        return
    try:
        earlier = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        earlier = None
    if not isinstance(earlier, dict):
        raise InputError(
            f"{path} is damaged, so nobody knows whether the run in {folder} had these settings;"
            " restore it, or give another --out"
        )
    known = _filled(earlier, output.plain(type(config)()))
    if names := differences(remove_settings(known, may_change), remove_settings(output.plain(config), may_change)):
        raise InputError(
            f"{folder} holds a run with other settings: {', '.join(names)}; give the same settings to resume it,"
            " or another --out"
        )


def remove_settings(settings: Mapping[str, Any], names: Collection[str], prefix: str = "") -> dict[str, Any]:
    """Settings as a plain dict, without those of some dotted names."""
    return {
        key: remove_settings(value, names, f"{prefix}{key}.") if isinstance(value, Mapping) else value
        for key, value in settings.items()
        if f"{prefix}{key}" not in names
    }


def differences(one: Mapping[str, Any], other: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The dotted names of entries that differ between two configurations as plain dicts."""
    found = []
    for key in dict.fromkeys((*one, *other)):
        first, second = one.get(key), other.get(key)
        if isinstance(first, Mapping) and isinstance(second, Mapping):
            found += differences(first, second, f"{prefix}{key}.")
        elif first != second:
            found.append(f"{prefix}{key}")
    return found


def _filled(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """`values`, with defaults for what is missing, at every depth."""
    filled = {**defaults, **values}
    for key, default in defaults.items():
        if isinstance(default, Mapping) and isinstance(filled[key], Mapping):
            filled[key] = _filled(filled[key], default)
    return filled


def _progress_bar(first: int, total: int, batch_size: int, *, hidden: bool) -> tqdm:
    bar = tqdm(total=total * batch_size, initial=first * batch_size, unit="image", smoothing=0.05, disable=hidden)
    bar.set_description("compiling")
    return bar


@contextlib.contextmanager
def stop_requests() -> Iterator[Callable[[int], bool]]:
    """Yield the question, to be asked after each step, whether Ctrl-C or SIGTERM has asked to stop.

    It takes the number of steps done. A second Ctrl-C stops at once. With several processes only SIGTERM counts, which
    cluster managers send; it may reach one of them or all.
    """
    if parallel.this_process()[1] > 1:
        yield parallel.should_stop
        return
    received: list[int] = []

    def note(number: int, _: Any) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    before = {}
    with contextlib.suppress(ValueError):  # not in the main thread
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda _: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
