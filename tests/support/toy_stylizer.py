"""A stylizer without weights, and synthesize.py with it: `python tests/support/toy_stylizer.py stylize …`."""

import hashlib
import sys

import jax.numpy as jnp

from sparseshape_jax.stylize import job
from sparseshape_jax.stylize.stylizer import Stylizer


class Toy(Stylizer):
    """Blends a photograph, blurred across, with the mean color of a style."""

    name = "adain"
    provenance = hashlib.sha256(b"toy").hexdigest()
    smallest = 9

    def encode(self, styles):
        return styles.mean(axis=(1, 2))

    def restyle(self, contents, codes, alpha):
        blurred = (contents + jnp.roll(contents, 1, axis=2)) / 2
        return alpha * codes[:, None, None] + (1 - alpha) * blurred


if __name__ == "__main__":
    from sparseshape_jax.cli import main
    from sparseshape_jax.jobs.synthesize import JOBS

    job.load_stylizer = lambda *_, **__: Toy()
    job.draw_sheet = lambda *_: []
    raise SystemExit(main("", JOBS, sys.argv[1:]))
