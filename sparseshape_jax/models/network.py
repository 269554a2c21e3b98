"""The one idea: a network is a sequence of named activations.

Everything this project does is done *at a name*: Top-K is applied at names, textures are matched at names, a forward
pass stops at a name. An architecture is a subclass that lists its steps; nothing else is needed for all of that.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import ClassVar

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from sparseshape_jax.errors import InputError

Operator = Callable[[Array], Array]
"""Anything that maps an activation to one of the same shape: a `TopK`, or a function of your own."""


class Network(nnx.Module):
    """A sequence of named activations, from normalised images (N, H, W, 3) to logits (N, classes).

    Subclasses set `architecture`, `head` (the names of the layers that a trunk lacks) and define `steps`.
    Train and eval mode are Flax's: `network.train()`, `network.eval()`.
    """

    architecture: str
    head: ClassVar[tuple[str, ...]] = ()

    def steps(self) -> Iterator[tuple[str, Operator]]:
        """The network as (name, function) pairs, in order; the function maps the activation before to the one named."""
        raise NotImplementedError

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all activations, in order."""
        return tuple(name for name, _ in self.steps())

    def __call__(self, images: Float[Array, "n h w 3"], *, at: Mapping[str, Operator] | None = None) -> Array:
        """The last activation: (N, classes) logits, or the (N, h, w, c) features of a trunk.

        Args:
            images: normalised as the weights want them (see `Preprocessing`).
            at: what to apply at which activation, for example `{"pool1": TopK(0.2)}`. The layers after see its result.

        Raises:
            InputError: a name that the network does not have, or images that are too small for it or no such array.
        """
        last = self.names[-1]
        return self.activations(images, (last,), at=at)[last]

    def activations(
        self, images: Float[Array, "n h w 3"], names: Iterable[str], *, at: Mapping[str, Operator] | None = None
    ) -> dict[str, Array]:
        """The activations called `names`, after what `at` applies there. Nothing beyond the last is computed."""
        at = at or {}
        wanted = tuple(names)
        self.check_names((*wanted, *at))
        if not wanted:
            return {}
        last = max(wanted, key=self.names.index)
        if images.ndim != 4 or images.shape[-1] != 3:
            raise InputError(f"images have shape {tuple(images.shape)}; {self.architecture} takes (N, H, W, 3)")
        collected = {}
        x = images
        for name, function in self.steps():
            x = function(x)
            if 0 in x.shape[1:]:
                raise InputError(
                    f"images of {images.shape[1]}×{images.shape[2]} pixels are too small for {self.architecture}:"
                    f" nothing is left at {name}; give larger ones"
                )
            if name in at:
                x = at[name](x)
            if name in wanted:
                collected[name] = x
            if name == last:
                break
        return {name: collected[name] for name in wanted}

    def check_names(self, names: Iterable[str]) -> None:
        """Raise `InputError` listing the allowed names if any of `names` is not one of this network's activations."""
        allowed = self.names
        if unknown := [name for name in names if name not in allowed]:
            raise InputError(
                f"{self.architecture} has no activation called {', '.join(map(repr, unknown))};"
                f" it has {', '.join(allowed)}"
            )


def flatten(x: Float[Array, "n h w c"]) -> Float[Array, "n hwc"]:
    """Flatten in NHWC order; imported linear layers are permuted from torch's CHW once, when they are read."""
    flat = x.reshape(len(x), math.prod(x.shape[1:]))
    # Rounding to its own precision changes nothing, but keeps XLA's CPU compiler from fusing the last pool with all of
    # the classifier, which then packs its matrices anew at every call: VGG16, batch of 8, 1.75 s instead of 1.03 s.
    precision = jnp.finfo(flat.dtype)
    return lax.reduce_precision(flat, precision.nexp, precision.nmant)
