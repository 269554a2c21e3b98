"""Contestants that are processes of their own, as users have them, and take turns."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from sparseshape_jax.memory import keep_freed_memory

LIBRARIES = ("torch", "ours")


class Contestant:
    """A process that runs a script with `--serve` and waits for its turns."""

    def __init__(self, script: str, *facts: Any) -> None:
        command = [sys.executable, script, "--serve", json.dumps(facts)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._next_line()

    def turn(self) -> list[float]:
        """The seconds of each of its calls."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return [float(seconds) for seconds in self._next_line().split()]

    def end(self) -> None:
        self._process.communicate()

    def _next_line(self) -> str:
        assert self._process.stdout is not None
        if not (line := self._process.stdout.readline()):
            sys.exit("a contestant ended early")
        return line


def run(main: Callable[[], None], make: Callable[..., Sequence[Callable[[], Any]]]) -> None:
    """What a script does: `main`, or with `--serve` its part as a contestant, which times what `make` returns."""
    if sys.argv[1:2] == ["--serve"]:
        _serve(make, *json.loads(sys.argv[2]))
    else:
        main()


def _serve(make: Callable[..., Sequence[Callable[[], Any]]], library: str, *facts: Any) -> None:
    """For each line that it reads, print the seconds of each call."""
    if library == "ours":
        keep_freed_memory()  # as every job does
    calls = make(library, *facts)
    for call in calls:
        call()  # compiles, allocates
    print("ready", flush=True)
    for _ in sys.stdin:
        print(*map(_timed, calls), flush=True)


def _timed(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def medians_of(script: str, rounds: int, *facts: Any) -> dict[str, list[float]]:
    """For each library, the median seconds of each of its calls; its process gets the library's name and `facts`."""
    contestants = {library: Contestant(script, library, *facts) for library in LIBRARIES}
    times: dict[str, list[list[float]]] = {library: [] for library in contestants}
    for _ in range(rounds):
        for library, contestant in contestants.items():
            times[library].append(contestant.turn())
    for contestant in contestants.values():
        contestant.end()
    return {
        library: [statistics.median(column) for column in zip(*found, strict=True)] for library, found in times.items()
    }
