"""Dominant frequency maps next to the reference's way in PyTorch, in one run.

    python benchmarks/frequency.py

A ResNet-18 for CIFAR of an eighth of the width, random weights, random 32×32 images of ten classes. The reference
filters a batch of 100 images channel by channel for every class and every group of frequencies, and runs the network
on all of them; batches without the class are skipped. So its cost depends on the order of the images: sorted by class,
or shuffled. Ours does not. Both do the same number of groups, and torch's time is scaled to all of them, as is ours.
Ours must compile no more than two programs.
"""

import argparse
import statistics
import time
from itertools import pairwise

import jax
import numpy as np
import torch
from flax import nnx
from torch_reference import versions

from sparseshape_jax import frequency
from sparseshape_jax.frequency.filtered import Filtered
from sparseshape_jax.frequency.losses import show
from sparseshape_jax.models import build

CLASSES, BATCH, SIZE, WIDTH = 10, 100, 32, 0.125


class Block(torch.nn.Module):
    """A basic block of ResNet-18."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(outputs)
        self.conv2 = torch.nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = torch.nn.BatchNorm2d(outputs)
        self.shortcut = torch.nn.Sequential()
        if stride > 1 or inputs != outputs:
            conv = torch.nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = torch.nn.Sequential(conv, torch.nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


def torch_network() -> torch.nn.Module:
    widths = [int(width * WIDTH) for width in (64, 64, 128, 256, 512)]
    layers: list[torch.nn.Module] = [
        torch.nn.Conv2d(3, widths[0], 3, 1, 1, bias=False),
        torch.nn.BatchNorm2d(widths[0]),
        torch.nn.ReLU(),
    ]
    for stage, (inputs, outputs) in enumerate(pairwise(widths)):
        layers += [Block(inputs, outputs, 1 if stage == 0 else 2), Block(outputs, outputs, 1)]
    layers += [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(widths[-1], CLASSES)]
    return torch.nn.Sequential(*layers).eval()


def reference_way(network: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, masks: torch.Tensor) -> int:
    """The reference's loops over classes, masks and batches; returns how many images went through the network."""
    criterion = torch.nn.CrossEntropyLoss()
    shown = 0
    with torch.inference_mode():
        for label in range(CLASSES):
            for mask in masks:
                total = 0.0
                for start in range(0, len(images), BATCH):
                    batch, own = images[start : start + BATCH], labels[start : start + BATCH]
                    if not (own == label).any():
                        continue
                    filtered = torch.empty_like(batch)
                    for index in range(len(batch)):
                        for channel in range(3):
                            spectrum = torch.fft.fftshift(torch.fft.fft2(batch[index, channel]))
                            filtered[index, channel] = torch.fft.ifft2(torch.fft.ifftshift(spectrum * mask)).real
                    chosen = (own == label)[:, None]
                    total += float(criterion(network(filtered) * chosen, own * chosen[:, 0]))
                    shown += len(batch)
    return shown


def jax_network() -> nnx.Module:
    options = {"width": WIDTH, "num_classes": CLASSES, "image_size": SIZE}
    network = nnx.jit(lambda: build("resnet18_cifar", rngs=nnx.Rngs(0), **options))()
    network.eval()
    return network


def timed(call, clock) -> float:
    began = clock()
    call()
    return clock() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000, help="images, a multiple of 1,000 (default: 1000)")
    parser.add_argument("--masks", type=int, default=10, help="groups that are timed (default: 10)")
    parser.add_argument("--rounds", type=int, default=3, help="turns that each takes (default: 3)")
    parser.add_argument("--cpu", action="store_true", help="CPU seconds of one core, for a machine that others use too")
    options = parser.parse_args()
    clock = time.process_time if options.cpu else time.perf_counter
    if options.cpu:
        torch.set_num_threads(1)  # threads that wait for each other take the time of a core
    print(f"{'CPU ' if options.cpu else ''}seconds; {versions()}")
    print(f"ResNet-18, width {WIDTH}, {options.images} images of {SIZE}×{SIZE}, patch 1")
    rng = np.random.default_rng(0)
    images = rng.normal(size=(options.images, SIZE, SIZE, 3)).astype(np.float32)
    labels = np.repeat(np.arange(CLASSES), options.images // CLASSES).astype(np.int32)
    groups = frequency.groups(SIZE, 1)
    chosen = np.arange(0, groups.count, groups.count // options.masks)[: options.masks]

    network, theirs = jax_network(), torch_network()
    filtered = Filtered(network, groups)
    kept = round(0.3 * len(chosen))
    everything, screened = [chosen] * len(images), [chosen[:kept]] * len(images)
    x = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    masks = torch.from_numpy(np.stack([groups.removal(group) for group in chosen])).float()
    order = torch.from_numpy(rng.permutation(len(images)))
    y = torch.from_numpy(labels).long()

    def ours(lists):
        return show(filtered, lambda start, stop: images[start:stop], labels, lists, result="loss")

    contestants = {
        "ours": lambda: ours(everything),
        "ours, --screen .3": lambda: ours(screened),
        "torch, sorted": lambda: reference_way(theirs, x, y, masks),
        "torch, shuffled": lambda: reference_way(theirs, x[order], y[order], masks),
    }
    with _counted() as compiled:
        ours(everything)
    theirs(x[:BATCH])
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(options.rounds):
        for name, call in contestants.items():
            # The shuffled order takes ten times as long and is the same loop.
            if name != "torch, shuffled" or not seconds[name]:
                seconds[name].append(timed(call, clock))
    found = {name: statistics.median(times) for name, times in seconds.items()}
    for name, time_taken in found.items():
        whole = time_taken * groups.count / len(chosen)
        print(f"{name:<18} {time_taken:7.2f} s for {len(chosen)} groups; all {groups.count}: {whole:7.0f} s")
    print(f"torch / ours, sorted:              {found['torch, sorted'] / found['ours']:6.2f}")
    print(f"torch / ours, shuffled:            {found['torch, shuffled'] / found['ours']:6.2f}")
    print(f"torch / ours with --screen .3:     {found['torch, sorted'] / found['ours, --screen .3']:6.2f}")
    print(f"filter's share of a pass:          {_share_of_filter(network, groups, images, labels, clock):6.1%}")
    print(f"compiled programs:                 {len(compiled):6}")


def _share_of_filter(network, groups, images, labels, clock) -> float:
    """How much of a pass is not the network's: the same pairs, with a network that costs nothing, against the whole."""
    lists = [np.arange(64)] * 100
    both = []
    for function in (lambda x: x.reshape(len(x), 12, -1).sum(axis=-1), network):
        filtered = Filtered(function, groups)
        times = [
            timed(lambda: show(filtered, lambda a, b: images[a:b], labels, lists, result="loss"), clock)  # noqa: B023
            for _ in range(4)
        ]
        both.append(min(times[1:]))
    return both[0] / both[1]


class _counted:
    """Names of the programs that JAX compiles inside the block."""

    def __enter__(self) -> list[str]:
        self.names: list[str] = []
        jax.monitoring.register_event_duration_secs_listener(self._heard)
        return self.names

    def __exit__(self, *_: object) -> None:
        jax.monitoring.clear_event_listeners()

    def _heard(self, event: str, *_: object, **__: object) -> None:
        if event.endswith("backend_compile_duration"):
            self.names.append(event)


if __name__ == "__main__":
    main()
