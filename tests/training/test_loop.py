"""The loop with something that is not a classifier: a line fitted to random points."""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from sparseshape_jax import parallel
from sparseshape_jax.errors import InputError
from sparseshape_jax.training.loop import HostState, check_settings, differences, run
from sparseshape_jax.training.task import Epoch, Report

SLOPES = np.array([1.0, -2.0, 0.5], np.float32)


@dataclass(frozen=True)
class Nested:
    """Settings within settings."""

    rate: float = 0.1
    threads: int = 1


@dataclass(frozen=True)
class LineConfig:
    """All settings."""

    nested: Nested = field(default_factory=Nested)
    names: dict[str, str] = field(default_factory=dict)
    seed: int = 0


class Line:
    """Least squares by gradient descent; every step draws points of its own."""

    def __init__(self, out: Path, rate: float = 0.1, at_step: dict[int, Any] | None = None) -> None:
        self.out, self.at_step = out, at_step or {}
        self.seen: list[int] = []

        def step(state: Any, batch: Any, rate: jax.Array) -> tuple[Any, dict[str, jax.Array]]:
            x, y = batch

            def loss_of(slopes: jax.Array) -> jax.Array:
                return ((x @ slopes - y) ** 2).mean()

            loss, gradient = parallel.mean_over_devices(jax.value_and_grad(loss_of)(state["slopes"]))
            return {"slopes": state["slopes"] - rate * gradient}, {"loss": loss}

        self.rate, self.compiled = np.float32(rate), parallel.data_parallel(step, donate=True)

    def start(self) -> Any:
        return {"slopes": np.zeros(3, np.float32)}

    def batches(self, step: int) -> Iterator[Any]:
        while True:
            x = np.random.default_rng(step).normal(size=(8, 3)).astype(np.float32)
            yield x, x @ SLOPES
            step += 1

    def step(self, state: Any, batch: Any, step: int) -> tuple[Any, Any]:
        self.seen.append(step)
        if step in self.at_step:
            self.at_step[step]()
        return self.compiled(state, batch, self.rate)

    def end_epoch(self, state: Any, epoch: Epoch) -> Report:
        slopes = parallel.unreplicate(state)["slopes"]
        error = float(np.abs(slopes - SLOPES).max())
        return Report(
            rows=[{"kind": "train", "epoch": epoch.number, "step": epoch.step, **epoch.means, "error": error}],
            message=f"epoch {epoch.number}: {error:.3f}",
            score=-error,
            write=lambda name: np.save(self.out / name, slopes),
        )


def fit(task: Line, config: LineConfig | None = None, **options: Any) -> list[dict]:
    given = {"out": task.out, "epochs": 4, "steps_per_epoch": 10, "batch_size": 8, "shown": {"loss": "loss"}}
    return run(task, config or LineConfig(), **(given | options))


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def checkpoints(out: Path) -> set[int]:
    return {int(path.name) for path in (out / "checkpoints").iterdir()}


def test_a_line_is_fitted_stopped_and_resumed_to_the_same_bits(tmp_path, capsys):
    whole = Line(tmp_path / "whole")
    rows = fit(whole)
    assert whole.seen == list(range(40))
    assert [(row["epoch"], row["step"]) for row in rows] == [(1, 10), (2, 20), (3, 30), (4, 40)]
    assert rows[-1]["loss"] < 0.01 * rows[0]["loss"]
    np.testing.assert_allclose(np.load(tmp_path / "whole" / "last.npy"), SLOPES, atol=0.02)

    # In the middle of the first epoch and of another, and at the end of an epoch, when the state is saved anyway.
    for step in (3, 13, 29):
        stopped = Line(tmp_path / "stopped", at_step={step: interrupt})
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        with pytest.raises(KeyboardInterrupt):
            fit(stopped)
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
        assert stopped.seen[-1] == step, "the state is saved after the step during which the signal came"
        assert max(checkpoints(tmp_path / "stopped")) == step + 1
    resumed = Line(tmp_path / "stopped")
    capsys.readouterr()
    assert fit(resumed) == rows
    assert resumed.seen == list(range(30, 40))
    assert "resuming at step 30 of 40 (epoch 3)" in capsys.readouterr().out
    for name in ("last.npy", "best.npy"):
        np.testing.assert_array_equal(np.load(tmp_path / "stopped" / name), np.load(tmp_path / "whole" / name))
    read = [json.loads(line) for line in (tmp_path / "stopped" / "metrics.jsonl").read_text().splitlines()]
    assert read == rows

    finished = Line(tmp_path / "stopped")
    assert fit(finished) == rows
    assert not finished.seen, "nothing is left to do"


def test_measurements_by_steps_are_logged_between_epochs_and_resume(tmp_path):
    def measure(state: Any, done: int) -> list[dict]:
        slopes = parallel.unreplicate(state)["slopes"].tolist()
        return [{"kind": "eval", "epoch": done / 10, "step": done, "slopes": slopes}]

    options = {"measure": measure, "measure_every": 4}
    rows = fit(Line(tmp_path / "whole"), epochs=2, **options)
    assert [(row["kind"], row["step"]) for row in rows] == [
        ("eval", 4),
        ("eval", 8),
        ("train", 10),
        ("eval", 12),
        ("eval", 16),
        ("train", 20),
    ]
    plain = fit(Line(tmp_path / "plain"), epochs=2)
    assert plain == [row for row in rows if row["kind"] == "train"]
    for step in (3, 5):  # right at a measurement, and after one
        with pytest.raises(KeyboardInterrupt):
            fit(Line(tmp_path / "stopped", at_step={step: interrupt}), epochs=2, **options)
    assert fit(Line(tmp_path / "stopped"), epochs=2, **options) == rows


def test_an_evaluation_may_change_the_state(tmp_path):
    """Here it doubles the slopes; a run that resumes does as well."""

    class Doubling(Line):
        def end_epoch(self, state: Any, epoch: Epoch) -> Report:
            report = super().end_epoch(state, epoch)
            doubled = {"slopes": 2 * parallel.unreplicate(state)["slopes"]}
            return replace(report, state=parallel.replicate(doubled))

    rows = fit(Doubling(tmp_path / "whole"))
    assert rows != fit(Line(tmp_path / "plain"))
    for step in (9, 14):
        with pytest.raises(KeyboardInterrupt):
            fit(Doubling(tmp_path / "stopped", at_step={step: interrupt}))
    assert fit(Doubling(tmp_path / "stopped")) == rows


def test_metrics_are_logged_between_epochs_and_resume(tmp_path):
    def logged(rows: list[dict]) -> list[dict]:
        return [{name: row[name] for name in ("step", "epoch", "loss")} for row in rows if "images_per_second" in row]

    rows = fit(Line(tmp_path / "whole"), epochs=2, log_every=5)
    assert [(row["step"], row["epoch"]) for row in logged(rows)] == [(5, 0.5), (10, 1), (15, 1.5), (20, 2)]
    epochs = [row for row in rows if "error" in row]
    assert epochs == fit(Line(tmp_path / "plain"), epochs=2)
    first, second = logged(rows)[:2]
    assert first["loss"] + second["loss"] == pytest.approx(2 * epochs[0]["loss"])
    for step in (2, 7):
        with pytest.raises(KeyboardInterrupt):
            fit(Line(tmp_path / "stopped", at_step={step: interrupt}), epochs=2, log_every=5)
    assert logged(fit(Line(tmp_path / "stopped"), epochs=2, log_every=5)) == logged(rows)


class Returning(Line):
    """A rate that makes it worse; after the third epoch it goes back to the best one, moved a little."""

    def end_epoch(self, state: Any, epoch: Epoch) -> Report:
        def moved(best: Any) -> Any:
            slopes = parallel.unreplicate(best)["slopes"]
            np.save(self.out / "before", slopes)
            return parallel.replicate({"slopes": slopes + np.float32(1e-3)})

        return replace(super().end_epoch(state, epoch), from_best=moved if epoch.number == 3 else None)


def test_a_task_may_go_back_to_its_best_state(tmp_path):
    rows = fit(Returning(tmp_path / "whole", rate=1.2))
    assert [row["step"] for row in rows] == [10, 20, 30, 40], "going back takes no steps back"
    plain = fit(Line(tmp_path / "plain", rate=1.2))
    np.testing.assert_array_equal(np.load(tmp_path / "whole" / "before.npy"), np.load(tmp_path / "plain" / "best.npy"))
    assert rows[:3] == plain[:3]
    assert rows[3]["error"] < plain[3]["error"]
    for step in (28, 29, 33):  # also from a folder in which only a resumed run can find the best one
        with pytest.raises(KeyboardInterrupt):
            fit(Returning(tmp_path / "stopped", rate=1.2, at_step={step: interrupt}))
    assert fit(Returning(tmp_path / "stopped", rate=1.2)) == rows


def test_the_best_epoch_is_kept(tmp_path):
    """A rate that makes it worse and worse: the first epoch stays the best, in the files and in the checkpoints."""
    rows = fit(Line(tmp_path, rate=1.2), save_every=4)
    errors = [row["error"] for row in rows]
    assert errors == sorted(errors)
    assert np.abs(np.load(tmp_path / "best.npy") - SLOPES).max() == np.float32(errors[0])
    assert np.abs(np.load(tmp_path / "last.npy") - SLOPES).max() == np.float32(errors[-1])
    assert checkpoints(tmp_path) == {10, 36, 40}, "the best and the last two"


def test_metrics_that_are_not_finite_are_not_saved(tmp_path):
    with pytest.raises(InputError, match=r"metrics at step \d+ \(epoch .*loss (inf|nan)"):
        fit(Line(tmp_path, rate=1e30))
    assert not checkpoints(tmp_path)
    assert not (tmp_path / "last.npy").exists()


def test_metrics_are_read_a_step_late(tmp_path):
    """So that the devices always have a step to compute; only before the state is saved are all of them read."""
    task = Line(tmp_path)
    unread: list[int] = []
    real = parallel.unreplicate

    class Metrics(dict):
        pass

    def step(state: Any, batch: Any, number: int) -> tuple[Any, Any]:
        state, metrics = Line.step(task, state, batch, number)
        unread.append(len(reads))
        return state, metrics

    reads: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            parallel, "unreplicate", lambda tree: reads.append(tree) or real(tree) if "loss" in tree else real(tree)
        )
        task.step = step  # type: ignore[method-assign]
        fit(task, epochs=1)
    assert unread == [0, 0, *range(1, 9)]
    assert len(reads) == 10


def test_other_settings_are_refused(tmp_path):
    config = LineConfig(nested=Nested(rate=0.2), names={"a": "x"})
    fit(Line(tmp_path), config, epochs=1)
    check_settings(tmp_path, config)
    other = LineConfig(nested=Nested(rate=0.3, threads=5), names={"b": "y"})
    with pytest.raises(InputError, match=r"other settings: nested\.rate, nested\.threads, names\.a, names\.b; give"):
        check_settings(tmp_path, other)
    with pytest.raises(InputError, match=r"other settings: nested\.rate; give"):
        check_settings(tmp_path, other, ("nested.threads", "names"))
    check_settings(tmp_path, other, ("nested", "names"))

    # An older run did not know a setting: it had the default.
    path = tmp_path / "config.yaml"
    path.write_text("nested: {rate: 0.2}\nnames: {a: x}\n")
    check_settings(tmp_path, config)
    with pytest.raises(InputError, match=r"other settings: nested\.threads, seed; give"):
        check_settings(tmp_path, LineConfig(nested=Nested(0.2, threads=2), names={"a": "x"}, seed=1))

    for content in (b"", b"a: [", b"- 1", b"\xff\xfe\x00"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"config\.yaml is damaged"):
            check_settings(tmp_path, config)
    check_settings(tmp_path / "elsewhere", config)


def test_differences_name_what_differs():
    assert differences({"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 4}, "e": 5}) == ["b.c", "b.d", "e"]
    assert differences({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}) == []


def test_the_host_remembers_sums_and_the_best_score():
    host = HostState()
    for value in (1.0, 2.0, 6.0):
        host.add({"loss": value})
    assert host.means == {"loss": 3.0}
    host.end_epoch(0.5)
    host.end_epoch(0.25)
    assert (host.sums, host.steps, host.best) == ({}, 0, 0.5)
