"""Killed runs, and runs on several devices: the set is the same (for VGG16 on several devices, but for rounding)."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import ROOT, files, results

SCRIPT = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from support.small_network import SMALL
from sparseshape_jax import output
from sparseshape_jax.cli import main
from sparseshape_jax.jobs.synthesize import JOBS
from sparseshape_jax.models import register

register("small", replace(SMALL, head=()))
last, *arguments = sys.argv[1:]
writes = 0

def dying(path):
    global writes
    writes += 1
    path = Path(path)
    if writes > int(last):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    return replacing(path)

replacing, output.replacing = output.replacing, dying
raise SystemExit(main("", JOBS, arguments))
"""
"""The script, in a process that is killed after so many files, in the middle of the next."""


def run(last: int, *arguments: object, **environment: str) -> int:
    path = os.pathsep.join([str(ROOT / "tests"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", SCRIPT, str(last), *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": path} | environment, capture_output=True)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
    return done.returncode


def tree(out: Path) -> dict[str, bytes]:
    left_out = (".pdf", "config.yaml", "results.json")
    return {name: (out / name).read_bytes() for name in files(out) if not name.endswith(left_out)}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL on this system")
def test_killed_runs_resume(common_flags, whole, tmp_path):
    out = tmp_path / "out"
    assert run(3, *common_flags, "--out", out) == -signal.SIGKILL
    assert 0 < len(files(out)) < len(files(whole))
    assert run(9, *common_flags, "--out", out) == -signal.SIGKILL
    assert run(10_000, *common_flags, "--out", out) == 0
    assert tree(out) == tree(whole)
    rows = [[{**row, "file": ""} for row in results(folder)["rows"]] for folder in (out, whole)]
    assert rows[0] == rows[1]


@pytest.mark.slow
def test_four_devices_make_the_same_set(common_flags, tmp_path):
    """XLA splits sums among its threads: as many as there are cores (NPROC), and at least one for each device."""

    def made(devices: int) -> dict[str, bytes]:
        out = tmp_path / str(devices)
        flags = f"--xla_force_host_platform_device_count={devices}"
        assert run(10_000, *common_flags, "--out", out, NPROC="4", XLA_FLAGS=flags) == 0
        return tree(out)

    assert made(4) == made(1)
