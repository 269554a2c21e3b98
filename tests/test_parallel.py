"""Splitting a batch over devices: here over one, in a process of its own over four that JAX makes up on a CPU."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.commands import on_devices

from sparseshape_jax.parallel import map_batch, place_shared

DEVICES = [(1, 3), (4, 8), (4, 6), (4, 1)]
"""How many devices, and the size of the batch."""


def run(script: str, devices: int, batch: int) -> None:
    """Run a script in a process with so many devices."""
    command = [sys.executable, "-W", "error", "-c", PREAMBLE + script, str(devices), str(batch)]
    done = subprocess.run(command, env=on_devices(devices), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


PREAMBLE = """
import sys
import jax, jax.numpy as jnp, numpy as np
from sparseshape_jax.parallel import data_parallel, map_batch, mean_over_devices, place_shared, replicate

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
devices, batch = map(int, sys.argv[1:])
assert jax.local_device_count() == devices
share = -(-batch // devices)
calls = []
"""

# Each image is counted up by its own rate and amounts, for three calls in a row.
COUNT = """
def step(carry, args):
    rates, amounts = args
    calls.append(carry["count"].shape)
    return {"count": carry["count"] + rates[:, None] + amounts["of three"], "index": carry["index"]}, carry["count"]

compiled = map_batch(step, donate=(0,))
carry = {"count": jnp.zeros((batch, 3)), "index": np.arange(batch)}
for call in range(3):
    args = (jnp.arange(float(batch)), {"of three": jnp.full((batch, 3), 10.0)})
    carry, before = compiled(carry, args)
    expected = np.broadcast_to(np.arange(batch)[:, None] + 10.0, (batch, 3))
    np.testing.assert_array_equal(before, call * expected)
    np.testing.assert_array_equal(carry["count"], (call + 1) * expected)
    np.testing.assert_array_equal(carry["index"], np.arange(batch))
assert calls == [(share, 3)], "compiled once, for each device's share"
"""

# Every image gets the whole of what is shared, wherever that is.
SHARED = """
def scale(images, weights, bias):
    calls.append((images.shape, weights["kernel"].shape, bias.shape))
    return images @ weights["kernel"] + bias

compiled = map_batch(scale, shared=(1, 2))
images = np.arange(2.0 * batch, dtype=np.float32).reshape(batch, 2)
kernel = np.arange(6.0, dtype=np.float32).reshape(2, 3)
placed = place_shared({"kernel": kernel})
assert placed["kernel"].sharding.device_set == set(jax.local_devices())
assert placed["kernel"].is_fully_replicated
bias = np.float32(5)
for weights in (placed, {"kernel": kernel}, placed):
    np.testing.assert_array_equal(compiled(images, weights, bias), images @ kernel + bias)
np.testing.assert_array_equal(compiled(images, place_shared({"kernel": 2 * kernel}), bias), images @ (2 * kernel) + 5)
assert set(calls) == {((share, 2), (2, 3), ())}
np.testing.assert_array_equal(placed["kernel"], kernel)  # not given away
"""

# The batch axis need not come first among the arguments.
SHARED_FIRST = """
compiled = map_batch(lambda weights, counts, images: weights + images + counts.get("k", 0.0), shared=(0, 1))
images = np.arange(float(batch), dtype=np.float32).reshape(batch, 1)
for counts in ({}, {"k": np.float32(7)}):
    expected = images + 100 + counts.get("k", 0)
    np.testing.assert_array_equal(compiled(place_shared(jnp.full((1, 1), 100.0)), counts, images), expected)
"""


# Each device has its part of the batch, and all get the mean over the whole of it.
MEAN = """
def step(state, batch, offset):
    return mean_over_devices({"mean": batch.mean() + offset, "state": state["state"]})

state = replicate({"state": np.arange(3.0, dtype=np.float32)})
batch_of_floats = np.arange(float(batch), dtype=np.float32)
found = data_parallel(step, donate=True)(state, batch_of_floats, np.float32(10))
np.testing.assert_array_equal(found["mean"], np.full(devices, batch_of_floats.mean() + 10))
np.testing.assert_array_equal(found["state"], np.tile(np.arange(3.0), (devices, 1)))
assert not state["state"].is_deleted()  # a CPU would copy it first
"""


@pytest.mark.parametrize(("devices", "batch"), [(1, 3), (4, 8)])
def test_the_mean_is_over_all_devices(devices, batch):
    run(MEAN, devices, batch)


@pytest.mark.parametrize(("devices", "batch"), DEVICES)
def test_batches_are_split_and_put_together_again(devices, batch):
    run(COUNT, devices, batch)


@pytest.mark.parametrize(("devices", "batch"), DEVICES)
def test_shared_arguments_are_whole_everywhere(devices, batch):
    run(SHARED + SHARED_FIRST, devices, batch)


class TestDonation:
    """On the one device of this process, where what is donated is used up."""

    def test_gives_away_what_is_named_and_nothing_else(self):
        given, kept = jnp.ones((3, 2)), jnp.ones((3, 2))
        result = map_batch(lambda a, b: a + b, donate=(0,))(given, kept)
        np.testing.assert_array_equal(result, np.full((3, 2), 2.0))
        assert given.is_deleted()
        assert not kept.is_deleted()

    def test_nothing_unless_asked(self):
        kept = jnp.ones((3, 2))
        map_batch(lambda a: a + 1)(kept)
        assert not kept.is_deleted()


def test_place_shared_on_one_device():
    placed = place_shared({"a": np.arange(3), "b": [jnp.ones(2)]})
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(placed))
    np.testing.assert_array_equal(placed["a"], np.arange(3))
