"""Killing a training run again and again, at random moments after it has saved something."""

import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def complete(out: Path) -> set[Path]:
    """Complete checkpoints: orbax renames their folders last."""
    return {path for path in out.glob("checkpoints/*/_CHECKPOINT_METADATA") if path.parent.name.isdigit()}


def kill(
    start: Callable[[], dict[str, Any]],
    out: Path,
    *,
    times: int,
    longest: float,
    found: Callable[[Path], set[Path]] = complete,
) -> int:
    """Start a run in `out` by `subprocess.Popen(**start())` and kill it, so many times; it must not end before.

    Each run is killed within `longest` seconds after it has `found` more: by default, a complete checkpoint. Returns
    how many kills left a checkpoint half-written.
    """
    draw = random.Random(0)
    torn = 0
    for kills in range(times):
        saved = found(out)
        process = subprocess.Popen(**start(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and found(out) <= saved:  # while it starts
            time.sleep(0.001)
        time.sleep(draw.uniform(0, longest))
        assert process.poll() is None, f"it ended after {kills} kills"
        process.send_signal(signal.SIGKILL)
        process.wait()
        torn += any(not path.name.isdigit() for path in out.glob("checkpoints/*"))
    return torn
