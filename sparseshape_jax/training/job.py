"""The job behind `train.py classifier`: train, evaluate after every epoch, save, and go on where it stopped.

Source: Li et al. (2023), section 4.3.
"""

import contextlib
import math
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import yaml
from tqdm import tqdm

from sparseshape_jax import output, parallel
from sparseshape_jax.data.labelled import Labelled, open_labelled
from sparseshape_jax.data.loader import Loader
from sparseshape_jax.data.training import TrainingData
from sparseshape_jax.errors import InputError
from sparseshape_jax.training import network as networks
from sparseshape_jax.training import report, schedules
from sparseshape_jax.training.checkpoints import Checkpoints
from sparseshape_jax.training.config import Classifier, differences
from sparseshape_jax.training.dry_run import describe
from sparseshape_jax.training.step import State, Stepper

Stop = Callable[[int], bool]
"""Asked after each step with the number of steps done, and again where the state has been saved."""


def run(config: Classifier) -> list[report.Row]:
    """Train as `config` says, in `config.out`; returns the rows of metrics.jsonl.

    Raises:
        InputError: bad settings, data, weights or output folder; a loss that is no number.
        KeyboardInterrupt: stopped by a signal, after the state was saved.
    """
    if config.distributed.wanted:
        parallel.start_processes(
            coordinator=config.distributed.coordinator,
            processes=config.distributed.processes,
            process=config.distributed.process,
        )
    with parallel.one_for_all():
        training = Training(config)
        if config.dry_run:
            describe(training)
            return []
        return training.run()


class Training:
    """One run: data, network, programs.

    Raises:
        InputError: bad settings, data or weights. Nothing is written then.
    """

    def __init__(self, config: Classifier) -> None:
        self.config = config
        self.part = parallel.this_process()
        self.process = self.part[0]
        devices = parallel.device_count()
        if config.batch_size % devices:
            raise InputError(
                f"batch_size is {config.batch_size}, which does not divide over {devices} devices;"
                f" give a multiple of {devices}"
            )
        train = open_labelled(config.data.path, config.data.train, config.data.classes)
        self.classes = train.classes
        self.data = TrainingData(
            train,
            config.data.augment,
            image_size=config.data.image_size,
            resize=config.data.short_side,
            batch_size=config.batch_size,
            seed=config.seed,
            threads=config.data.threads,
            skip_bad=config.data.skip_bad,
            process=self.part,
        )
        self.sets: dict[str, Labelled] = {"val": open_labelled(config.data.path, config.data.val, self.classes)}
        for name, place in config.eval.items():
            source, _, split = place.rpartition("/") if place.startswith("tfds:") else (place, "", "")
            self.sets[name] = open_labelled(source, split, self.classes, allow_missing=True)
        self.steps = config.epochs * self.data.steps_per_epoch
        self.network, self.preprocessing = networks.build(config, len(self.classes))
        self.rate = schedules.learning_rate(
            config.schedule, config.optimiser.learning_rate, config.epochs, self.data.steps_per_epoch
        )
        self.stepper = Stepper(
            self.network,
            self.preprocessing,
            schedules.transformation(config.optimiser, self.rate),
            label_smoothing=config.label_smoothing,
            average=config.average,
            seed=config.seed,
        )
        self.bad: dict[str, str] = {}
        """Images of evaluation sets that could not be decoded, and what is wrong with them."""
        self._programs: dict[tuple[str, float], Any] = {}

    def program(self, kind: str, come: float) -> Any:
        """The compiled step, "train" or "evaluate", for dense (0), final (1) or annealed (in between) Top-K."""
        stage = come if come in (0, 1) else 0.5
        if (kind, stage) not in self._programs:
            at = schedules.placed(self.config, self.network, stage, evaluating=kind == "evaluate")
            step = getattr(self.stepper, kind)(at)
            self._programs[kind, stage] = parallel.over_all_devices(step, donate=kind == "train")
        return self._programs[kind, stage]

    def come(self, step: int) -> float:
        """How far Top-K has come before `step`."""
        return schedules.progress(self.config.sparsity, step / self.data.steps_per_epoch)

    def run(self) -> list[report.Row]:
        """Train from the last checkpoint, or from the start, to the end."""
        folder = self._prepare_folder()
        with Checkpoints(folder / "checkpoints") as checkpoints:
            state, host = self.stepper.start(), {"sums": [0.0, 0.0, 0], "best": -1.0}
            step = checkpoints.latest or 0
            if checkpoints.latest is not None:
                state, host = checkpoints.restore(jax.tree.map(np.asarray, state))
                print(f"going on from step {step} of {self.steps} (epoch {step / self.data.steps_per_epoch:.4g})")
            self.log = report.Log(folder, step, tensorboard=self.config.tensorboard) if not self.process else None
            state = parallel.replicate(state)
            with self._progress(step) as bar, _signals_noted() as stop:
                batches = self.data.batches(step)
                while step < self.steps:
                    end = self._next_save(step)
                    state, step = self._train(state, step, end, batches, host, bar, stop)
                    score = None
                    if step % self.data.steps_per_epoch == 0:
                        score = self._end_epoch(state, step, host, folder, bar)
                    checkpoints.save(step, parallel.first(state), host, score)
                    if step < self.steps and stop(step):
                        checkpoints.wait()
                        raise KeyboardInterrupt
        return self._finish(folder)

    def _train(
        self, state: State, step: int, end: int, batches: Iterator[Any], host: Any, bar: tqdm, stop: Stop
    ) -> tuple[State, int]:
        """Steps up to `end`, or until told to stop. A step is dispatched before the metrics of the last are read."""
        pending = None
        while step < end:
            come = self.come(step)
            state, metrics = self.program("train", come)(state, next(batches), np.float32(come))
            self._note(pending, host, bar)
            pending, step = (step, metrics), step + 1
            if stop(step):
                break
        self._note(pending, host, bar)
        return state, step

    def _note(self, pending: Any, host: Any, bar: tqdm) -> None:
        """Read a step's metrics; refuse what is no number before it can be saved."""
        if pending is None:
            return
        step, metrics = pending
        values = {name: float(value) for name, value in parallel.first(metrics).items()}
        if not all(math.isfinite(value) for value in values.values()):
            raise InputError(
                f"the loss is {values['loss']} and the parameters' change {values['change']} at step {step}"
                f" (epoch {step / self.data.steps_per_epoch:.4g}); what was saved in {self.config.out} before"
                f" is kept: lower optimiser.learning_rate, or add warm-up or optimiser.clip_norm"
            )
        loss, hits, count = host["sums"]
        host["sums"] = [loss + values["loss"], hits + values["accuracy"], count + 1]
        means = {"loss": f"{host['sums'][0] / (count + 1):.3f}", "top-1": f"{host['sums'][1] / (count + 1):.3f}"}
        bar.set_description(f"epoch {step // self.data.steps_per_epoch + 1}/{self.config.epochs}")
        bar.set_postfix(means, refresh=False)
        bar.update(self.config.batch_size)

    def _end_epoch(self, state: State, step: int, host: Any, folder: Path, bar: tqdm) -> float:
        """Evaluate on every set, log, and write the weights; the top-1 of `val`."""
        epoch = step // self.data.steps_per_epoch
        loss, hits, count = host["sums"]
        host["sums"] = [0.0, 0.0, 0]
        come = self.come(step - 1)
        rows: list[report.Row] = [
            {
                "kind": "train",
                "epoch": epoch,
                "step": step,
                "loss": loss / count,
                "accuracy": hits / count,
                "learning_rate": float(self.rate(step - 1)),
                "keep": [1 - come + spec.fraction * come for spec in self.config.top_ks if not spec.is_identity] or [1],
                "images_per_second": bar.format_dict["rate"],
            }
        ]
        bar.set_description(f"epoch {epoch}/{self.config.epochs}, evaluating")
        for name, data in self.sets.items():
            sums = self.evaluate(state, data, come)
            top5 = sums["top5"] / sums["n"] if len(self.classes) > 5 else None
            means = {"loss": sums["loss"] / sums["n"], "top1": sums["top1"] / sums["n"], "top5": top5}
            rows.append({"kind": "eval", "epoch": epoch, "step": step, "set": name, "n": int(sums["n"]), **means})
        score = rows[1]["top1"]
        if self.log is not None:
            network = self.stepper.network(parallel.first(state.evaluated))
            kept = ["last", "best"] if score > host["best"] else ["last"]
            for name in kept:
                path = folder / f"{name}.safetensors"
                networks.save_weights(path, network, self.config, self.classes, self.preprocessing)
            self.log.add(rows)
            scores = ", ".join(f"{row['set']} {row['top1']:.3f}" for row in rows[1:])
            bar.write(
                f"epoch {epoch}: loss {rows[0]['loss']:.3f}, top-1 of training {rows[0]['accuracy']:.3f}, {scores}"
            )
        host["best"] = max(host["best"], score)
        return score

    def evaluate(self, state: State, data: Labelled, come: float = 1.0) -> dict[str, float]:
        """Sums over a whole set (`n`, `loss`, `top1`, `top5`) of the replicated state's network."""
        program = self.program("evaluate", come)
        size = self.config.batch_size // self.part[1]
        loader = Loader(data, self.preprocessing, size, skip_bad=self.config.data.skip_bad, part=self.part)
        labels = np.asarray(data.labels)
        totals: dict[str, float] = {"n": 0.0}
        for batch in loader:  # as many on every process
            truth = np.full(size, -1, np.int32)
            truth[: len(batch.indices)] = labels[batch.indices]
            sums = parallel.first(program(state.evaluated, (batch.images, truth), np.float32(come)))
            totals = {name: totals.get(name, 0.0) + float(value) for name, value in sums.items()}
        self.bad |= {data.describe(index): message for index, message in loader.bad.items()}
        if not totals["n"]:
            raise InputError(f"none of the {len(data)} images of {data.name} can be decoded")
        return totals

    def _next_save(self, step: int) -> int:
        """The step before which the state is saved next: the epoch's end, or earlier if asked for."""
        end = (step // self.data.steps_per_epoch + 1) * self.data.steps_per_epoch
        every = self.config.checkpoint_every
        return min(end, (step // every + 1) * every) if every else end

    def _prepare_folder(self) -> Path:
        """The output folder with `config.yaml`; refuses one that holds a run with other settings."""
        folder = output.prepare_folder(self.config.out)
        settings = folder / "config.yaml"
        if any((folder / "checkpoints").glob("*")) and settings.is_file():
            before, now = yaml.safe_load(settings.read_text(encoding="utf-8")), output.plain(self.config)
            if names := differences(before, now):
                raise InputError(
                    f"{folder} holds a run with other settings: {', '.join(names)}; give the same to go on with it, or"
                    " another --out"
                )
        if not self.process:
            output.write_config(settings, self.config)
        return folder

    def _progress(self, step: int) -> tqdm:
        images = self.config.batch_size
        bar = tqdm(
            total=self.steps * images, initial=step * images, unit="image", smoothing=0.05, disable=bool(self.process)
        )
        bar.set_description("compiling")
        return bar

    def _finish(self, folder: Path) -> list[report.Row]:
        if self.log is None:
            return []
        self.log.close()
        report.draw_curves(folder, self.log.rows)
        print(f"\n{report.table(self.log.rows)}")
        if bad := self.data.bad | self.bad:
            print(f"{len(bad)} images could not be decoded and were left out: {', '.join(bad)}")
        print(f"\nweights (last and best on val), metrics and curves are in {folder}")
        return self.log.rows


@contextlib.contextmanager
def _signals_noted() -> Iterator[Stop]:
    """What tells, after each step, whether Ctrl-C or SIGTERM has asked to stop. A second Ctrl-C stops at once.

    With several processes only SIGTERM counts, which cluster managers send; it may reach one of them or all.
    """
    if jax.process_count() > 1:
        yield parallel.processes_stop
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
