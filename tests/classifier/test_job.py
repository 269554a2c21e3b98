"""A whole run of train.py: what it leaves behind, what it refuses, being killed, and how it divides over devices."""

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors.numpy import load_file
from support.colored_noise import write_noise
from support.commands import log_of, on_devices
from support.killed import kill

from sparseshape_jax import TopK, parallel
from sparseshape_jax.cli import main
from sparseshape_jax.data import loader
from sparseshape_jax.preprocessing import TORCHVISION
from sparseshape_jax.weights.load import load

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("small_train.py")
SETTINGS = {
    "model": "resnet_small",
    "topk": {"fraction": 0.2},
    "optimizer": {"learning_rate": 0.02},
    "epochs": 4,
    "batch_size": 8,
}


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of colored noise: 20 images each to train on, 7 each to evaluate, 5 each stylized."""
    counts = {"train": (20, 20, 20), "val": (7, 7, 7), "stylized": (5, 5, 5)}
    return write_noise(tmp_path_factory.mktemp("photos"), counts, tint=100)


@pytest.fixture
def command(photos, tmp_path):
    """The command line and environment of a run in `out`, with more settings."""

    def command(out: Path, *more: str, devices: int = 1) -> dict:
        data = {"path": str(photos), "image_size": 16, "resize": 16, "augment": {"crop": "padded"}, "threads": 2}
        config = tmp_path / "settings.yaml"
        config.write_text(yaml.safe_dump(SETTINGS | {"data": data}))
        flags = ["--config", str(config), "--out", str(out), *more]
        return {"args": [sys.executable, str(SCRIPT), "classifier", *flags], "env": on_devices(devices)}

    return command


@pytest.fixture
def run_apart(command):
    """Run in a process of its own."""

    def run(out: Path, *more: str, **options) -> subprocess.CompletedProcess:
        return subprocess.run(**command(out, *more, **options), capture_output=True, text=True)

    return run


@pytest.fixture
def run(command, small_train, capfd):
    """Run in this process, which is faster."""

    def run(out: Path, *more: str) -> subprocess.CompletedProcess:
        arguments = command(out, *more)["args"][2:]
        try:
            status = main("", small_train["JOBS"], arguments)
        except SystemExit as stop:  # how argparse ends
            status = int(stop.code or 0)
        return subprocess.CompletedProcess(arguments, status, *capfd.readouterr())

    return run


def one_line(done: subprocess.CompletedProcess) -> str:
    """The message of a run that was refused."""
    assert done.returncode == 2, done.stderr
    lines = [line for line in re.split(r"[\r\n]+", done.stderr) if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return lines[0]


def same_weights(one: Path, other: Path) -> None:
    for name in ("last", "best"):
        ours, theirs = load_file(one / f"{name}.safetensors"), load_file(other / f"{name}.safetensors")
        assert ours.keys() == theirs.keys()
        for key, array in ours.items():
            np.testing.assert_array_equal(array, theirs[key], err_msg=key)


def results(out: Path) -> dict:
    return json.loads((out / "results.json").read_text())


def test_a_run_leaves_behind_what_people_need(run, photos, tmp_path):
    out = tmp_path / "out"
    done = run(out, "--eval.stylized", str(photos / "stylized"), "--average", "0.5", "--optimizer.learning_rate", "0.2")
    assert done.returncode == 0, done.stderr
    expected = {"config.yaml", "metrics.jsonl", "last.safetensors", "best.safetensors", "results.json", "summary.csv"}
    assert expected <= {path.name for path in out.iterdir()}
    assert {"curves.png", "curves.pdf"} == {path.name for path in (out / "figures").iterdir()}
    logged = log_of(out)
    assert [(row["kind"], row["epoch"], row.get("set")) for row in logged[:3]] == [
        ("train", 1, None),
        ("eval", 1, "val"),
        ("eval", 1, "stylized"),
    ]
    assert len(logged) == 12
    assert (logged[1]["n"], logged[2]["n"]) == (21, 15)
    assert logged[0]["keep"] == [0.2]
    assert logged[-2]["top1"] > 0.8, "colors are easy"
    assert logged[-3]["loss"] < logged[0]["loss"]
    assert "stylized" in done.stdout
    assert len(list((out / "checkpoints").iterdir())) <= 3
    entries = ("set", "epoch", "n", "loss", "top1", "top5")
    assert [[row[name] for name in entries] for row in results(out)["rows"]] == [
        [row[name] for name in entries] for row in logged if row["kind"] == "eval"
    ]
    assert results(out)["job"] == "train classifier"
    assert results(out)["figures"] == ["figures/curves.png", "figures/curves.pdf"]
    assert len({row["fingerprint"] for row in results(out)["rows"]}) == 8
    for row in results(out)["rows"]:
        assert row["keep"] == [0.2]
        assert row["top_k"] == [TopK(0.2, after=("layer2",)).to_config()]
    assert (out / "summary.csv").read_text().splitlines()[0] == "set,epoch,n,loss,top1,top5,keep"

    loaded = load(None, weights=out)
    assert loaded.classes == ("blue", "green", "red")
    assert [(spec.fraction, spec.after) for spec in loaded.top_k] == [(0.2, ("layer2",))]
    assert loaded.preprocessing.crop == 16

    # What is finished is not done again, and the same folder takes no other settings.
    before = results(out)
    again = run(
        out, "--eval.stylized", str(photos / "stylized"), "--average", "0.5", "--optimizer.learning_rate", "0.2"
    )
    assert again.returncode == 0
    assert log_of(out) == logged
    assert results(out) == before
    message = one_line(run(out, "--epochs", "5"))
    assert "epochs" in message
    assert "optimizer.learning_rate" in message


@pytest.mark.parametrize(("times", "epochs"), [(1, 6), pytest.param(10, 30, marks=pytest.mark.slow)])
def test_killed_at_any_moment_it_ends_with_the_same_weights(command, run, tmp_path, times, epochs):
    more = ("--checkpoint_every", "1", "--average", "0.9", "--epochs", str(epochs), "--dropout", "0.3")
    assert run(tmp_path / "whole", *more).returncode == 0
    out = tmp_path / "killed"

    def begun(out: Path) -> set[Path]:
        return set(out.glob("checkpoints/*"))

    torn = kill(lambda: command(out, *more), out, times=times, longest=0.6, found=begun)
    assert torn or times < 10, "none of the kills met a checkpoint half-written"
    done = run(out, *more)
    assert done.returncode == 0, done.stderr
    assert "resuming at step" in done.stdout
    same_weights(tmp_path / "whole", out)
    assert log_of(tmp_path / "whole") == log_of(out)


@pytest.mark.slow
def test_half_written_and_half_deleted_checkpoints_are_passed_over(run, tmp_path):
    assert run(tmp_path / "whole").returncode == 0
    out = tmp_path / "torn"
    shutil.copytree(tmp_path / "whole", out)
    newest = max((out / "checkpoints").iterdir(), key=lambda path: int(path.name))
    (newest / "_CHECKPOINT_METADATA").unlink()  # what is deleted first and written last
    (out / "checkpoints" / f"{int(newest.name) + 1}.orbax-checkpoint-tmp-7").mkdir()
    (out / "metrics.jsonl").write_text((out / "metrics.jsonl").read_text() + '{"kind": "tra')
    done = run(out)
    assert done.returncode == 0, done.stderr
    assert "resuming at step 21 of 28" in done.stdout
    same_weights(tmp_path / "whole", out)
    assert log_of(tmp_path / "whole") == log_of(out)


@pytest.mark.slow
def test_ctrl_c_saves_and_says_how_to_resume(command, run, tmp_path):
    more = ("--epochs", "400")
    process = subprocess.Popen(
        **command(tmp_path / "out", *more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not (tmp_path / "out" / "last.safetensors").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command again" in printed
    checkpoints = [int(path.name) for path in (tmp_path / "out" / "checkpoints").iterdir()]
    assert max(checkpoints) < 400 * 7


def two_processes() -> list[list[str]]:
    """The flags of each that make two processes one run."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"--distributed.coordinator localhost:{free.getsockname()[1]} --distributed.processes 2"
    return [f"{address} --distributed.process {process}".split() for process in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("signalled", [[1], [0, 1]], ids=["to one", "to both"])
def test_sigterm_to_two_processes_stops_both_at_the_same_step(command, tmp_path, signalled):
    def start(out: Path) -> list[subprocess.Popen]:
        commands = [command(out, "--epochs", "12", *flags) for flags in two_processes()]
        return [subprocess.Popen(**each, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for each in commands]

    out = tmp_path / "out"
    processes = start(out)
    while not (out / "last.safetensors").exists():
        assert [process.poll() for process in processes] == [None, None]
        time.sleep(0.01)
    for process in signalled:
        processes[process].send_signal(signal.SIGTERM)
    printed = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [130, 130], printed
    assert max(int(path.name) for path in (out / "checkpoints").iterdir()) < 12 * 7
    for folder in (out, tmp_path / "whole"):
        processes = start(folder)
        printed = [process.communicate(timeout=200)[0] for process in processes]
        assert [process.returncode for process in processes] == [0, 0], printed
    same_weights(tmp_path / "whole", out)
    assert log_of(tmp_path / "whole") == log_of(out)


@pytest.mark.slow
def test_one_process_that_fails_ends_the_other(command, photos, tmp_path):
    bad = shutil.copytree(photos, tmp_path / "photos")
    (bad / "train" / "red" / "3.png").write_bytes((photos / "train" / "red" / "3.png").read_bytes()[:200])
    commands = [command(tmp_path / "out", "--data.path", str(bad), *flags) for flags in two_processes()]
    processes = [subprocess.Popen(**each, stderr=subprocess.PIPE, text=True) for each in commands]
    printed = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [2, 2], printed
    messages = sorted(re.findall(r"^error: (.*)", text, re.MULTILINE)[-1] for text in printed)
    assert "3.png cannot be decoded" in messages[0]
    assert messages[1].startswith("another process of this run failed or was lost")


@pytest.mark.slow
def test_one_two_and_four_devices_and_two_processes_learn_the_same(command, tmp_path):
    runs = {}
    for devices in (1, 2, 4):
        more = ("--epochs", "2")
        runs[devices] = [subprocess.Popen(**command(tmp_path / str(devices), *more, devices=devices))]
    for flags in two_processes():
        more = ("--epochs", "2", *flags)
        runs.setdefault("2x2", []).append(subprocess.Popen(**command(tmp_path / "2x2", *more, devices=2)))
    assert {process.wait(200) for processes in runs.values() for process in processes} == {0}
    one = log_of(tmp_path / "1")
    for name in runs:
        other = log_of(tmp_path / str(name))
        assert len(other) == len(one) == 4
        for ours, theirs in zip(one, other, strict=True):
            for key, value in ours.items():
                assert theirs[key] == (pytest.approx(value, rel=1e-4) if isinstance(value, float) else value), name
        for key, array in load_file(tmp_path / "1" / "last.safetensors").items():
            theirs = load_file(tmp_path / str(name) / "last.safetensors")[key]
            np.testing.assert_allclose(theirs, array, rtol=1e-3, atol=1e-5, err_msg=f"{key} of {name}")


def test_top_k_gathers_nothing(command, tmp_path):
    wanted = command(tmp_path / "out", "--epochs", "1", "--topk.method", "top_k", devices=4)
    wanted["env"]["XLA_FLAGS"] += f" --xla_dump_to={tmp_path}/hlo --xla_dump_hlo_as_text"
    del wanted["env"]["JAX_COMPILATION_CACHE_DIR"]
    assert subprocess.run(**wanted, capture_output=True).returncode == 0
    programs = [path.read_text() for path in (tmp_path / "hlo").glob("*after_optimizations.txt")]
    steps = [text for text in programs if "TopK" in text.replace("top_k", "TopK")]
    assert len(steps) == 2, "the step of training and that of evaluation, each compiled once"
    assert sorted("all-reduce" in text for text in steps) == [False, True], "evaluation reduces on the host"
    assert not any("all-gather" in text for text in steps)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_state(run, tmp_path):
    out = tmp_path / "out"
    message = one_line(run(out, "--optimizer.learning_rate", "1e30", "--schedule.warmup_epochs", "0"))
    assert "at step 0" in message or "at step 1" in message
    assert "optimizer.learning_rate" in message
    assert not list((out / "checkpoints").iterdir())
    assert not (out / "last.safetensors").exists()


@pytest.mark.slow
def test_a_full_disk_keeps_the_last_good_checkpoint(command, run, tmp_path):
    out = tmp_path / "out"
    assert run(out, "--epochs", "2").returncode == 0
    shutil.rmtree(out / "checkpoints" / "14")
    full = command(out, "--epochs", "2")
    # No file may grow beyond 2 kB: what the system refuses then, it refuses as it does on a full disk.
    full["args"] = ["bash", "-c", 'ulimit -f 2; exec "$@"', "bash", *full["args"]]
    full["env"].pop("JAX_COMPILATION_CACHE_DIR")
    message = one_line(subprocess.run(**full, capture_output=True, text=True))
    assert "cannot" in message
    assert (out / "checkpoints" / "7" / "_CHECKPOINT_METADATA").is_file()
    done = run(out, "--epochs", "2")
    assert done.returncode == 0, done.stderr
    assert "resuming at step 7" in done.stdout


def test_dry_run_draws_and_trains_nothing(run, tmp_path):
    done = run(tmp_path / "out", "--dry_run")
    assert done.returncode == 0, done.stderr
    assert "3: blue, green, red" in done.stdout
    assert "20% after layer2" in done.stdout
    assert "60 images" in done.stdout
    with Image.open(tmp_path / "out" / "first-batch.png") as sheet:
        assert sheet.size == (8 * 16, 16)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"first-batch.png"}


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (("--epochz", "3"), "epochz"),
        (("--data.path", "nowhere"), "nowhere"),
        (("--model", "resnet19"), "resnet19"),
        (("--batch_size", "61"), "batch_size is 61"),
        (("--topk.after", "pool9"), "pool9"),
        (("--init_from", "nothing"), "nothing"),
        (("--data.classes", "red"), "one class"),
        (("--eval.val", "x"), "eval.val"),
        (("--width", "0.5"), "width"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_bad_settings_are_refused_in_one_line(run, tmp_path, more, expected):
    message = one_line(run(tmp_path / "out", *more))
    assert expected in message
    assert not (tmp_path / "out").exists()


def test_a_batch_that_does_not_divide_over_the_devices_is_refused(run_apart, tmp_path):
    message = one_line(run_apart(tmp_path / "out", "--batch_size", "6", devices=4))
    assert "4 devices" in message


@pytest.mark.slow
def test_init_from_another_run_with_other_classes_begins_with_its_trunk(run, photos, tmp_path):
    assert run(tmp_path / "first", "--epochs", "1").returncode == 0
    more = ("--epochs", "1", "--data.classes", "green", "red", "--optimizer.learning_rate", "0")
    more += ("--optimizer.weight_decay", "0", "--init_from", str(tmp_path / "first"))
    done = run(tmp_path / "second", *more)
    assert done.returncode == 0, done.stderr
    first, second = (load_file(tmp_path / name / "last.safetensors") for name in ("first", "second"))
    np.testing.assert_array_equal(first["conv.weight"], second["conv.weight"])
    assert (first["fc.weight"].shape[0], second["fc.weight"].shape[0]) == (3, 2)
    message = one_line(run(tmp_path / "third", "--model", "squeezenet1_1", "--init_from", str(tmp_path / "first")))
    assert "squeezenet1_1" in message


def test_tensorboard_reads_what_is_written(run, tmp_path):
    pytest.importorskip(
        "tensorboardX", reason="TensorBoard: tensorboardX is not installed (pip install '.[tensorboard]')"
    )
    done = run(tmp_path / "out", "--epochs", "1", "--tensorboard")
    assert done.returncode == 0, done.stderr
    events = b"".join(path.read_bytes() for path in (tmp_path / "out" / "tensorboard").iterdir())
    for tag in (b"loss/train", b"top1/val", b"learning_rate/train", b"keep/train"):
        assert tag in events


def test_images_that_cannot_be_decoded_are_named_or_left_out(run, photos, tmp_path):
    shutil.copytree(photos, tmp_path / "photos")
    for split in ("train", "val"):
        (tmp_path / "photos" / split / "red" / "0.png").write_bytes(b"not an image")
    more = ("--epochs", "2", "--data.path", str(tmp_path / "photos"))
    assert "red/0.png" in one_line(run(tmp_path / "refused", *more))
    done = run(tmp_path / "out", *more, "--data.skip_bad")
    assert done.returncode == 0, done.stderr
    assert "2 images could not be decoded" in done.stdout
    assert log_of(tmp_path / "out")[1]["n"] == 20


@pytest.mark.slow
def test_top_k_comes_in_by_schedule(run, tmp_path):
    done = run(tmp_path / "out", "--epochs", "3", "--sparsity.schedule", "anneal", "--sparsity.epochs", "2")
    assert done.returncode == 0, done.stderr
    keeps = [row["keep"][0] for row in log_of(tmp_path / "out") if row["kind"] == "train"]
    assert keeps == [pytest.approx(1 - 0.4 * 6 / 7), pytest.approx(1 - 0.4 * 13 / 7), 0.2], "at the last step of each"
    done = run(tmp_path / "late", "--epochs", "2", "--sparsity.schedule", "from_epoch", "--sparsity.epochs", "1")
    assert done.returncode == 0, done.stderr
    assert [row["keep"][0] for row in log_of(tmp_path / "late") if row["kind"] == "train"] == [1, 0.2]

    evaluated = [row["keep"] for row in results(tmp_path / "late")["rows"]]
    assert evaluated == [[1], [0.2]], "evaluation has the fraction of training"
    assert [len(row["top_k"]) for row in results(tmp_path / "late")["rows"]] == [0, 1]


@pytest.mark.parametrize("schedule", ["constant", "anneal", "from_epoch"])
def test_each_step_is_compiled_once(small_train, command, tmp_path, schedule, monkeypatch):
    """Dense, on the way and at the fraction: one program for training each, and one for evaluation, with or without."""
    compiled = []
    for name in ("data_parallel", "map_batch"):
        real = getattr(parallel, name)

        def counted(function, real=real, name=name, **options):
            def traced(*arguments):
                compiled.append(name)
                return function(*arguments)

            return real(traced, **options)

        monkeypatch.setattr(parallel, name, counted)
    more = ("--epochs", "4", "--sparsity.schedule", schedule, "--sparsity.epochs", "2")
    assert main("", small_train["JOBS"], command(tmp_path / "out", *more)["args"][2:]) == 0
    counts = {"constant": (1, 1), "anneal": (3, 1), "from_epoch": (2, 2)}
    assert (compiled.count("data_parallel"), compiled.count("map_batch")) == counts[schedule]


@pytest.mark.parametrize("content", ["", "seed: [", "- 1", "\ufeff\x00"], ids=["empty", "cut short", "list", "binary"])
def test_a_damaged_config_is_refused_in_one_line(run, tmp_path, content):
    out = tmp_path / "out"
    assert run(out, "--epochs", "1").returncode == 0
    (out / "config.yaml").write_text(content)
    assert "config.yaml is damaged" in one_line(run(out, "--epochs", "1"))
    assert (out / "config.yaml").read_text() == content


@pytest.mark.slow
def test_a_setting_that_an_older_run_did_not_know_has_its_default(run, tmp_path):
    out = tmp_path / "out"
    assert run(out, "--epochs", "1").returncode == 0
    settings = yaml.safe_load((out / "config.yaml").read_text())
    del settings["label_smoothing"], settings["sparsity"], settings["data"]["skip_bad"]
    older = yaml.safe_dump(settings)
    (out / "config.yaml").write_text(older)
    done = run(out, "--epochs", "1")
    assert done.returncode == 0, done.stderr
    assert "label_smoothing" in (out / "config.yaml").read_text()
    (out / "config.yaml").write_text(older)
    message = one_line(run(out, "--epochs", "1", "--data.skip_bad", "--label_smoothing", "0.1"))
    assert "data.skip_bad, label_smoothing" in message or "label_smoothing, data.skip_bad" in message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((), ([0.4, 0.5, 0.6], [0.2, 0.2, 0.2])),
        (("--data.mean", "0.1", "0.2", "0.3"), ([0.1, 0.2, 0.3], [0.2, 0.2, 0.2])),
        (("--data.std", "0.3", "0.3", "0.3"), ([0.4, 0.5, 0.6], [0.3, 0.3, 0.3])),
    ],
    ids=["neither", "mean", "std"],
)
def test_images_are_normalized_as_the_weights_want_or_as_given(run, tmp_path, given, expected):
    more = ("--epochs", "1", "--data.mean", "0.4", "0.5", "0.6", "--data.std", "0.2", "0.2", "0.2")
    assert run(tmp_path / "first", *more).returncode == 0
    assert run(tmp_path / "second", "--epochs", "1", "--init_from", str(tmp_path / "first"), *given).returncode == 0
    preprocessing = load(None, weights=tmp_path / "second").preprocessing
    assert (list(preprocessing.mean), list(preprocessing.std)) == expected
    assert run(tmp_path / "plain", "--epochs", "1").returncode == 0
    plain = load(None, weights=tmp_path / "plain").preprocessing
    assert (plain.mean, plain.std) == (TORCHVISION.mean, TORCHVISION.std)


def test_evaluation_decodes_with_the_given_number_of_threads(run, tmp_path, monkeypatch):
    used = []
    real = loader.grain.ReadOptions
    monkeypatch.setattr(loader.grain, "ReadOptions", lambda **given: used.append(given["num_threads"]) or real(**given))
    assert run(tmp_path / "out", "--epochs", "1", "--data.threads", "3").returncode == 0
    assert set(used) == {3}


def test_help_imports_nothing_heavy():
    code = """
import runpy, sys
sys.argv = ["train.py", "classifier", "--help"]
try:
    runpy.run_path("train.py", run_name="__main__")
except SystemExit:
    pass
heavy = {"jax", "flax", "optax", "orbax", "numpy", "PIL", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--sparsity.schedule" in done.stdout


@pytest.mark.slow
def test_bfloat16_computes_in_half_precision_and_keeps_float32(run, tmp_path):
    with jax.numpy_dtype_promotion("standard"):  # Flax's normalization needs it
        done = run(tmp_path / "out", "--epochs", "1", "--compute_dtype", "bfloat16")
    assert done.returncode == 0, done.stderr
    assert run(tmp_path / "full", "--epochs", "1").returncode == 0
    half, full = (load_file(tmp_path / name / "last.safetensors") for name in ("out", "full"))
    for name, array in half.items():
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, full[name], rtol=0.05, atol=0.02, err_msg=name)
    assert any((array != full[name]).any() for name, array in half.items())
