"""Pictures from latents: standing statistics, and what a picture may depend on."""

import subprocess
import sys

import jax
import numpy as np
import pytest
from flax import nnx
from support.commands import on_devices

from sparseshape_jax import TopK
from sparseshape_jax.few_shot.sample import slerp
from sparseshape_jax.few_shot.sampling import BATCH, SETTLING, Sampler, latents
from sparseshape_jax.few_shot.step import Weights
from sparseshape_jax.models.fastgan import Generator
from sparseshape_jax.top_k.placement import place

NZ = 8


@pytest.fixture(scope="module")
def generator() -> Generator:
    network = nnx.jit(lambda: Generator(64, 4, NZ, rngs=nnx.Rngs(0)))()
    network.eval()
    return network


@pytest.fixture(scope="module")
def sampler(generator) -> Sampler:
    return Sampler(generator, place(TopK(0.05, after=("feat_32",)), generator))


@pytest.fixture(scope="module")
def weights(generator) -> Weights:
    return Weights(nnx.state(generator, nnx.Param), nnx.state(generator, nnx.BatchStat))


def test_latents_depend_on_seed_and_number_only():
    many = latents(3, range(6), NZ)
    np.testing.assert_array_equal(latents(3, [4, 1], NZ), many[[4, 1]])
    assert many.dtype == np.float32
    assert not (many == latents(4, range(6), NZ)).any()
    assert abs(latents(0, range(2000), NZ).std() - 1) < 0.02


def test_standing_statistics_are_means_over_batches(generator, sampler, weights):
    """Of the first layer, whose input we know: computed here with NumPy, σ by a singular value decomposition."""
    batches = 3
    settled = sampler.settle(weights, batches)
    kernel = np.asarray(weights.params["feat_4"]["conv"]["kernel"].get_value(), np.float64)  # (4, 4, outputs, nz)
    sigma = np.linalg.norm(kernel.transpose(2, 3, 0, 1).reshape(kernel.shape[2], -1), 2)
    means, variances = [], []
    for number in range(batches):
        z = latents(SETTLING, range(number * BATCH, (number + 1) * BATCH), NZ).astype(np.float64)
        x = np.einsum("nz,hwoz->nhwo", z, kernel / sigma)
        means.append(x.mean(axis=(0, 1, 2)))
        variances.append(x.var(axis=(0, 1, 2), ddof=1))
    found = settled.stats["feat_4"]["bn"]
    np.testing.assert_allclose(found["mean"].get_value(), np.mean(means, axis=0), atol=1e-5)
    np.testing.assert_allclose(found["var"].get_value(), np.mean(variances, axis=0), rtol=1e-4)


def test_settling_leaves_the_weights_it_is_given(sampler, weights):
    before = [np.array(array) for array in jax.tree.leaves(weights)]
    sampler.settle(weights, 1)
    for ours, theirs in zip(jax.tree.leaves(weights), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_settling_twice_hardly_changes_pictures(sampler, weights):
    """Of a random kernel the largest singular values are close to each other, so u and v still move a little."""
    once = sampler.settle(weights, 2)
    z = latents(0, range(2), NZ)
    ours, theirs = (np.concatenate(list(sampler.outputs(each, z))) for each in (once, sampler.settle(once, 2)))
    assert np.abs(ours - theirs).max() < 0.02 * np.abs(ours).max()


def test_with_standing_statistics_a_picture_is_a_function_of_its_latent(generator, sampler, weights):
    settled, z = sampler.settle(weights, 2), latents(0, range(5), NZ)
    together = np.concatenate(list(sampler.outputs(settled, z)))
    assert together.shape == (5, 64, 64, 3)
    alone = next(iter(sampler.outputs(settled, z[3:4])))
    np.testing.assert_array_equal(alone[0], together[3])
    others = Sampler(generator, place(TopK(0.05, after=("feat_32",)), generator), batch_size=2)
    np.testing.assert_array_equal(np.concatenate(list(others.outputs(settled, z))), together)


def test_with_batch_statistics_it_depends_on_the_other_seven(sampler, weights):
    z = latents(0, range(BATCH + 2), NZ)
    first, second = sampler.outputs(weights, z, "batch")
    assert (len(first), len(second)) == (BATCH, 2)
    other = next(iter(sampler.outputs(weights, z[[0, *range(2, BATCH + 1)]], "batch")))
    assert np.abs(other[0] - first[0]).max() > 1e-4
    np.testing.assert_array_equal(next(iter(sampler.outputs(weights, z[:BATCH], "batch"))), first)


def test_top_k_is_inside(generator, sampler, weights):
    z = latents(0, range(1), NZ)
    dense = next(iter(Sampler(generator, {}).outputs(weights, z)))
    assert np.abs(dense - next(iter(sampler.outputs(weights, z)))).max() > 1e-4


DEVICES = """
import numpy as np
from flax import nnx
from sparseshape_jax.few_shot.sampling import Sampler, latents
from sparseshape_jax.few_shot.step import Weights
from sparseshape_jax.models.fastgan import Generator

generator = nnx.jit(lambda: Generator(64, 4, 8, rngs=nnx.Rngs(0)))()
sampler = Sampler(generator, {})
weights = Weights(nnx.state(generator, nnx.Param), nnx.state(generator, nnx.BatchStat))
found = np.concatenate(list(sampler.outputs(sampler.settle(weights, 1), latents(0, range(3), 8))))
print(__import__("hashlib").sha256(found.tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_pictures_do_not_depend_on_the_number_of_devices():
    found = set()
    for devices in (1, 2):
        done = subprocess.run([sys.executable, "-c", DEVICES], env=on_devices(devices), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found.add(done.stdout)
    assert len(found) == 1


def test_a_walk_is_on_a_sphere_and_begins_and_ends_at_the_latents():
    one, other = latents(0, range(2), 256)
    found = slerp(one, other, np.linspace(0, 1, 5))
    np.testing.assert_array_equal(found[0], one)
    np.testing.assert_array_equal(found[-1], other)
    norms = np.linalg.norm(found, axis=1)
    assert norms.min() > 0.9 * min(norms[0], norms[-1]), "a straight line would lose a third of the length"
    unit = found / norms[:, None]
    angles = np.arccos(np.clip((unit[1:] * unit[:-1]).sum(axis=1), -1, 1))
    np.testing.assert_allclose(angles, angles.mean(), rtol=0.1)
    np.testing.assert_allclose(slerp(one, 2 * one, np.array([0.5])), 1.5 * one[None], rtol=1e-5)
