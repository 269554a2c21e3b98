"""The learning rate as training goes on."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from sparseshape_jax.training.config import ScheduleConfig


def learning_rate(schedule: ScheduleConfig, highest: float, epochs: int, steps_per_epoch: int) -> optax.Schedule:
    """The learning rate by step, counted from 0.

    After a linear warm-up whose first step already moves, "cosine" is torch's `CosineAnnealingLR` over the remaining
    epochs, "step" is its `MultiStepLR`, and "inverse" is pytorch-AdaIN's. With `per_epoch` the rate is constant within
    each epoch, as theirs is. For "plateau" it is the rate before any reduction, which `Plateau` keeps.
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


class Plateau(NamedTuple):
    """How far the schedule "plateau" has reduced the learning rate: a part of the training state.

    It is torch's `ReduceLROnPlateau` (mode min, relative threshold, no cooldown), once per epoch. Losses are compared
    in float32, so that a resumed run compares the same numbers.
    """

    scale: Float[Array, ""] | Float[np.ndarray, ""]
    """What the learning rate is multiplied by."""
    lowest: Float[Array, ""] | Float[np.ndarray, ""]
    """The lowest loss so far that counted as an improvement."""
    waited: Int[Array, ""] | Int[np.ndarray, ""]
    """Epochs in a row without an improvement."""

    @classmethod
    def start(cls) -> "Plateau":
        """Before the first epoch."""
        return cls(jnp.ones((), jnp.float32), jnp.full((), jnp.inf, jnp.float32), jnp.zeros((), jnp.int32))

    def after(self, loss: float, schedule: ScheduleConfig) -> "Plateau":
        """After an epoch with this loss on the validation images; the fields of both are NumPy's.

        A loss that is not a number is no improvement.
        """
        scale, lowest, waited = np.float32(self.scale), np.float32(self.lowest), np.int32(self.waited)
        if np.float32(loss) < lowest * np.float32(1 - schedule.threshold):
            lowest, waited = np.float32(loss), np.int32(0)
        elif waited < schedule.patience:
            waited = np.int32(waited + 1)
        else:
            scale, waited = np.float32(scale * np.float32(schedule.factor)), np.int32(0)
        return Plateau(np.asarray(scale), np.asarray(lowest), np.asarray(waited))
