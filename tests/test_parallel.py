"""Splitting a batch over devices: here over one, in a process of its own over four that JAX makes up on a CPU."""

import os
import subprocess
import sys

import pytest

# Each image is counted up by its own rate and amounts, for three calls in a row.
SCRIPT = """
import sys
import jax, jax.numpy as jnp, numpy as np
from sparseshape_jax.parallel import over_devices

def step(carry, args):
    rates, amounts = args
    calls.append(carry["count"].shape)
    return {"count": carry["count"] + rates[:, None] + amounts["of three"], "index": carry["index"]}, carry["count"]

devices, batch = map(int, sys.argv[1:])
assert jax.local_device_count() == devices
calls = []
compiled = over_devices(step)
carry = {"count": jnp.zeros((batch, 3)), "index": np.arange(batch)}
for call in range(3):
    args = (jnp.arange(float(batch)), {"of three": jnp.full((batch, 3), 10.0)})
    carry, before = compiled(carry, args)
    expected = np.broadcast_to(np.arange(batch)[:, None] + 10.0, (batch, 3))
    np.testing.assert_array_equal(before, call * expected)
    np.testing.assert_array_equal(carry["count"], (call + 1) * expected)
    np.testing.assert_array_equal(carry["index"], np.arange(batch))
assert calls == [(-(-batch // devices), 3)], "compiled once, for each device's share"
"""


@pytest.mark.parametrize(("devices", "batch"), [(1, 3), (4, 8), (4, 6), (4, 1)])
def test_batches_are_split_and_put_together_again(devices, batch):
    environment = os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    command = [sys.executable, "-W", "error", "-c", SCRIPT, str(devices), str(batch)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
