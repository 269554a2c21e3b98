"""The commands in configs/frequency/: every flag is one that its job knows, and each script says what it is for."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from sparseshape_jax.cli import Job, main
from sparseshape_jax.jobs import console

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "configs" / "frequency").glob("*.sh"))


def commands(path: Path) -> list[list[str]]:
    """The commands of a script for our own scripts, with something in place of variables."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("python ")]
    filled = [line.replace("$fraction", "0.2").replace("$seed", "1") for line in lines]
    return [shlex.split(re.sub(r"\$\{?\w+\}?", "x", line))[1:] for line in filled]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_every_command_is_understood(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    asked = 0
    for script, *arguments in commands(path):
        if script.startswith("configs/"):
            assert (ROOT / script).is_file()
            continue
        jobs = console.SCRIPTS[Path(script).stem].JOBS
        job = jobs[arguments[0]] if isinstance(jobs[arguments[0]], Job) else jobs[arguments[0]][arguments[1]]
        module, _, function = job.function.partition(":")
        received: list[object] = []
        with monkeypatch.context() as patch:
            patch.setattr(import_module(module), function, received.append)
            assert main("", jobs, arguments) == 0
        assert isinstance(received[0], job.settings)
        asked += 1
    assert asked >= 4


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_opens_with_command_data_hardware_and_result(path):
    text = path.read_text(encoding="utf-8")
    assert f"# Command:   bash configs/frequency/{path.name} " in text
    for word in ("Data", "Hardware", "Result"):
        assert re.search(rf"^# {word}: +\S", text, re.MULTILINE), word
    assert len(SCRIPTS) == 2
