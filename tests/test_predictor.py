"""Forward passes: the same for every way of running them, over one device or several, and refusals."""

import logging
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image
from support.commands import on_devices
from support.images import noise
from support.small_network import Small

from sparseshape_jax.data.folders import Folder
from sparseshape_jax.data.loader import Loader
from sparseshape_jax.errors import InputError
from sparseshape_jax.predictor import Predictor
from sparseshape_jax.preprocessing import Preprocessing
from sparseshape_jax.top_k.spec import TopK

PREPROCESSING = Preprocessing(resize=12, crop=12)
CLASSES = 10


class Pooled(Small):
    """The same, with an activation on the way that is not a feature map."""

    def steps(self):
        yield "conv1", self.conv1
        yield "conv2", self.conv2
        yield "avgpool", lambda x: x.mean(axis=(1, 2))
        yield "logits", lambda x: 2 * x


@pytest.fixture(scope="module")
def network() -> Small:
    return small(0)


def small(seed: int, kind: type[Small] = Small, **options: Any) -> Small:
    network = kind(num_classes=CLASSES, rngs=nnx.Rngs(seed), **options)
    network.conv1.bias[...] = jnp.linspace(-1, 1, 4)  # black images have activations, too
    network.eval()
    return network


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.stack([noise(12, 12, seed) for seed in range(3)])


def directly(network: Small, names: tuple[str, ...], at: Mapping[str, TopK], pixels: np.ndarray) -> dict[str, Any]:
    """Without the predictor, one operation after the other."""
    images = PREPROCESSING.normalize(jnp.asarray(pixels, jnp.float32) / 255)
    return network.activations(images, names, at=at)


@pytest.fixture
def count_compilations(caplog: pytest.LogCaptureFixture) -> Callable[[Callable[[], Any]], int]:
    """How many programs JAX compiles during a call."""

    def count(call: Callable[[], Any]) -> int:
        caplog.clear()
        with caplog.at_level(logging.WARNING), jax.log_compiles():
            call()
        return sum(record.getMessage().startswith("Compiling ") for record in caplog.records)

    return count


# Two Top-K each, because compiling is what takes time here.
SETTINGS = [
    ({}, {"scope": "channel", "keep": "rest"}),
    ({"keep": "rest", "method": "threshold"}, {"scope": "channel"}),
    ({"scope": "volume"}, {"mean_replace": True}),
    ({"scope": "volume", "keep": "rest", "method": "top_k"}, {"blend": 0.3}),
    ({"keep": "all"}, {"method": "top_k"}),
]


class TestFractions:
    @pytest.mark.parametrize(("first", "second"), SETTINGS, ids=str)
    def test_both_ways_give_the_same_bits(self, network, pixels, first, second):
        """k as an argument of one program, and k as a constant of one program for each fraction."""
        traced, static = (Predictor(network, PREPROCESSING, traced=traced) for traced in (True, False))
        seen = set()
        for fraction in (1.0, 0.37, 0.001):
            at = {"relu1": TopK(fraction, **first), "conv2": TopK(fraction, **second)}
            logits = traced.logits(at)(pixels)
            # A mean is rounded as the program around it has it summed; everything else is bit for bit the same.
            rounding = 1e-6 if second.get("mean_replace") else 0
            np.testing.assert_allclose(logits, static.logits(at)(pixels), rtol=rounding, atol=0)
            assert logits.shape == (3, CLASSES)
            assert logits.dtype == np.float32
            seen.add(logits.tobytes())
        assert len(seen) == 3
        np.testing.assert_allclose(logits, directly(network, ("logits",), at, pixels)["logits"], atol=1e-5)

    def test_no_top_k_and_one_everywhere(self, network, pixels):
        traced, static = (Predictor(network, PREPROCESSING, traced=traced) for traced in (True, False))
        np.testing.assert_array_equal(traced.logits()(pixels), static.logits({})(pixels))
        expected = directly(network, ("logits",), {}, pixels)["logits"]
        np.testing.assert_allclose(traced.logits()(pixels), expected, atol=1e-5)
        at = {"conv1": TopK(0.1), "relu1": TopK(0.3), "conv2": TopK(0.2)}
        np.testing.assert_array_equal(traced.logits(at)(pixels), static.logits(at)(pixels))
        assert (traced.logits(at)(pixels) != expected).any()

    def test_one_program_serves_all_fractions(self, network, pixels, count_compilations):
        predictor = Predictor(network, PREPROCESSING, traced=True)

        def run(fraction: float, **settings: Any) -> None:
            predictor.logits({"relu1": TopK(fraction, **settings)})(pixels)

        assert count_compilations(lambda: run(0.5)) >= 1
        assert count_compilations(lambda: [run(fraction) for fraction in (0.01, 0.2, 0.5, 1.0)]) == 0
        assert count_compilations(lambda: run(0.2, after=("relu1",))) == 0  # said twice
        assert count_compilations(lambda: run(0.2, keep="rest")) == 1
        assert count_compilations(lambda: run(0.3, keep="rest")) == 0

    def test_otherwise_every_fraction_has_its_own(self, network, pixels, count_compilations):
        predictor = Predictor(network, PREPROCESSING, traced=False)

        def run(fraction: float, **settings: Any) -> None:
            predictor.logits({"relu1": TopK(fraction, **settings)})(pixels)

        run(0.5)
        assert count_compilations(lambda: run(0.2)) == 1
        assert count_compilations(lambda: [run(0.2), run(0.5), run(0.5, after=("relu1",))]) == 0

    def test_images_of_another_size_keep_their_own_number(self, network, pixels):
        """A fraction is another k there."""
        traced, static = (Predictor(network, PREPROCESSING, traced=traced) for traced in (True, False))
        at = {"relu1": TopK(0.1)}
        for images in (pixels, pixels[:, :7, :9]):
            np.testing.assert_array_equal(traced.logits(at)(images), static.logits(at)(images))


def mean_over_positions(x: jax.Array) -> jax.Array:
    return x.mean(axis=(1, 2))


class TestActivations:
    def test_those_asked_for_after_their_top_k(self, network, pixels):
        at = {"relu1": TopK(0.2)}
        found = Predictor(network, PREPROCESSING).activations(("relu1", "conv1"), at)(pixels)
        assert list(found) == ["relu1", "conv1"]
        for name, expected in directly(network, ("relu1", "conv1"), at, pixels).items():
            assert isinstance(found[name], np.ndarray)
            assert found[name].shape == (3, 12, 12, 4)
            np.testing.assert_allclose(found[name], expected, atol=1e-5)
        assert (np.count_nonzero(found["relu1"], axis=(1, 2)) <= 28).all()

    def test_reduced_on_the_device(self, network, pixels):
        predictor = Predictor(network, PREPROCESSING)
        whole = predictor.activations(("conv1", "relu1"))(pixels)
        reduced = predictor.activations(("conv1", "relu1"), reduce=mean_over_positions)(pixels)
        for name, values in whole.items():
            assert reduced[name].shape == (3, 4)
            np.testing.assert_allclose(reduced[name], values.mean(axis=(1, 2)), rtol=1e-5, atol=1e-6)

    def test_the_same_reduction_is_the_same_program(self, network, pixels, count_compilations):
        predictor = Predictor(network, PREPROCESSING)
        predictor.activations(("conv1",), reduce=mean_over_positions)(pixels)
        again = predictor.activations(("conv1",), reduce=mean_over_positions)
        assert count_compilations(lambda: again(pixels)) == 0

    @pytest.mark.parametrize("names", [("conv1", "conv9"), ("conv9",)])
    def test_unknown_names_are_refused_at_once(self, network, names):
        with pytest.raises(InputError, match="no activation called 'conv9'"):
            Predictor(network, PREPROCESSING).activations(names)
        with pytest.raises(InputError, match="no activation called 'conv9'"):
            Predictor(network, PREPROCESSING).logits(dict.fromkeys(names, TopK()))


@pytest.mark.parametrize("traced", [True, False])
@pytest.mark.parametrize("name", ["avgpool", "logits"])
def test_top_k_belongs_after_feature_maps(name, traced):
    """Refused before there are images."""
    predictor = Predictor(small(0, Pooled), PREPROCESSING, traced=traced)
    with pytest.raises(InputError, match=f"Top-K cannot be placed after {name}, which is not a feature map") as caught:
        predictor.logits({name: TopK(0.2)})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("at", [{}, {"relu1": TopK(0.2)}])
def test_arrays_that_are_no_images(network, at):
    with pytest.raises(InputError, match=r"small takes \(N, H, W, 3\)"):
        Predictor(network, PREPROCESSING).logits(at)(np.zeros((2, 12, 12, 1), np.uint8))


class TestUpdate:
    def test_other_weights_without_compiling_again(self, network, pixels, count_compilations):
        other, at = small(1), {"relu1": TopK(0.2)}
        predictor = Predictor(network, PREPROCESSING)
        logits = predictor.logits(at)
        first = logits(pixels)

        def again() -> np.ndarray:
            predictor.update(other)
            return logits(pixels)

        assert count_compilations(again) == 0
        np.testing.assert_array_equal(again(), Predictor(other, PREPROCESSING).logits(at)(pixels))
        assert (again() != first).any()
        predictor.update(network)
        np.testing.assert_array_equal(logits(pixels), first)


@pytest.fixture
def folder(tmp_path) -> Folder:
    """Seven images, of which batches of three leave two places of padding."""
    for index in range(7):
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(noise(12, 12, index)).save(tmp_path / "images" / f"{index}.png")
    return Folder(tmp_path / "images")


def everything(network: Small, folder: Folder, name: str, at: Mapping[str, TopK]) -> np.ndarray:
    """One activation of all images, without the predictor."""
    pixels = np.stack([np.asarray(folder.image(index)) for index in range(len(folder))])
    return np.asarray(directly(network, (name,), at, pixels)[name])


@pytest.mark.parametrize("at", [{}, {"relu1": TopK(0.2)}], ids=["dense", "sparse"])
class TestWholeSets:
    def test_means(self, network, folder, at):
        names = ("relu1", "conv2", "logits")
        found = Predictor(network, PREPROCESSING).mean_activations(Loader(folder, PREPROCESSING, 3), names, at)
        assert list(found) == list(names)
        for name in names:
            assert found[name].dtype == np.float64
            expected = everything(network, folder, name, at).astype(np.float64).mean(axis=0)
            np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-6)

    def test_reduced_means(self, network, folder, at):
        loader = Loader(folder, PREPROCESSING, 3)
        found = Predictor(network, PREPROCESSING).mean_activations(loader, ("relu1",), at, reduce=mean_over_positions)
        expected = everything(network, folder, "relu1", at).mean(axis=(0, 1, 2))
        np.testing.assert_allclose(found["relu1"], expected, rtol=1e-5)

    @pytest.mark.parametrize("batch_size", [1, 3, 7, 20])
    def test_files(self, network, folder, tmp_path, at, batch_size):
        path = tmp_path / "new" / "relu1.npy"
        Predictor(network, PREPROCESSING).save_activations(path, Loader(folder, PREPROCESSING, batch_size), "relu1", at)
        found = np.load(path, allow_pickle=False)
        assert found.dtype == np.float32
        assert found.shape == (7, 12, 12, 4)
        np.testing.assert_allclose(found, everything(network, folder, "relu1", at), atol=1e-5)
        assert [each.name for each in path.parent.iterdir()] == ["relu1.npy"]


class TestBadImages:
    @pytest.fixture
    def spoiled(self, folder) -> Folder:
        for index in (2, 6):
            folder.paths[index].write_text("not an image")
        return folder

    def test_are_not_in_the_means(self, network, spoiled):
        loader = Loader(spoiled, PREPROCESSING, 3, skip_bad=True)
        found = Predictor(network, PREPROCESSING).mean_activations(loader, ("logits",))["logits"]
        good = Folder(spoiled.root, [path for index, path in enumerate(spoiled.paths) if index not in (2, 6)])
        np.testing.assert_allclose(found, everything(network, good, "logits", {}).mean(axis=0), rtol=1e-5, atol=1e-6)

    def test_are_rows_of_nan(self, network, spoiled, tmp_path):
        loader = Loader(spoiled, PREPROCESSING, 3, skip_bad=True)
        Predictor(network, PREPROCESSING).save_activations(tmp_path / "a.npy", loader, "logits")
        found = np.load(tmp_path / "a.npy")
        assert found.shape == (7, CLASSES)
        assert np.flatnonzero(np.isnan(found).all(axis=1)).tolist() == [2, 6]
        assert np.isfinite(found[[0, 1, 3, 4, 5]]).all()

    def test_nothing_is_written_when_one_is_not_skipped(self, network, spoiled, tmp_path):
        path = tmp_path / "out" / "a.npy"
        with pytest.raises(InputError, match=r"2\.png is not an image"):
            Predictor(network, PREPROCESSING).save_activations(path, Loader(spoiled, PREPROCESSING, 1), "logits")
        assert list(path.parent.iterdir()) == []
        path.write_text("earlier")
        with pytest.raises(InputError, match=r"2\.png is not an image"):
            Predictor(network, PREPROCESSING).save_activations(path, Loader(spoiled, PREPROCESSING, 1), "logits")
        assert path.read_text() == "earlier"
        assert [each.name for each in path.parent.iterdir()] == ["a.npy"]

    def test_nothing_but_bad_ones(self, network, folder, tmp_path):
        for path in folder.paths:
            path.write_text("not an image")
        loader = Loader(folder, PREPROCESSING, 3, skip_bad=True)
        predictor = Predictor(network, PREPROCESSING)
        with pytest.raises(InputError, match=r"none of the 7 images of .* can be decoded"):
            predictor.save_activations(tmp_path / "a.npy", loader, "logits")
        assert not (tmp_path / "a.npy").exists()
        with pytest.raises(InputError, match="no image could be decoded"):
            predictor.mean_activations(loader, ("logits",))


def test_images_of_other_parts_are_rows_of_nan(network, folder, tmp_path):
    loader = Loader(folder, PREPROCESSING, 3, part=(1, 2))
    Predictor(network, PREPROCESSING).save_activations(tmp_path / "a.npy", loader, "logits")
    found = np.isnan(np.load(tmp_path / "a.npy"))
    assert found.all(axis=1).tolist() == [True, False, True, False, True, False, True]
    assert found.any(axis=1).tolist() == found.all(axis=1).tolist()


def test_half_precision_can_be_read_by_numpy(folder, tmp_path):
    network = small(0, dtype=jnp.bfloat16)
    predictor = Predictor(network, PREPROCESSING)
    assert predictor.activations(("relu1",))(noise(12, 12)[None])["relu1"].dtype == jnp.bfloat16
    assert predictor.logits()(noise(12, 12)[None]).dtype == np.float32
    predictor.save_activations(tmp_path / "a.npy", Loader(folder, PREPROCESSING, 3), "relu1")
    found = np.load(tmp_path / "a.npy", allow_pickle=False)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, everything(small(0), folder, "relu1", {}), atol=0.1)


SCRIPT = """
import sys
from pathlib import Path
import jax, numpy as np
from support.images import noise
from test_predictor import PREPROCESSING, mean_over_positions, small
from sparseshape_jax.data.folders import Folder
from sparseshape_jax.data.loader import Loader
from sparseshape_jax.predictor import Predictor
from sparseshape_jax.top_k.spec import TopK

devices, folder, out = int(sys.argv[1]), Folder(Path(sys.argv[2])), sys.argv[3]
assert jax.local_device_count() == devices
found = {}
at = {"relu1": TopK(0.2), "conv2": TopK(0.3, scope="channel")}
for traced, batches in ((True, (8, 6, 1)), (False, (6,))):
    predictor = Predictor(small(0), PREPROCESSING, traced=traced)
    for batch in batches:
        pixels = np.stack([noise(12, 12, seed) for seed in range(batch)])
        found[f"logits {traced} {batch}"] = predictor.logits(at)(pixels)
loader = Loader(folder, PREPROCESSING, 3)
found["means"] = predictor.mean_activations(loader, ("relu1",), reduce=mean_over_positions)["relu1"]
predictor.update(small(1))
found["updated"] = predictor.logits(at)(pixels)
np.savez(out, **found)
"""


def test_four_devices_give_what_one_gives(folder, tmp_path):
    """Batches that divide among them, and batches that do not."""
    for devices in (1, 4):
        environment = on_devices(devices, PYTHONPATH=str(Path(__file__).parent))
        command = [sys.executable, "-W", "error", "-c", SCRIPT, str(devices), str(folder.root), f"{devices}.npz"]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "1.npz") as one, np.load(tmp_path / "4.npz") as four:
        assert len(one.files) == 6
        assert one.files == four.files
        for name in one.files:
            np.testing.assert_array_equal(one[name], four[name], err_msg=name)
