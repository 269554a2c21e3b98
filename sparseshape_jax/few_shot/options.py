"""The parts of DiffAugment. Settings are made of this module, so it imports no JAX."""

from collections.abc import Collection
from typing import Literal, get_args

from sparseshape_jax.errors import InputError

AugmentPolicy = Literal["color", "translation", "cutout"]


def check_policy(policy: Collection[str]) -> None:
    """Raise `InputError` unless `policy` names parts of DiffAugment, each at most once."""
    allowed = get_args(AugmentPolicy)
    if len(set(policy)) < len(policy) or not set(policy) <= set(allowed):
        raise InputError(f"the augmentation is {', '.join(policy)}; it can be any of {', '.join(allowed)}, each once")
