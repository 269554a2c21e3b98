"""Groups, filters and losses: properties, and a slow oracle in NumPy."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from support.commands import on_devices
from support.networks import random_network
from support.small_network import SMALL

from sparseshape_jax import TopK, frequency
from sparseshape_jax.errors import InputError
from sparseshape_jax.frequency import joint, losses
from sparseshape_jax.frequency.filtered import Filtered, cross_entropy
from sparseshape_jax.frequency.losses import show
from sparseshape_jax.models import registry

SIDES = st.integers(8, 40)


@st.composite
def sides_and_patches(draw, sides=SIDES):
    size = draw(sides)
    return size, draw(st.integers(1, size // 2))


def noise(count, size, seed=0):
    return np.random.default_rng(seed).normal(size=(count, size, size, 3)).astype(np.float32)


def oracle(image, mask):
    """The full complex transform of one image, filtered."""
    spectrum = np.fft.fftshift(np.fft.fft2(image.astype(np.complex128), axes=(0, 1)), axes=(0, 1))
    return np.fft.ifft2(np.fft.ifftshift(spectrum * mask[..., None], axes=(0, 1)), axes=(0, 1))


def network(images):
    """Logits of five classes that depend on every pixel in a way of its own."""
    size = images.shape[1] * images.shape[2] * 3
    weights = jnp.sin(jnp.arange(size * 5, dtype=jnp.float32).reshape(size, 5) * 0.37) / size**0.5
    return jnp.tanh(images.reshape(len(images), -1)) @ weights * 4


@given(sides_and_patches())
def test_groups_are_a_partition_closed_under_negation(case):
    size, patch = case
    groups = frequency.groups(size, patch)
    rows, columns = frequency.partners(size)
    np.testing.assert_array_equal(groups.of, groups.of[rows, columns])
    assert sorted(np.unique(groups.of)) == list(range(groups.count))
    assert groups.sizes.sum() == size**2
    assert groups.sizes.max() <= 2 * patch**2
    first = [int(np.flatnonzero(groups.of.ravel() == group)[0]) for group in range(groups.count)]
    assert len(set(first)) == groups.count
    if patch == 1:
        assert groups.count == (size**2 + 4) // 2 if size % 2 == 0 else (size**2 + 1) // 2


@pytest.mark.parametrize(
    ("size", "counts"), [(32, {1: 514, 2: 137, 4: 37, 8: 11}), (224, {1: 25090, 2: 6329, 4: 1597, 8: 407})]
)
def test_number_of_groups(size, counts):
    assert {patch: frequency.groups(size, patch).count for patch in counts} == counts
    assert frequency.default_patch(size) == {32: 1, 224: 8}[size]


def test_frequency_0_is_a_group_of_its_own_where_the_patch_divides_half_the_side():
    for size, patch in ((32, 4), (32, 8), (224, 8)):
        groups = frequency.groups(size, patch)
        assert groups.sizes[groups.of[size // 2, size // 2]] == 1
        # The left half has the reference's blocks.
        left = groups.of[:, : size // 2]
        assert all(len(np.unique(left[i : i + patch, j : j + patch])) <= 2 for i in (0, patch) for j in (0, patch))


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([8, 9, 16, 21]), st.data())
def test_filters(size, data):
    patch = data.draw(st.integers(1, size // 2))
    groups = frequency.groups(size, patch)
    images = noise(2, size)
    group = data.draw(st.integers(0, groups.count - 1))
    expected = oracle(images[0], groups.removal(group))
    assert np.abs(expected.imag).max() < 1e-12  # removal leaves real images
    np.testing.assert_allclose(frequency.keep(images, groups.removal(group))[0], expected.real, atol=2e-6)
    # Any real mask, symmetric or not.
    mask = np.random.default_rng(data.draw(st.integers(0, 99))).random((size, size))
    kept = np.asarray(frequency.keep(images, mask))
    np.testing.assert_allclose(kept[1], oracle(images[1], mask).real, atol=3e-6)
    np.testing.assert_allclose(kept + np.asarray(frequency.keep(images, 1 - mask)), images, atol=3e-6)
    np.testing.assert_allclose(np.asarray(frequency.remove(images, mask)), images - kept, atol=3e-6)


@pytest.mark.parametrize(("size", "patch"), [(8, 1), (9, 2), (16, 3), (15, 7)])
def test_removing_every_group_in_turn(size, patch):
    groups = frequency.groups(size, patch)
    images = noise(1, size)
    total = sum(np.asarray(frequency.keep(images, groups.removal(group)), float) for group in range(groups.count))
    np.testing.assert_allclose(total, (groups.count - 1) * images, atol=2e-6 * groups.count)


@pytest.mark.parametrize("symmetry", ["exact", "reference"])
@pytest.mark.parametrize(("size", "patch"), [(8, 1), (8, 2), (12, 3)])
def test_losses_agree_with_one_image_and_one_frequency_at_a_time(size, patch, symmetry):
    groups = frequency.groups(size, patch, symmetry)
    images, labels = noise(3, size), np.array([4, 0, 2])
    expected = np.zeros((3, groups.count))
    for row, image in enumerate(images):
        for group in range(groups.count):
            logits = np.asarray(network(oracle(image, groups.removal(group)).real[None].astype(np.float32)), float)[0]
            expected[row, group] = logsumexp(logits) - logits[labels[row]]
    for batch_size in (7, 128):
        found = frequency.image_losses(network, images, labels, groups, batch_size=batch_size)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=2e-6, rtol=0)


def test_confident_images_do_not_tie():
    logits = jnp.asarray([[0.0, 40.0], [0.0, 41.0], [60.0, 0.0], [1.0, 1.0]])
    labels = jnp.asarray([1, 1, 1, 0])
    found = np.asarray(cross_entropy(logits, labels), float)
    np.testing.assert_allclose(found, [np.exp(-40.0), np.exp(-41.0), 60.0, np.log(2)], rtol=1e-6)


@pytest.fixture
def sparse(monkeypatch):
    monkeypatch.setitem(registry._ARCHITECTURES, "small", SMALL)
    return random_network("small", num_classes=3, gain=2.0)


def test_a_network_of_the_package_with_top_k_inside(sparse):
    images, labels = noise(2, 8), np.array([0, 2])
    groups = frequency.groups(8, 2)
    at = {"relu1": TopK(0.2)}
    found = frequency.image_losses(sparse, images, labels, groups, at=at)
    for group in (0, groups.count - 1):
        filtered = frequency.keep(images, groups.removal(group))
        expected = cross_entropy(sparse(filtered, at=at), jnp.asarray(labels))
        np.testing.assert_allclose(found[:, group], expected, atol=2e-6)
    assert np.abs(found - frequency.image_losses(sparse, images, labels, groups)).max() > 1e-3


def test_few_programs_are_compiled(caplog):
    groups, images, labels = frequency.groups(8, 2), noise(5, 8), np.arange(5)
    with jax.log_compiles(), caplog.at_level("WARNING", "jax._src.interpreters.pxla"):
        frequency.image_losses(network, images, labels, groups, batch_size=8)
    compiled = [record.getMessage() for record in caplog.records if "Compiling" in record.getMessage()]
    assert len(compiled) <= 2, compiled


def test_blocks_of_images_do_not_matter(monkeypatch):
    groups, images, labels = frequency.groups(8, 2), noise(5, 8), np.arange(5)
    whole = frequency.image_losses(network, images, labels, groups, batch_size=8)
    monkeypatch.setattr(losses, "RESIDENT", 2 * 8 * 5 * 3 * 8)  # two images
    np.testing.assert_array_equal(frequency.image_losses(network, images, labels, groups, batch_size=8), whole)


def test_an_interrupted_run_gives_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(losses, "SAVED_EVERY", 0.0)
    groups, images, labels = frequency.groups(8, 1), noise(5, 8), np.arange(5)
    lists = [np.arange(groups.count)[: 20 + image] for image in range(5)]

    def run(saved, stop=None):
        seen = []

        def progress(count):
            seen.append(count)
            if stop is not None and sum(seen) >= stop:
                raise KeyboardInterrupt

        def inputs(start, end):
            return images[start:end]

        filtered = Filtered(network, groups, batch_size=8)
        return np.concatenate(
            show(filtered, inputs, labels, lists, result="loss", saved=saved, progress=progress)
        ), seen

    whole, _ = run(None)
    for stop in (9, 40, 100):
        saved = tmp_path / f"{stop}.npz"
        with pytest.raises(KeyboardInterrupt):
            run(saved, stop)
        resumed, seen = run(saved)
        assert seen[0] >= stop - 16  # what was done is not done again
        np.testing.assert_array_equal(resumed, whole)
    saved.write_bytes(saved.read_bytes()[:100])  # damaged: begins again
    np.testing.assert_array_equal(run(saved)[0], whole)


DEVICES = """
import sys
import numpy as np
sys.path.insert(0, {tests!r})
from frequency_network import network, noise
from sparseshape_jax import frequency
from sparseshape_jax.frequency.filtered import Filtered
from sparseshape_jax.frequency.losses import show
images, labels = noise(3, 8), np.arange(3)
found = frequency.image_losses(network, images, labels, frequency.groups(8, 2), batch_size=12)
filtered = Filtered(network, np.load({masks!r}), batch_size=12)
alone = show(filtered, lambda start, stop: images[start:stop], labels, [np.arange(10)] * 3, result="loss")
np.savez({out!r}, found=found, alone=alone)
"""


@pytest.mark.parametrize("devices", [2, 4])
def test_several_devices(devices, tmp_path):
    (tmp_path / "frequency_network.py").write_text(
        "import jax.numpy as jnp\nimport numpy as np\n\n"
        + "\n".join(_source(function) for function in (noise, network))
    )
    masks = joint.candidates(8, 4, 10, np.random.default_rng(0))
    np.save(tmp_path / "masks.npy", masks)
    out = tmp_path / "found.npz"
    code = DEVICES.format(tests=str(tmp_path), masks=str(tmp_path / "masks.npy"), out=str(out))
    environment = on_devices(devices, PYTHONPATH=str(Path(frequency.__file__).parents[2]))
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = frequency.image_losses(network, noise(3, 8), np.arange(3), frequency.groups(8, 2), batch_size=12)
    filtered = jnp.stack([frequency.keep(noise(3, 8), mask) for mask in masks], axis=1).reshape(30, 8, 8, 3)
    alone = cross_entropy(network(filtered), jnp.repeat(jnp.arange(3), 10)).reshape(3, 10)
    with np.load(out) as found:
        np.testing.assert_allclose(found["found"], expected, atol=1e-6, rtol=0)
        np.testing.assert_allclose(found["alone"], alone, atol=1e-6, rtol=0)


def _source(function):
    import inspect

    return inspect.getsource(function)


def test_refusals():
    images = noise(1, 8)
    for patch in (0, -1, 5):
        with pytest.raises(InputError, match=f"patch is {patch}; .* from 1 to 4"):
            frequency.groups(8, patch)
    with pytest.raises(InputError, match=r"patch is 3; .* must divide"):
        frequency.groups(8, 3, "reference")
    with pytest.raises(InputError, match="symmetry is 'other'"):
        frequency.groups(8, 3, "other")
    with pytest.raises(InputError, match="square"):
        frequency.keep(images[:, :6], np.ones((8, 8)))
    with pytest.raises(InputError, match="the mask has shape"):
        frequency.keep(images, np.ones((6, 6)))
    with pytest.raises(InputError, match="uint8"):
        frequency.keep(images.astype(np.uint8), np.ones((8, 8)))
    with pytest.raises(InputError, match="4 channels"):
        frequency.amplitude(np.zeros((1, 8, 8, 4), np.float32))
    with pytest.raises(InputError, match="8 pixels"):
        frequency.image_losses(network, images, np.zeros(1, int), frequency.groups(9, 2))
    broken = np.concatenate([images, images * np.nan])
    with pytest.raises(InputError, match="not numbers for image 1"):
        frequency.image_losses(network, broken, np.zeros(2, int), frequency.groups(8, 4))
