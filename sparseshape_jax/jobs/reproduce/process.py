"""Running one section in a process of its own, and reading from its log what became of it."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from sparseshape_jax.report.outcomes import Status

LAST_LINES = 15
"""Of a failed section's log, kept for the page."""


def run_process(arguments: Sequence[str], command: str, log: Path) -> tuple[Status, str, str, float]:
    """Run a section's command; what it prints goes to `log`, after the command.

    Returns what became of it, why in a line, the last lines of the log unless all is well, and the seconds it took.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with log.open("w", encoding="utf-8") as file:
        print(command, file=file, flush=True)
        status = _wait(arguments, file.fileno())
    seconds = time.monotonic() - start
    lines = _lines(log)[1:]
    became, why = judge(status, lines)
    return became, why, "" if became == "done" else "\n".join(lines[-LAST_LINES:]), seconds


def _wait(arguments: Sequence[str], output: int) -> int:
    """The exit status of the section's process. Ctrl-C is passed on to it, once, and waited for."""
    child = [sys.executable, "-m", "sparseshape_jax.jobs.reproduce.child", *arguments]
    # In a session of its own, it does not get the terminal's Ctrl-C as well. Its standard input tells it when we end.
    with subprocess.Popen(
        child, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
    ) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            print(flush=True)  # ends the section's line
            process.send_signal(signal.SIGINT)
            process.wait()
            raise


def judge(status: int, lines: Sequence[str]) -> tuple[Status, str]:
    """What an exit status and the lines of a log say: what became of the section, and why in a line."""
    last = lines[-1] if lines else f"it ended with status {status} and said nothing"
    if status == 0:
        return "done", ""
    if status == 1 and not any(line.startswith("Traceback") for line in lines):
        return "incomplete", last
    if status < 0:
        cause = " (which the system sends when memory runs out)" if -status == signal.SIGKILL else ""
        return "failed", f"it was ended by signal {-status}{cause}"
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return "failed", errors[-1] if errors else last


def _lines(log: Path) -> list[str]:
    """The lines of a log, without progress bars."""
    text = log.read_text(encoding="utf-8", errors="replace")
    lines = [line.rpartition("\r")[2].rstrip() for line in text.split("\n")]
    return [line for line in lines if line and not re.search(r"\d+%\|", line)]
