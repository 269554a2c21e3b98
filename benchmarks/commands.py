"""Whole commands: how much sooner a second run begins, and how much memory a run takes, next to torch.

    python benchmarks/commands.py --stimuli path/to/cue-conflict

First, three jobs with as little work as they can be given, so that nearly all of the time is starting and compiling.
Each runs twice, with a cache of compiled programs that is empty at first; importing its packages alone is timed, too,
which no cache shortens. Then the peak of the resident memory of `evaluate.py shape-bias` with VGG16, dense and with
Top-K 20 %, on 32 of the stimuli, and of torch doing the same forward passes in batches of the same size, both with the
same random weights. Nothing is left behind.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from networks import NETWORKS
from PIL import Image
from torch_reference import import_torchvision, torch_logits, versions

from sparseshape_jax.jobs.console import SCRIPTS

ROOT = Path(__file__).parents[1]
FRACTIONS = (1.0, 0.2)
BATCH = 32
STIMULI = 32


def run(command: Sequence[str], environment: Mapping[str, str]) -> tuple[float, float]:
    """The seconds that a command takes, and its peak of resident memory in GiB."""
    began = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            sys.exit(said.read().decode())
    return time.perf_counter() - began, used.ru_maxrss / 2**20


def write_noise(path: Path, side: int) -> None:
    """A picture of noise, the same for the same name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(list(path.name.encode()))
    Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)).save(path)


def make_inputs(folder: Path) -> None:
    """Four pictures named as cue conflicts, and four in two classes to train on and to test."""
    for shape, texture in (("cat", "dog"), ("dog", "cat"), ("car", "cat"), ("cat", "car")):
        write_noise(folder / "stimuli" / shape / f"{shape}1-{texture}1.png", 224)
    for split in ("train", "val"):
        for number in range(4):
            write_noise(folder / "images" / split / f"class{number % 2}" / f"{number}.png", 32)


def starts(folder: Path) -> None:
    """Print how long each job takes the first and the second time."""
    make_inputs(folder)
    jobs = {
        "synthesize texture": ["--images", str(folder / "stimuli/cat/cat1-dog1.png"), "--size", "128", "--steps", "1"],
        "evaluate shape-bias": ["--stimuli", str(folder / "stimuli")],
        "train classifier": [
            *("--data.path", str(folder / "images"), "--data.val", "val", "--data.image_size", "32"),
            *("--model", "resnet18_cifar", "--epochs", "1", "--batch_size", "4"),
        ],
    }
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache")}
    print("whole commands, in seconds; a ratio below 1: the second run is shorter\n")
    print(f"{'job':>22} {'first':>8} {'second':>8} {'ratio':>6} {'imports':>8}")
    for job, settings in jobs.items():
        script, name = job.split()
        times = []
        for number in range(2):
            out = ["--out", str(folder / f"{name}{number}")]
            times.append(run([sys.executable, f"{script}.py", name, *settings, *out], environment)[0])
        module = SCRIPTS[script].JOBS[name].function.partition(":")[0]
        imports = run([sys.executable, "-c", f"import {module}"], environment)[0]
        print(f"{job:>22} {times[0]:8.1f} {times[1]:8.1f} {times[1] / times[0]:6.2f} {imports:8.1f}", flush=True)


def torch_forward(stimuli: Path, weights: Path) -> None:
    """What the torch process does: VGG16 with Top-K at its five places, at each fraction, batch by batch."""
    network = import_torchvision().models.vgg16()
    network.load_state_dict(torch.load(weights, weights_only=True))
    network.eval()
    files = sorted(stimuli.glob("*/*.png"))
    with torch.inference_mode():
        for fraction in FRACTIONS:
            for start in range(0, len(files), BATCH):
                images = [np.asarray(Image.open(file).convert("RGB")) for file in files[start : start + BATCH]]
                x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255
                torch_logits(network, x, fraction, NETWORKS["vgg16"])


def memory(stimuli: Path, folder: Path) -> None:
    """Print the peaks of both."""
    some = folder / "some"
    files = sorted(stimuli.glob("*/*.png"))
    for file in files[:: max(1, len(files) // STIMULI)][:STIMULI]:
        (some / file.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, some / file.parent.name)
    torch.manual_seed(0)
    weights = folder / "vgg16.pth"
    torch.save(import_torchvision().models.vgg16().state_dict(), weights)
    fractions = ["--fractions", *map(str, FRACTIONS), "--batch_size", str(BATCH)]
    ours = ["evaluate.py", "shape-bias", "--model", "vgg16", "--weights", str(weights), *fractions]
    commands = {
        "ours": [*ours, "--stimuli", str(some), "--out", str(folder / "shape_bias")],
        "torch": [__file__, "--stimuli", str(some), "--torch", str(weights)],
    }
    peaks = {name: run([sys.executable, *command], os.environ)[1] for name, command in commands.items()}
    print(
        f"\npeak memory of shape-bias with VGG16, batches of {BATCH}: torch {peaks['torch']:.2f} GiB,"
        f" ours {peaks['ours']:.2f} GiB, ratio {peaks['ours'] / peaks['torch']:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stimuli", type=Path, required=True, help="folder of cue-conflict stimuli")
    parser.add_argument("--torch", type=Path, metavar="WEIGHTS", help="do torch's part only (what the table runs)")
    options = parser.parse_args()
    if options.torch:
        torch_forward(options.stimuli, options.torch)
        return
    print(versions())
    with tempfile.TemporaryDirectory() as folder:
        starts(Path(folder))
        memory(options.stimuli.resolve(), Path(folder))


if __name__ == "__main__":
    main()
