"""The one idea: a network is a sequence of named activations.

Everything in this project happens *at a name*: Top-K is applied at names, textures are matched at names, a forward
pass stops at a name. For all of that, an architecture only has to list its steps.
"""

import math
from collections.abc import Callable, Generator, Iterable, Mapping

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from sparseshape_jax.errors import InputError

Operator = Callable[[Array], Array]
"""A function from an activation to one of the same shape: a `TopK`, or one of your own."""

Step = tuple[str, Operator]
"""An activation's name, and the function from the activation before it to the one named."""

Steps = Generator[Step, Array, None]
"""What `Network.steps` returns: yields steps, and receives each activation, after the operator at its name."""


class Network(nnx.Module):
    """A sequence of named activations, by default from normalized images (N, H, W, 3) to logits (N, classes).

    Subclasses set `architecture` and define `steps`. `registry.Architecture` has everything else that jobs must know.
    Train and eval mode are Flax's: `network.train()`, `network.eval()`.
    """

    architecture: str

    def steps(self) -> Steps:
        """The network as (name, function) pairs, in order; the function maps the activation before to the one named.

        A step evaluates to what came out of it, after the operator at its name, for a later one to use:

            feat_4 = yield "feat_4", self.init
            feat_8 = yield "feat_8", self.up_8
            yield "feat_64", lambda x: self.gate(feat_4, self.up_64(x))
            yield "image_64", lambda x: self.to_64(x)        # an output on the way
            yield "image_128", lambda _: self.to_128(feat_8)  # another that does not start from the one before

        Use received values only inside functions: to list the names, the generator runs without any values.
        """
        raise NotImplementedError

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all activations, in order."""
        return tuple(name for name, _ in self.steps())

    def __call__(self, inputs: Float[Array, "n ..."], *, at: Mapping[str, Operator] | None = None) -> Array:
        """The last activation: (N, classes) logits, or the (N, h, w, c) features of a trunk.

        Args:
            inputs: images (N, H, W, 3), normalized as the weights want them (see `Preprocessing`), unless the
                architecture starts from something else.
            at: what to apply at which activation, for example `{"pool1": TopK(0.2)}`. Later layers see its result.

        Raises:
            InputError: a name that the network does not have, or images that are too small or not an (N, H, W, 3)
                array.
        """
        last = self.names[-1]
        return self.activations(inputs, (last,), at=at)[last]

    def activations(
        self, inputs: Float[Array, "n ..."], names: Iterable[str], *, at: Mapping[str, Operator] | None = None
    ) -> dict[str, Array]:
        """The activations called `names`, after what `at` applies there. Nothing beyond the last is computed."""
        at = at or {}
        wanted = tuple(names)
        self.check_names((*wanted, *at))
        if not wanted:
            return {}
        last = max(wanted, key=self.names.index)
        self.check_input(inputs)
        collected = {}
        x = inputs
        steps = self.steps()
        name, function = next(steps)
        while True:
            x = function(x)
            if 0 in x.shape[1:]:
                raise InputError(
                    f"images of {inputs.shape[1]}×{inputs.shape[2]} pixels are too small for {self.architecture}:"
                    f" nothing is left at {name}; give larger ones"
                )
            if name in at:
                x = at[name](x)
            if name in wanted:
                collected[name] = x
            if name == last:
                return {name: collected[name] for name in wanted}
            name, function = steps.send(x)

    def check_input(self, inputs: Array | np.ndarray) -> None:
        """Raise `InputError` unless `inputs` has the shape that the network starts from: images (N, H, W, 3)."""
        if inputs.ndim != 4 or inputs.shape[-1] != 3:
            raise InputError(f"images have shape {tuple(inputs.shape)}; {self.architecture} takes (N, H, W, 3)")

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
