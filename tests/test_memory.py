"""Memory that was freed is kept in the process, unless the user chose otherwise."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc has these options")

SCRIPT = """
import resource, sys
from sparseshape_jax.memory import keep_freed_memory

if "keep" in sys.argv:
    keep_freed_memory()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

b"x" * 2**27
before = faults()
b"x" * 2**27
print(faults() - before)
"""


def pages_taken(*arguments: str, **settings: str) -> int:
    """How many pages the system hands out for 128 MiB, after as many were freed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", SCRIPT, *arguments]
    done = subprocess.run(command, env=environment | settings, capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_freed_memory_is_used_again():
    assert pages_taken() > 1000
    assert pages_taken("keep") < 10


def test_the_users_own_settings_go_first():
    assert pages_taken("keep", MALLOC_ARENA_MAX="2") > 1000
