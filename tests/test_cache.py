"""Compiled programs are kept between runs of a job; broken ones are compiled again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sparseshape_jax import cache

SCRIPT = """
import sys
from dataclasses import dataclass
from sparseshape_jax.cli import Job, main

@dataclass(frozen=True)
class Settings:
    \"\"\"Compile one program.\"\"\"

def run(settings):
    import jax
    found = []
    jax.monitoring.register_event_listener(lambda event, **_: found.append(event))
    print(jax.jit(lambda x: x * 2 + 1)(20.5).item(), "/jax/compilation_cache/cache_hits" in found)

if __name__ == "__main__":
    sys.modules["job"] = sys.modules["__main__"]
    raise SystemExit(main("A job.", {"compile": Job(Settings, "job:run")}))
"""


@pytest.fixture
def job(tmp_path):
    """Run the job in a process of its own, with a cache of its own; from its settings to its last line."""
    script = tmp_path / "job.py"
    script.write_text(SCRIPT)

    def run(**settings: str) -> str:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
        environment |= {"SPARSESHAPE_CACHE": str(tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        done = subprocess.run(
            [sys.executable, script, "compile"], env=environment | settings, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    return run


def kept(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*-cache") if path.is_file()]


def test_second_run_does_not_compile(job, tmp_path):
    assert job() == "42.0 False"
    assert kept(tmp_path / "programs")
    assert job() == "42.0 True"


def test_broken_program_is_compiled_again(job, tmp_path):
    job()
    for file in kept(tmp_path / "programs"):
        file.write_bytes(file.read_bytes()[:20])
    assert job() == "42.0 False"


def test_jax_settings_go_first(job, tmp_path):
    job(JAX_COMPILATION_CACHE_DIR="")
    job(JAX_ENABLE_COMPILATION_CACHE="false")
    assert not kept(tmp_path)
    job(JAX_COMPILATION_CACHE_DIR=str(tmp_path / "elsewhere"))
    assert kept(tmp_path / "elsewhere")
    assert not kept(tmp_path / "programs")


def test_cache_that_cannot_be_written_is_left_alone(job, tmp_path):
    (tmp_path / "programs").write_text("a file")
    assert job() == "42.0 False"


def test_oldest_programs_are_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "LIMIT", 25)
    for age, name in enumerate("abc"):
        (tmp_path / name).write_bytes(bytes(10))
        os.utime(tmp_path / name, (100 - age, 100 - age))
    cache._shrink(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
