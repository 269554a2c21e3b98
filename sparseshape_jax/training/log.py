"""What a training run measures, as it goes: metrics.jsonl, and TensorBoard's event files if asked for."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sparseshape_jax import output
from sparseshape_jax.errors import InputError

Row = dict[str, Any]
"""Plain values by name. Every row has `kind` ("train", "eval", …), `epoch` and `step`, the number of steps done; rows
that measure a set of images have its name as `set`."""

NOT_CURVES = ("step", "epoch", "n")


class Log:
    """`metrics.jsonl`, a JSON object per line, and TensorBoard's event files if asked for.

    TensorBoard gets every number of a row, as `loss/train` or `top1/val`, and every list of numbers: as one curve,
    `keep/train`, or as one for each entry, `keep/train/1`, `keep/train/2`, ….

    Args:
        folder: where the files go.
        step: rows after this step are dropped, because the run resumes there.
        tensorboard: write event files to `folder`/tensorboard.

    Raises:
        InputError: TensorBoard is asked for without its package, or the folder is not writable.
    """

    def __init__(self, folder: Path, step: int, *, tensorboard: bool = False) -> None:
        self.path = folder / "metrics.jsonl"
        self.rows = [row for row in read_rows(self.path) if row["step"] <= step]
        self._events = _event_writer(folder / "tensorboard") if tensorboard else None
        self._write()
        self._send(self.rows)

    def add(self, rows: Sequence[Row]) -> None:
        """Append rows to the file, all of them or none."""
        self.rows += rows
        self._write()
        self._send(rows)

    def close(self) -> None:
        """Complete TensorBoard's files."""
        if self._events is not None:
            self._events.close()

    def _send(self, rows: Sequence[Row]) -> None:
        if self._events is not None:
            for row in rows:
                for tag, value in _curves(row):
                    self._events.add_scalar(tag, value, row["step"])

    def _write(self) -> None:
        output.write_text(self.path, "".join(json.dumps(row) + "\n" for row in self.rows))


def _curves(row: Row) -> Iterator[tuple[str, float]]:
    """The points of TensorBoard's curves that a row gives: tag and value."""
    for key, value in row.items():
        tag = f"{key}/{row.get('set', row['kind'])}"
        if isinstance(value, int | float) and key not in NOT_CURVES:
            yield tag, value
        elif isinstance(value, list) and all(isinstance(each, int | float) for each in value):
            for number, each in enumerate(value, start=1):
                yield (tag if len(value) == 1 else f"{tag}/{number}"), each


def read_rows(path: Path) -> list[Row]:
    """The rows of a metrics.jsonl: none if there is no file; lines that are cut short are left out."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    rows = []
    for line in lines:
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return [row for row in rows if isinstance(row, dict) and "step" in row]


def _event_writer(folder: Path) -> Any:
    """A writer into an empty folder: what a killed run had not written yet is written anew from metrics.jsonl."""
    try:
        from tensorboardX import SummaryWriter
    except ModuleNotFoundError:
        raise InputError(
            'TensorBoard files need another package: pip install "sparseshape-jax[tensorboard]", or leave out'
            " --tensorboard"
        ) from None
    shutil.rmtree(folder, ignore_errors=True)
    return SummaryWriter(str(folder), flush_secs=10)
