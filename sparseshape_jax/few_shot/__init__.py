"""Training FastGAN on few photographs, with Top-K inside its generator; sampling from it.

>>> from sparseshape_jax.few_shot import open_weights, sample
>>> trained = open_weights("results/few-shot/tiny")  # or a .pth of the authors' code
>>> pictures = sample(trained, count=64, seed=0)  # (64, size, size, 3), 8 bits a channel
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparseshape_jax.few_shot.generator_files import TrainedGenerator, open_weights
    from sparseshape_jax.few_shot.sample import sample
    from sparseshape_jax.models.fastgan import Generator
    from sparseshape_jax.models.fastgan_discriminator import Discriminator

__all__ = ["Discriminator", "Generator", "TrainedGenerator", "open_weights", "sample"]

_ON_FIRST_USE = {
    "Discriminator": "models.fastgan_discriminator",
    "Generator": "models.fastgan",
    "TrainedGenerator": "few_shot.generator_files",
    "open_weights": "few_shot.generator_files",
    "sample": "few_shot.sample",
}


def __getattr__(name: str) -> Any:
    # Settings are part of this package, and import no JAX.
    if name in _ON_FIRST_USE:
        return getattr(import_module(f"sparseshape_jax.{_ON_FIRST_USE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
