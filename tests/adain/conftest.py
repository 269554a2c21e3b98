"""What the tests of training a decoder share: a small VGG, and pictures."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.networks import random_network

from sparseshape_jax.preprocessing import TORCHVISION
from sparseshape_jax.weights.assign import save_safetensors


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VGG11 with random weights."""
    path = tmp_path_factory.mktemp("encoder") / "vgg11.safetensors"
    save_safetensors(random_network("vgg11", trunk_only=True, gain=1.4), path, preprocessing=TORCHVISION)
    return path


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six photographs and three styles: smooth and striped colors."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:40, :48] / 40
    for kind, count in (("photos", 6), ("styles", 3)):
        (folder / kind).mkdir()
        for index in range(count):
            frequency = 3 if kind == "photos" else 30
            waves = np.sin(frequency * (rows[..., None] * rng.normal(size=3) + columns[..., None] * rng.normal(size=3)))
            Image.fromarray(np.uint8(127 + 100 * waves)).save(folder / kind / f"{index}.png")
    return folder
