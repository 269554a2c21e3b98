"""What `train.py few-shot --dry_run` prints: what would be trained; and the first batch, augmented."""

import math

import jax
import numpy as np

from sparseshape_jax import output, parallel
from sparseshape_jax.few_shot.pages import tiles
from sparseshape_jax.few_shot.sampling import pixels
from sparseshape_jax.few_shot.task import FewShotTask


def describe(task: FewShotTask) -> None:
    """Print the networks, their compute, the pictures; write `first-batch.png` to the output folder."""
    config, devices = task.config, parallel.device_count()
    gan = task.start().gan
    size, every = config.data.size, config.evaluation.every
    counts = {name: _parameters(getattr(gan, name).params) for name in ("generator", "discriminator")}
    for title, text in {
        "networks": ", ".join(f"{name} of {count:,} parameters" for name, count in counts.items()),
        "Top-K": ", ".join(f"{spec.fraction:.0%} after {name}" for name, spec in task.at.items()) or "none",
        "compute": f"{_flops(task) / 1e12:.3g} TFLOP per iteration, {size}×{size} pixels, without Top-K",
        "pictures": f"{len(task.source.stored):,} of {task.source.name}, squashed to {size}×{size}",
        "training": f"{config.iterations:,} iterations, measured every {every:,}",
        "measured by": f"{' and '.join(task.evaluator.names)}, protocol {config.evaluation.protocol},"
        f" {config.evaluation.samples:,} samples",
        "batch": f"{config.batch_size} on {devices} devices, {config.batch_size // devices} each",
    }.items():
        print(f"{title + ':':<14}{text}")
    if task.part[0] == 0:
        images, _ = jax.jit(task.augmented)(task.first_batch)
        path = output.prepare_folder(config.out) / "first-batch.png"
        output.write_image(path, tiles([pixels(image) for image in np.asarray(images)]))
        print(f"the first batch, as the discriminator sees it, is {path}")


def _parameters(params: object) -> int:
    return sum(array.size for array in jax.tree.leaves(params))


def _flops(task: FewShotTask) -> float:
    """FLOPs of one iteration, of this process's part of the batch, as XLA counts them."""
    state, batch = jax.tree.map(lambda array: np.asarray(array)[None], (task.start(), next(task.batches(0))))
    iteration = jax.jit(jax.vmap(task.iteration, in_axes=(0, 0, None), axis_name=parallel.AXIS))
    analysis = iteration.lower(state, batch, None).cost_analysis() or {}
    return float(analysis.get("flops", math.nan))
