"""Runs of `local-global` and `relevance` that are killed, and networks of the thesis beside each other."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from support.commands import ROOT, files, rows, table
from support.networks import random_network
from support.packages import require_package
from support.small_network import SIDE, save_run

from sparseshape_jax.preprocessing import Preprocessing
from sparseshape_jax.weights.assign import save_safetensors

CLASSES = ("bird", "cat", "dog")
pytestmark = pytest.mark.slow


def paint(folder, side):
    rng = np.random.default_rng(0)
    for label in CLASSES:
        for number in range(2):
            path = folder / label / f"{label}_{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
            coarse.resize((side, side)).save(path)
    return folder


KILLED = """
import os, runpy, signal, sys
sys.path.insert(0, {tests!r})
from support.small_network import SMALL
from sparseshape_jax.evaluation import local_global
from sparseshape_jax.evaluation.classifiers import Classifier
from sparseshape_jax.models import register
register("small", SMALL)
local_global.SAVED_EVERY = 0
logits, seen = Classifier.logits, []
def dying(self, images):
    if len(seen) == {after}:
        os.kill(os.getpid(), signal.SIGKILL)
    seen.append(1)
    return logits(self, images)
Classifier.logits = dying
runpy.run_path({script!r}, run_name="__main__")
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL on this system")
@pytest.mark.parametrize(
    ("job", "after", "settings"),
    [
        ("local-global", 9, ("--blocks", 8, 4, "--patches", 5, "--passes", 2, "--variants", 2)),
        ("relevance", 3, ("--batch_size", 4)),
    ],
)
def test_a_killed_run_gives_the_same_files(evaluate, small_network, tmp_path, job, after, settings):
    require_package("opencv-python-headless")
    save_run(tmp_path / "run", CLASSES)
    paint(tmp_path / "photos", SIDE)
    common = (job, "--data", "photos", "--weights", "run", "--topk.after", "relu1", "--fractions", "[1.0,0.3]")
    arguments = [str(argument) for argument in (*common, *settings, "--out", "killed")]
    script = KILLED.format(tests=str(ROOT / "tests"), script=str(ROOT / "evaluate.py"), after=after)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, env=environment)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert files(tmp_path / "killed")
    assert not (tmp_path / "killed" / "tests.csv").exists()
    assert evaluate(*arguments).status == 0
    assert evaluate(*common, *settings, "--out", "whole").status == 0
    assert rows(tmp_path / "killed") == rows(tmp_path / "whole")
    written = files(tmp_path / "whole")
    assert files(tmp_path / "killed") == written
    for name in written:
        # The settings name the folder, and PDF files the time.
        if name not in ("config.yaml", "results.json") and not name.endswith(".pdf"):
            assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


@pytest.mark.parametrize("job", ["local-global", "relevance"])
def test_the_networks_of_the_thesis(evaluate, tmp_path, job):
    require_package("opencv-python-headless")
    side = 40
    paint(tmp_path / "photos", side)
    networks = ("resnet50", "resnext50", "se_resnet50", "se_resnext50")
    for network in networks:
        options = {"width": 1 / 16, "num_classes": 3}
        save_safetensors(
            random_network(network, **options),
            tmp_path / f"{network}.safetensors",
            {"options": json.dumps(options), "classes": json.dumps(CLASSES)},
            preprocessing=Preprocessing(resize=side, crop=side),
        )
    settings = {
        "local-global": ("--blocks", 20, 10, "--patches", 12, "--passes", 1),
        "relevance": ("--batch_size", 2, "--composite.name", "epsilon_plus"),
    }[job]
    folders = []
    for network in networks:
        out = f"{job}-{network}"
        beside = ("--beside", *folders) if folders else ()
        weights = ("--weights", f"{network}.safetensors", "--fractions", "[0.2]")
        found = evaluate(job, "--data", "photos", *weights, *settings, *beside, "--out", out)
        assert found.status == 0, found.err
        assert all(np.isfinite(row.get("logit", row.get("probability"))) for row in rows(tmp_path / out))
        folders.append(out)
    tested = table(tmp_path / out / "tests.csv")
    pairs = {(row["first"].removesuffix("_top20"), row["second"].removesuffix("_top20")) for row in tested}
    assert len(pairs) == 6
    assert {("se_resnext50", network) for network in networks[:3]} <= pairs
