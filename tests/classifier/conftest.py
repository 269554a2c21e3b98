"""What the tests of training a classifier share: a network that compiles in a second."""

import runpy
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module", autouse=True)
def small_train() -> dict[str, Any]:
    """What small_train.py defines; running it registers its network, resnet_small."""
    return runpy.run_path(str(Path(__file__).with_name("small_train.py")))
