"""What `train.py classifier --dry_run` prints: what would be trained; and the first batch as an image."""

import math

import jax
import numpy as np

from sparseshape_jax import output, parallel
from sparseshape_jax.classifier.task import ClassifierTask

COLUMNS, ROWS = 8, 8
"""How many images the sheet has at most."""


def describe(task: ClassifierTask) -> None:
    """Print the network, its compute, the data and the batch; write `first-batch.png` to the output folder."""
    config, data = task.config, task.data
    images, _ = next(data.batches())
    side, devices = task.preprocessing.crop, parallel.device_count()
    params = sum(array.size for array in jax.tree.leaves(task.start().weights[0]))
    top_k = task.placement(1)
    classes = ", ".join(task.classes[:10]) + (", …" if len(task.classes) > 10 else "")
    steps = config.epochs * task.steps_per_epoch
    for title, text in {
        "network": f"{config.model}, {params:,} parameters",
        "compute": f"{_flops(task) / 1e9:.3g} GFLOP forward per image of {side}×{side} pixels, without Top-K",
        "Top-K": ", ".join(f"{spec.fraction:.0%} after {name}" for name, spec in top_k.items()) or "none",
        "classes": f"{len(task.classes)}: {classes}",
        "training": f"{len(data.data):,} images, {steps:,} steps in {config.epochs:,} epochs",
        "evaluated on": ", ".join(f"{name} ({len(images_of):,})" for name, images_of in task.sets.items()),
        "batch": f"{config.batch_size} on {devices} devices, {config.batch_size // devices} each",
    }.items():
        print(f"{title + ':':<14}{text}")
    if task.part[0] == 0:
        columns = min(COLUMNS, len(images))
        starts = range(0, len(images) - columns + 1, columns)[:ROWS]
        rows = [np.concatenate(images[start : start + columns], axis=1) for start in starts]
        path = output.prepare_folder(config.out) / "first-batch.png"
        output.write_image(path, np.concatenate(rows) / 255)
        print(f"the first batch, as the network sees it except for normalization, is {path}")


def _flops(task: ClassifierTask) -> float:
    """FLOPs of the forward pass for one image, without Top-K, as XLA counts them."""
    side = task.preprocessing.crop
    network = task.stepper.network(task.start().weights)
    image = jax.ShapeDtypeStruct((1, side, side, 3), np.float32)
    analysis = jax.jit(lambda x: network(x)).lower(image).cost_analysis() or {}
    return float(analysis.get("flops", math.nan))
