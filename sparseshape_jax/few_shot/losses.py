"""The adversarial losses of FastGAN: hinges whose margins are drawn at random, for each logit its own.

Source: Liu et al. (2021); the code of Li et al. (2023). The third term, the distance of reconstructions, is
`few_shot.lpips`.
"""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

Logits = Float[Array, "2n 5 5"]


def _margins(uniform: Logits) -> Logits:
    """From 0.8 to 1."""
    return 0.8 + 0.2 * uniform


def hinge_real(logits: Logits, uniform: Logits) -> Float[Array, ""]:
    """mean max(0, margin - logit), of real images; `uniform`, in [0, 1), decides the margins."""
    return jnp.mean(nnx.relu(_margins(uniform) - logits))


def hinge_fake(logits: Logits, uniform: Logits) -> Float[Array, ""]:
    """mean max(0, margin + logit), of generated images."""
    return jnp.mean(nnx.relu(_margins(uniform) + logits))


def generator_loss(logits: Logits) -> Float[Array, ""]:
    """The generator's loss: minus the mean logit of its images."""
    return -jnp.mean(logits)
