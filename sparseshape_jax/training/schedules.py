"""The learning rate as training goes on."""

from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from sparseshape_jax.training.config import ScheduleConfig


def learning_rate(schedule: ScheduleConfig, highest: float, epochs: int, steps_per_epoch: int) -> optax.Schedule:
    """The learning rate by step, counted from 0.

    After a linear warm-up whose first step already moves, "cosine" is torch's `CosineAnnealingLR` over the remaining
    epochs, "step" is its `MultiStepLR`, and "inverse" is pytorch-AdaIN's. With `per_epoch` the rate is constant within
    each epoch, as theirs is.
    """
    warmup = schedule.warmup_epochs

    def rate(step: Any) -> Float[Array, ""]:
        epoch = jnp.asarray(step, jnp.float32) / steps_per_epoch
        at = jnp.floor(epoch) if schedule.per_epoch else epoch
        factor: Any = jnp.ones(())
        if schedule.kind == "cosine":
            share = jnp.clip((at - warmup) / max(epochs - warmup, 1e-9), 0, 1)
            low = schedule.final_factor
            factor = low + (1 - low) * (1 + jnp.cos(jnp.pi * share)) / 2
        elif schedule.kind == "step":
            passed = sum(jnp.where(at >= milestone, 1.0, 0.0) for milestone in schedule.milestones)
            factor = schedule.gamma**passed
        elif schedule.kind == "inverse":
            factor = 1 / (1 + schedule.decay * at * steps_per_epoch)
        if warmup:
            factor = jnp.where(epoch < warmup, (epoch + 1 / steps_per_epoch) / warmup, factor)
        return highest * factor

    return rate
