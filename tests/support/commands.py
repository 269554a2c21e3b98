"""Running the scripts as a user does, in this process, and looking at what they leave."""

import csv
import json
import os
import re
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

from sparseshape_jax.cli import main

ROOT = Path(__file__).parents[2]


def command(script: str, capsys: pytest.CaptureFixture[str]) -> Callable[..., SimpleNamespace]:
    """A function from arguments to what a script does with them: `status`, `out` and `err`."""
    jobs = import_module(f"sparseshape_jax.jobs.{Path(script).stem}")

    def run(*arguments: object) -> SimpleNamespace:
        try:
            status = main(jobs.__doc__ or "", jobs.JOBS, [str(argument) for argument in arguments])
        except SystemExit as stop:  # how argparse ends
            status = stop.code
        printed = capsys.readouterr()
        return SimpleNamespace(status=status, out=printed.out, err=printed.err)

    return run


def on_devices(count: int, **more: str) -> dict[str, str]:
    """The environment of a process that sees so many virtual devices."""
    return os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={count}"} | more


def training(flags: list[str], *, devices: int = 1) -> dict:
    """What `subprocess` needs for a run of train.py on so many virtual devices."""
    return {"args": [sys.executable, str(ROOT / "train.py"), *flags], "env": on_devices(devices)}


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def results(out: Path) -> dict:
    """The content of results.json, which must have no NaN."""
    return json.loads((out / "results.json").read_text(), parse_constant=pytest.fail)


def rows(out: Path) -> list[dict]:
    """The rows of results.json."""
    return results(out)["rows"]


def log_of(out: Path) -> list[dict]:
    """The rows of metrics.jsonl, without what depends on the clock."""
    found = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "images_per_second"} for row in found]


def table(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def refused(result: SimpleNamespace, message: str, out: Path) -> None:
    """One clear line, exit status 2, and no file."""
    assert result.status == 2
    assert result.out == ""
    # A progress bar may have stood there; it is wiped off the line.
    lines = [line.rpartition("\r")[2] for line in result.err.strip("\n").split("\n")]
    errors = [line for line in lines if "image/s" not in line]
    assert len(errors) == 1, result.err
    assert errors[0].startswith("error: ")
    assert re.search(message, errors[0]), errors[0]
    assert not out.exists() or files(out) == set()
