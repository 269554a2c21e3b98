"""The optimizers as optax chains."""

from typing import Any

import jax
import optax

from sparseshape_jax.training.config import OptimizerConfig


def build_optimizer(config: OptimizerConfig, rate: optax.Schedule) -> optax.GradientTransformation:
    """The optax chain that corresponds to torch's `SGD` or `AdamW`, after gradient clipping if that is asked for."""

    def decayed(params: Any) -> Any:
        # Kernels have more than one axis; biases and batch normalization's scale and bias have one.
        return jax.tree.map(lambda array: config.decay_norm_and_bias or array.ndim > 1, params)

    clip = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm is not None else []
    if config.name == "sgd":
        return optax.chain(
            *clip,
            optax.add_decayed_weights(config.weight_decay, mask=decayed),
            optax.sgd(rate, momentum=config.momentum or None, nesterov=config.nesterov),
        )
    return optax.chain(
        *clip,
        optax.adamw(rate, b1=config.momentum, b2=config.beta2, weight_decay=config.weight_decay, mask=decayed),
    )
