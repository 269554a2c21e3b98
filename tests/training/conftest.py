"""What the tests of training share: a network that compiles in a second, and compiled programs."""

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sparseshape_jax import models, placement
from sparseshape_jax.weights import keys


@pytest.fixture(autouse=True)
def _compiled_programs(compiled_programs):
    """Every run compiles its programs anew; most of these tests ask for the same few."""


@pytest.fixture(scope="module", autouse=True)
def small_train() -> Iterator[dict[str, Any]]:
    """What small_train.py defines, its network resnet_small among the others until the module's tests are done."""
    tables = keys.TABLES
    yield runpy.run_path(str(Path(__file__).with_name("small_train.py")))
    keys.TABLES = tables
    del models.ARCHITECTURES["resnet_small"]
    del placement.PRESETS["resnet_small"]  # type: ignore[attr-defined]
