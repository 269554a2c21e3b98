"""What `train.py classifier --dry_run` says: what would be trained, and the first batch as a picture."""

import math
from typing import TYPE_CHECKING

import jax
import numpy as np
from PIL import Image

from sparseshape_jax import output, parallel
from sparseshape_jax.training import schedules

if TYPE_CHECKING:
    from sparseshape_jax.training.job import Training

COLUMNS, ROWS = 8, 8
"""Images of the picture, at most."""


def describe(training: "Training") -> None:
    """Print the network, its compute, the data and the batch; write `first-batch.png` to the output folder."""
    config, data = training.config, training.data
    images, _ = next(data.batches())
    side, devices = training.preprocessing.crop, parallel.device_count()
    params = sum(array.size for array in jax.tree.leaves(training.stepper.start().weights[0]))
    top_k = schedules.placed(config, training.network, 1)
    classes = ", ".join(training.classes[:10]) + (", …" if len(training.classes) > 10 else "")
    for title, text in {
        "network": f"{config.model}, {params:,} parameters",
        "compute": f"{_flops(training) / 1e9:.3g} GFLOP forward per image of {side}×{side} pixels, without Top-K",
        "Top-K": ", ".join(f"{spec.fraction:.0%} after {name}" for name, spec in top_k.items()) or "none",
        "classes": f"{len(training.classes)}: {classes}",
        "training": f"{len(data.data):,} images, {training.steps:,} steps in {config.epochs:,} epochs",
        "evaluated on": ", ".join(f"{name} ({len(images_of):,})" for name, images_of in training.sets.items()),
        "batch": f"{config.batch_size} on {devices} devices, {config.batch_size // devices} each",
    }.items():
        print(f"{title + ':':<14}{text}")
    if not training.process:
        columns = min(COLUMNS, len(images))
        starts = range(0, len(images) - columns + 1, columns)[:ROWS]
        rows = [np.concatenate(images[start : start + columns], axis=1) for start in starts]
        path = output.prepare_folder(config.out) / "first-batch.png"
        with output.replacing(path) as temporary:
            Image.fromarray(np.concatenate(rows)).save(temporary)
        print(f"the first batch, as the network sees it but for normalisation, is {path}")


def _flops(training: "Training") -> float:
    """Of the forward pass for one image, without Top-K, as XLA counts them."""
    side = training.preprocessing.crop
    network = training.stepper.network(training.stepper.start().weights)
    image = jax.ShapeDtypeStruct((1, side, side, 3), np.float32)
    analysis = jax.jit(lambda x: network(x)).lower(image).cost_analysis() or {}
    return float(analysis.get("flops", math.nan))
