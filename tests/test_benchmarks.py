"""The benchmark for accelerators, small, on a CPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_accelerator_benchmark_runs_on_a_cpu(tmp_path):
    out = tmp_path / "measured.json"
    command = [sys.executable, "benchmarks/accelerator.py", "--small", "--rounds", "1", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found["device"]["platform"] == "cpu"
    assert found["bytes_per_second"] > 0
    kinds = {row["what"].split()[0] for row in found["rows"]}
    assert kinds == {"Top-K", "squeezenet1_1", "resnet18", "texture,"}
    assert {row["dtype"] for row in found["rows"]} == {"float32", "bfloat16"}
    assert all(row["milliseconds"] > 0 and row["per_second"] > 0 for row in found["rows"])
    assert len(found["rows"]) == 2 * 3 * 2 * 2 + 4 + 2 + 2
