"""What the tests of weights share: the command line, in this process."""

from collections.abc import Callable

import pytest

from sparseshape_jax.cli import main
from sparseshape_jax.weights.__main__ import JOBS, PROGRAM


@pytest.fixture
def command() -> Callable[..., int]:
    """Runs `python -m sparseshape_jax.weights` with these arguments, and gives the exit status."""
    return lambda *arguments: main("", JOBS, [str(argument) for argument in arguments], program=PROGRAM)
