"""The command `sparseshape`, which an installed package has: `sparseshape evaluate …` is `python evaluate.py …`."""

import sys
from collections.abc import Sequence

from sparseshape_jax import cli
from sparseshape_jax.jobs import evaluate, synthesize, train
from sparseshape_jax.weights import __main__ as weights

DESCRIPTION = """Shape bias from sparse activations: measure it, make images from it, train with it."""

SCRIPTS = {"synthesize": synthesize, "evaluate": evaluate, "train": train, "weights": weights}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job that the command line names, and return the exit status, as `cli.main` does."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in SCRIPTS:
        script = SCRIPTS[arguments[0]]
        return cli.main(script.__doc__ or "", script.JOBS, arguments[1:], program=f"sparseshape {arguments[0]}")
    jobs = {name: script.JOBS for name, script in SCRIPTS.items()}
    return cli.main(DESCRIPTION, jobs, arguments, program="sparseshape")
