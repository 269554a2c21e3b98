"""Settings for all tests, and fixtures with what they compare against. Where that is missing, tests skip by name."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import jax
import pytest
from support.packages import require_package
from support.torch_reference import import_torchvision

# Scripts keep no programs in the user's cache here; see `compiled_programs`.
os.environ["JAX_COMPILATION_CACHE_DIR"] = ""
# Arrays of different ranks or types meet only where the code says so.
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """The folder with `data/` and `goldens/`: real stimuli, human records, values of the PyTorch reference."""
    folder = os.environ.get("SPARSESHAPE_TEST_DATA")
    if not folder:
        pytest.skip("reference data: SPARSESHAPE_TEST_DATA is not set")
    path = Path(folder).resolve()
    assert (path / "goldens").is_dir(), f"SPARSESHAPE_TEST_DATA={folder} has no goldens/ folder"
    return path


@pytest.fixture(scope="session")
def torch() -> ModuleType:
    require_package("torch")
    import torch

    torch.set_num_threads(1)  # its threads wait busily, which takes the other workers' cores
    return torch


@pytest.fixture(scope="session")
def torchvision(torch: ModuleType) -> ModuleType:
    require_package("torchvision")
    return import_torchvision(torch)


@pytest.fixture
def quick_compiles(request) -> Iterator[None]:
    """Compile in half the time, to slower programs; the slow tests compile as users do."""
    jax.config.update("jax_disable_most_optimizations", request.node.get_closest_marker("slow") is None)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


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
    os.environ["JAX_COMPILATION_CACHE_DIR"] = ""
