"""What a person sees of a run: metrics.jsonl, TensorBoard, learning curves, the final table."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sparseshape_jax import output
from sparseshape_jax.errors import InputError

Row = dict[str, Any]


class Log:
    """`metrics.jsonl`, a JSON object per line, and TensorBoard's event files if asked for.

    Rows of training hold `kind` "train", `epoch` (fractional, after it), `step`, `loss`, `accuracy`, `learning_rate`,
    `keep` (the keep fraction, 1 while dense), `images_per_second`; rows of evaluation `kind` "eval", `epoch`, `step`,
    `set`, `n`, `loss`, `top1`, `top5`.

    Args:
        folder: where it goes.
        step: rows after this step are dropped: the run is taken up there.
        tensorboard: write event files below `folder`/tensorboard.

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
        if self._events is None:
            return
        for row in rows:
            name = row.get("set", row["kind"])
            for key, value in row.items():
                if isinstance(value, int | float) and key not in ("step", "epoch", "n"):
                    self._events.add_scalar(f"{key}/{name}", value, row["step"])

    def _write(self) -> None:
        output.write_text(self.path, "".join(json.dumps(row) + "\n" for row in self.rows))


def read_rows(path: Path) -> list[Row]:
    """The rows of a metrics.jsonl; none where there is no file, and without lines that are cut short."""
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
    """A writer into an empty folder: what a killed run had not written yet comes anew from metrics.jsonl."""
    try:
        from tensorboardX import SummaryWriter
    except ModuleNotFoundError:
        raise InputError(
            'TensorBoard files need another package: pip install "sparseshape-jax[tensorboard]", or leave --tensorboard'
        ) from None
    shutil.rmtree(folder, ignore_errors=True)
    return SummaryWriter(str(folder), flush_secs=10)


def draw_curves(folder: Path, rows: Sequence[Row]) -> list[Path]:
    """Write `curves.png` and `curves.pdf`: loss and top-1 by epoch, of training and of every evaluation set."""
    from matplotlib.figure import Figure

    from sparseshape_jax.figures import save

    figure = Figure(figsize=(9, 3.6), dpi=160, layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    train = [row for row in rows if row["kind"] == "train"]
    epochs = [row["epoch"] for row in train]
    losses.plot(epochs, [row["loss"] for row in train], color="0.6", label="training")
    accuracies.plot(epochs, [row["accuracy"] for row in train], color="0.6", label="training")
    for name in dict.fromkeys(row["set"] for row in rows if row["kind"] == "eval"):
        own = [row for row in rows if row.get("set") == name]
        style: Mapping[str, Any] = {"marker": ".", "markersize": 4, "label": name}
        losses.plot([row["epoch"] for row in own], [row["loss"] for row in own], **style)
        accuracies.plot([row["epoch"] for row in own], [row["top1"] for row in own], **style)
    losses.set(xlabel="epoch", ylabel="cross-entropy")
    accuracies.set(xlabel="epoch", ylabel="top-1 accuracy", ylim=(0, 1))
    for axis in (losses, accuracies):
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    accuracies.legend(frameon=False, fontsize=8)
    return save(figure, folder / "curves")


def table(rows: Sequence[Row]) -> str:
    """The final table: for every evaluation set the last and the best top-1, with the epoch of the best."""
    lines = [f"{'evaluated on':<20} {'images':>7} {'top-1':>7} {'top-5':>7}   best top-1 (epoch)"]
    for name in dict.fromkeys(row["set"] for row in rows if row["kind"] == "eval"):
        own = [row for row in rows if row.get("set") == name]
        last, best = own[-1], max(own, key=lambda row: row["top1"])
        top5 = "-" if last["top5"] is None else f"{last['top5']:.3f}"
        lines.append(f"{name:<20} {last['n']:7} {last['top1']:7.3f} {top5:>7}   {best['top1']:.3f} ({best['epoch']:g})")
    return "\n".join(lines)
