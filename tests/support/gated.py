"""An architecture that the package does not have: a skip gate, two outputs, and a start from images or from noise.

Also the command `sparseshape` with it: `python tests/support/gated.py train classifier …`, `… evaluate accuracy …`.
"""

import jax.numpy as jnp
from flax import nnx

from sparseshape_jax.errors import InputError
from sparseshape_jax.models import Architecture, Network, register
from sparseshape_jax.models.layers import BatchNorm, GlobalAverage

NOISE = 6


class Gated(Network):
    """Activations: `feat_4`, `feat_8`, `gated`, `image` (an output, in [-1, 1]) and `logits` (another)."""

    def __init__(self, *, start="images", num_classes=10, trunk_only=False, axis_name=None, dtype=None, rngs):
        self.architecture = "gated"
        self.start = start
        if start == "noise":
            self.init = nnx.Linear(NOISE, 4 * 4 * 8, dtype=dtype, rngs=rngs)
        else:
            self.init = nnx.Conv(3, 8, (3, 3), strides=2, dtype=dtype, rngs=rngs)
        self.bn = BatchNorm(8, axis_name=axis_name, dtype=dtype, rngs=rngs)
        self.up = nnx.Conv(8, 8, (3, 3), dtype=dtype, rngs=rngs)
        self.gate = nnx.Linear(8, 8, dtype=dtype, rngs=rngs)
        self.to_image = nnx.Conv(8, 3, (3, 3), dtype=dtype, rngs=rngs)
        self.average = GlobalAverage()
        self.fc = nnx.Linear(8, num_classes, dtype=dtype, rngs=rngs)

    def steps(self):
        feat_4 = yield "feat_4", self.begin
        yield "feat_8", lambda x: nnx.relu(self.bn(self.up(x)))
        gated = yield "gated", lambda x: x * nnx.sigmoid(self.gate(self.average(feat_4)))[:, None, None]
        yield "image", lambda x: jnp.tanh(self.to_image(x))
        yield "logits", lambda _: self.fc(self.average(gated))

    def begin(self, x):
        if self.start == "noise":
            return nnx.relu(self.init(x).reshape(len(x), 4, 4, 8))
        return nnx.relu(self.init(x))

    def check_input(self, inputs):
        if self.start == "noise":
            if inputs.ndim != 2 or inputs.shape[1] != NOISE:
                raise InputError(f"the noise has shape {inputs.shape}; it must be (N, {NOISE})")
        else:
            super().check_input(inputs)


register(
    "gated",
    Architecture(
        Gated,
        options=frozenset({"start", "num_classes", "axis_name"}),
        head=("fc",),
        top_k_after=("feat_4",),
        place_name="feat_{}",
        match=("feat_4", "feat_8"),
    ),
)

if __name__ == "__main__":
    from sparseshape_jax.jobs.console import main

    raise SystemExit(main())
