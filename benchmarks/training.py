"""Training: a step of ResNet-18, and the loader that feeds it, against torch, in one run.

    python benchmarks/training.py

A step is what `train.py classifier` compiles: bytes to normalized images, forward and backward pass, batch statistics,
SGD with momentum and weight decay. In torch it is torchvision's network with the reference's Top-K after `layer2`, on
the same batches, eager. The loader decodes, crops at random to 224×224 pixels, flips and batches: 2 threads here, 2
worker processes in torch's DataLoader. The contestants take turns, in steps each a process of its own, as a user has
it: ours keeps the memory that it frees, as all jobs do. The table has the median of each.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contestants import medians_of, run
from jax_work import OPTIMIZER, training_step
from PIL import Image
from torch_reference import import_torchvision, torch_top_k, versions

from sparseshape_jax.data.config import AugmentConfig
from sparseshape_jax.data.open import open_labeled
from sparseshape_jax.data.train_batches import TrainBatches
from sparseshape_jax.preprocessing import Preprocessing

SIDES = (32, 64)
FRACTIONS = (1.0, 0.2)
BATCH = 32
CLASSES = 10
CROP = 224
WORKERS = 2
AHEAD, TURN = 4, 16
"""How many batches at the start of a loader's turn are not timed, and how many after them are."""

Batch = tuple[np.ndarray, np.ndarray]


def torch_step(batch: Batch, fraction: float) -> Callable[[], Any]:
    """A call that takes the next step with torch, from the same bytes."""
    network = import_torchvision().models.resnet18(num_classes=CLASSES).train()
    if fraction < 1:
        network.layer2.register_forward_hook(lambda *values: torch_top_k(values[-1], fraction))
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=OPTIMIZER.learning_rate,
        momentum=OPTIMIZER.momentum,
        weight_decay=OPTIMIZER.weight_decay,
    )
    pixels, labels = torch.from_numpy(batch[0]), torch.from_numpy(batch[1]).long()
    normalization = Preprocessing()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (normalization.mean, normalization.std))

    def call() -> float:
        images = (pixels.permute(0, 3, 1, 2).contiguous() / 255 - mean) / std
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return call


def steps(library: str, side: int, fractions: tuple[float, ...] = FRACTIONS) -> list[Callable[[], Any]]:
    """A call that trains on a batch of random images of `side` pixels, for each of `fractions`."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (BATCH, side, side, 3), np.uint8)
    batch = pixels, rng.integers(0, CLASSES, BATCH).astype(np.int32)
    if library == "torch":
        return [torch_step(batch, fraction) for fraction in fractions]
    return [training_step(batch, fraction, classes=CLASSES) for fraction in fractions]


def our_loader(folder: Path, train: str) -> Callable[[], Any]:
    """A call that starts to load with this package's loader."""
    data = open_labeled(str(folder), train)
    return TrainBatches(data, AugmentConfig(), image_size=CROP, batch_size=BATCH, seed=0, threads=WORKERS).batches


def torch_loader(folder: Path, train: str) -> Callable[[], Any]:
    """A call that starts to load, bytes too, with torch's DataLoader; its workers stay alive between calls."""
    torchvision = import_torchvision()
    transforms = torchvision.transforms
    varied = transforms.Compose(
        [transforms.RandomResizedCrop(CROP), transforms.RandomHorizontalFlip(), transforms.PILToTensor()]
    )
    data = torchvision.datasets.ImageFolder(str(folder / train), varied)
    # More than is drawn, so that no worker runs dry before the last batch.
    sampler = torch.utils.data.RandomSampler(data, num_samples=BATCH * (AHEAD + TURN + AHEAD))
    loader = torch.utils.data.DataLoader(
        data, BATCH, sampler=sampler, num_workers=WORKERS, prefetch_factor=AHEAD // WORKERS, persistent_workers=True
    )
    return lambda: iter(loader)


def loader_medians(folder: Path, train: str, rounds: int) -> dict[str, float]:
    """Seconds for `TURN` batches. The batches before them, made while the workers started up, are not timed."""
    loaders = {"torch": torch_loader(folder, train), "ours": our_loader(folder, train)}
    times: dict[str, list[float]] = {name: [] for name in loaders}
    for number in range(rounds + 1):
        for name, begin in loaders.items():
            batches = begin()
            for _ in range(AHEAD):
                next(batches)
            began = time.perf_counter()
            for _ in range(TURN):
                next(batches)
            if number:  # the first starts worker processes
                times[name].append(time.perf_counter() - began)
            if name == "ours":
                batches.close()
    return {name: statistics.median(values) for name, values in times.items()}


def make_images(folder: Path) -> None:
    """512 JPEG crops, 256×256 pixels, of a photograph, in four classes."""
    from skimage import data

    photograph = Image.fromarray(data.astronaut())
    rng = np.random.default_rng(0)
    for number in range(512):
        left, top = (int(rng.integers(extent - 256 + 1)) for extent in photograph.size)
        path = folder / "train" / f"class{number % 4}" / f"{number:03}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        photograph.crop((left, top, left + 256, top + 256)).save(path, quality=90)


def print_row(title: str, amount: int, seconds: dict[str, float]) -> None:
    theirs, ours = amount / seconds["torch"], amount / seconds["ours"]
    print(f"{title:>22} {theirs:8.2f} {ours:8.2f} {ours / theirs:6.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="turns that each takes (default: 9)")
    parser.add_argument("--images", type=Path, help="folder with <train>/<class>/… to load (default: one is made)")
    parser.add_argument("--train", default="train", help="its training split (default: train)")
    options = parser.parse_args()
    print("medians; ratio: ours / torch, above 1 means that ours is faster\n")

    # The loaders first: torch's worker processes must be forked before either library has threads,
    # which JAX has once it is asked for its devices.
    print(f"{f'loading, {WORKERS} workers':>22} {'torch':>8} {'ours':>8} {'ratio':>6}   images per second")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.images or Path(temporary)
        if options.images is None:
            make_images(folder)
        count = len(open_labeled(str(folder), options.train))
        print_row(f"{count:,} images", BATCH * TURN, loader_medians(folder, options.train, options.rounds))

    print(f"\n{versions()}")
    print(f"{f'ResNet-18, batch {BATCH}':>22} {'torch':>8} {'ours':>8} {'ratio':>6}   steps per second", flush=True)
    for side in SIDES:
        found = medians_of(__file__, options.rounds, side)
        for fraction, theirs, ours in zip(FRACTIONS, found["torch"], found["ours"], strict=True):
            kept = f"Top-K {fraction:.0%}" if fraction < 1 else "dense"
            print_row(f"{side}×{side}, {kept}", 1, {"torch": theirs, "ours": ours})


if __name__ == "__main__":
    run(main, steps)
