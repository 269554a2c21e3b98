"""Settings for all tests, and fixtures with what they compare against. Where that is missing, tests skip by name."""

import os
import tempfile
from pathlib import Path
from types import ModuleType

import jax
import pytest
from support.packages import require_package
from support.torch_reference import import_torchvision

# Every job compiles its programs anew, and most tests ask for the same few: they are kept until the tests end, for this
# process and for the scripts that it starts. JAX decides at the first program whether it keeps any. Each worker has a
# folder of its own: JAX would have to lock a common one, and then looks through all of it for each program.
_PROGRAMS = tempfile.TemporaryDirectory(prefix="programs-")
for _name, _value in {
    "jax_compilation_cache_dir": _PROGRAMS.name,
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}.items():
    jax.config.update(_name, _value)
    os.environ[_name.upper()] = str(_value)
# Arrays of different ranks or types meet only where the code says so.
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


def pytest_unconfigure() -> None:
    _PROGRAMS.cleanup()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Compile faster, to slower programs, here and in scripts; the slow tests compile as users do."""
    quick = item.get_closest_marker("slow") is None
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = str(quick)
    jax.config.update("jax_disable_most_optimizations", quick)


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
