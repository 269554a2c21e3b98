"""What changes as training goes on: the learning rate, and how sparse the activations are."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from sparseshape_jax.models import Network
from sparseshape_jax.placement import TopK, place
from sparseshape_jax.training.config import Classifier, Optimiser, Schedule, Sparsity


def learning_rate(schedule: Schedule, highest: float, epochs: int, steps_per_epoch: int) -> optax.Schedule:
    """The learning rate by step, counted from 0.

    After a linear warm-up whose first step already moves, "cosine" is torch's `CosineAnnealingLR` over the epochs that
    remain, "step" its `MultiStepLR`; with `per_epoch` it holds still within each epoch, as theirs do.
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
        if warmup:
            factor = jnp.where(epoch < warmup, (epoch + 1 / steps_per_epoch) / warmup, factor)
        return highest * factor

    return rate


def transformation(optimiser: Optimiser, rate: optax.Schedule) -> optax.GradientTransformation:
    """The optax chain that torch's `SGD` or `AdamW` corresponds to, with clipping before it."""

    def decayed(params: Any) -> Any:
        import jax

        # Kernels have more than one axis; biases and batch normalisation's scale and bias have one.
        return jax.tree.map(lambda array: optimiser.decay_norm_and_bias or array.ndim > 1, params)

    clip = [optax.clip_by_global_norm(optimiser.clip_norm)] if optimiser.clip_norm is not None else []
    if optimiser.name == "sgd":
        return optax.chain(
            *clip,
            optax.add_decayed_weights(optimiser.weight_decay, mask=decayed),
            optax.sgd(rate, momentum=optimiser.momentum or None, nesterov=optimiser.nesterov),
        )
    return optax.chain(
        *clip,
        optax.adamw(rate, b1=optimiser.momentum, b2=optimiser.beta2, weight_decay=optimiser.weight_decay, mask=decayed),
    )


def progress(sparsity: Sparsity, epoch: float) -> float:
    """How far Top-K has come at a (fractional) epoch: 0 is dense, 1 the fraction asked for."""
    if sparsity.schedule == "constant":
        return 1.0
    if sparsity.schedule == "from_epoch":
        return float(epoch >= sparsity.epochs)
    return min(1.0, epoch / sparsity.epochs)


def placed(config: Classifier, network: Network, come: float, *, evaluating: bool = False) -> dict[str, Any]:
    """What `network(images, at=…)` takes when Top-K has come so far: 0, 1, or in between.

    In between, the operators need a traced `progress`, and keep 1 - progress + fraction · progress: one program serves
    the whole way. At both ends the fraction is a constant, the fast case.
    """
    if evaluating and config.sparsity.eval_fraction is not None:
        return dict(place(config.at_fraction(config.sparsity.eval_fraction), network))
    if come == 0:
        return {}
    at = place(config.top_ks, network)
    return dict(at) if come == 1 else {name: Annealed(spec) for name, spec in at.items()}


class Annealed:
    """A Top-K on its way from dense to its fraction."""

    def __init__(self, spec: TopK) -> None:
        self.spec = spec

    def at(self, progress: Float[Array, ""]) -> Callable[[Array], Array]:
        """The operator at a traced `progress` from 0 (dense) to 1 (its fraction)."""
        return lambda x: self.spec(x, 1 - progress + self.spec.fraction * progress)
