"""The training state on disk, by orbax: the newest and the best, written while training continues, safe when killed.

A checkpoint is a folder named by its step, with the state's arrays and, as JSON, what the host must remember. It counts
once orbax has completed it. Half-written and half-deleted ones are deleted when a run resumes. Nothing in a checkpoint
is ever executed.
"""

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from sparseshape_jax.errors import InputError

COMPLETE = "_CHECKPOINT_METADATA"
"""The file that orbax writes last, and removes first."""
SCORE = "score"

logging.getLogger("absl").setLevel(logging.ERROR)  # orbax reports every step of every save


class Checkpoints:
    """The checkpoints in a folder; a context manager that waits for the last one to be written.

    Raises:
        InputError: the folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        if self.folder.is_dir():
            for step in self.folder.iterdir():
                if step.is_dir() and not (step / COMPLETE).is_file():
                    shutil.rmtree(step, ignore_errors=True)
        best = BestN(get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False)
        options = ocp.CheckpointManagerOptions(
            best_fn=_score,  # without it scores are not written, and a resumed run knows nothing of earlier ones
            # Among equal scores the policy keeps the later one. max_to_keep with best_fn could delete the newest.
            preservation_policy=AnyPreservationPolicy([LatestN(2), best]),
            cleanup_tmp_directories=True,
            enable_async_checkpointing=True,
        )
        with self._faults():
            self._manager = ocp.CheckpointManager(self.folder, options=options, item_names=("state", "host"))

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.wait()
        self._manager.close()

    @property
    def latest(self) -> int | None:
        """The step of the newest complete checkpoint; None if there is none."""
        return self._manager.latest_step()

    @property
    def best(self) -> int | None:
        """The step of the checkpoint with the highest score, the newest among equals; None if none has a score."""
        measured = ((self._manager.metrics(step), step) for step in self._manager.all_steps())
        scores = [(metrics[SCORE], step) for metrics, step in measured if metrics]
        return max(scores)[1] if scores else None

    def save(self, step: int, state: Any, host: Mapping[str, Any], score: float | None = None) -> None:
        """Start to save a checkpoint; the one before is complete when this returns.

        Args:
            step: its name; a checkpoint of that name is left as it is.
            state: a pytree of NumPy arrays.
            host: plain values.
            score: chooses the best checkpoint; higher is better.

        Raises:
            InputError: this checkpoint or the one before could not be written (disk full, …).
        """
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), host=ocp.args.JsonSave(dict(host)))
        self.wait()
        with self._faults():
            self._manager.save(step, args=items, metrics=None if score is None else {SCORE: score})

    def wait(self) -> None:
        """Return when everything that was saved is complete.

        Raises:
            InputError: something could not be written.
        """
        with self._faults():
            self._manager.wait_until_finished()
            self._manager.check_for_errors()

    def restore(self, template: Any, step: int | None = None) -> tuple[Any, dict[str, Any]]:
        """The state of a step, in the form of `template` (a pytree of NumPy arrays), and what the host remembered.

        Args:
            template: an array for each of the state's, of its shape and type.
            step: the newest unless another is given.

        Raises:
            InputError: the checkpoint holds a state of another form, or is damaged.
        """
        step = self.latest if step is None else step
        try:
            items = ocp.args.Composite(state=ocp.args.StandardRestore(template), host=ocp.args.JsonRestore())
            restored = self._manager.restore(step, args=items)
        except (ValueError, KeyError, TypeError, OSError) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                f"the checkpoint {self.folder / str(step)} does not fit this network or is damaged ({reason});"
                " give another --out, or delete that folder to resume from the checkpoint before"
            ) from None
        return restored["state"], dict(restored["host"])

    def _faults(self) -> "_Faults":
        return _Faults(self.folder)


def _score(metrics: Any) -> float:
    return metrics[SCORE]


class _Faults:
    """Turns errors of the file system into one line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError | ValueError | RuntimeError):
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
            complete = sorted(
                int(path.parent.name) for path in self.folder.glob(f"*/{COMPLETE}") if path.parent.name.isdigit()
            )
            kept = f"the one of step {complete[-1]} is intact" if complete else "there is none yet"
            raise InputError(
                f"cannot save a checkpoint in {self.folder} ({reason}); {kept}: free some space or make the folder"
                " writable, then give the same command again"
            ) from None
