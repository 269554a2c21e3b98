"""The golden values, as fixtures."""

import json

import pytest
from support.frequency_goldens import load


@pytest.fixture(scope="session")
def small(reference_data):
    """40 images of CIFAR-10, 32×32."""
    return load(reference_data, "small_images.npz")


@pytest.fixture(scope="session")
def small_facts(reference_data):
    return json.loads((reference_data / "goldens" / "frequency" / "small_images.json").read_text())


@pytest.fixture(scope="session")
def large(reference_data):
    """The reference's own scripts on ten images of ImageNet, 224×224."""
    return load(reference_data, "reference_run_224.npz")


@pytest.fixture(scope="session")
def synthetic(reference_data):
    return load(reference_data, "synthetic_sets.npz")
