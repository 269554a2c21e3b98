"""What the tests of training a classifier share: a network that compiles in a second, and compiled programs."""

import runpy
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _compiled_programs(compiled_programs):
    """Every run compiles its programs anew; most of these tests ask for the same few."""


@pytest.fixture(scope="module", autouse=True)
def small_train() -> dict[str, Any]:
    """What small_train.py defines; running it registers its network, resnet_small."""
    return runpy.run_path(str(Path(__file__).with_name("small_train.py")))
