"""The three scripts and the console command as such: what they import, what their help says, and how they end."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module

import pytest
from support.commands import ROOT

from sparseshape_jax.cli import Job, Jobs
from sparseshape_jax.jobs import console

HEAVY = ("jax", "jaxlib", "flax", "optax", "orbax", "grain", "numpy", "scipy", "PIL", "skimage", "matplotlib")

# Asks for the help of a script, of each of its jobs, and of each group of jobs; for each, prints what is imported then.
SCRIPT = f"""
import json, sys
from sparseshape_jax.cli import Job
from sparseshape_jax.jobs.console import SCRIPTS, main

def commands(jobs, words=()):
    yield words
    for name, job in jobs.items():
        if isinstance(job, Job):
            yield (*words, name)
        else:
            yield from commands(job, (*words, name))

name = sys.argv[1]
for words in commands(SCRIPTS[name].JOBS):
    try:
        main([name, *words, "--help"])
    except SystemExit as stop:
        assert not stop.code, words
    print(json.dumps([words, sorted(set({HEAVY!r}) & set(sys.modules))]), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("script", "jobs"),
    [
        ("evaluate", {"shape-bias", "accuracy", "sweep"}),
        ("synthesize", {"texture", "reconstruct", "figure", "stimuli"}),
        ("train", {"classifier"}),
        ("weights", {"list"}),
    ],
)
def test_help_imports_nothing_heavy(script, jobs):
    done = subprocess.run([sys.executable, "-c", SCRIPT, script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stderr.splitlines()]
    assert jobs <= {words[0] for words, _ in found if words}
    assert [words for words, heavy in found if heavy] == [], found
    assert done.stdout.count("usage: ") == len(found)


@pytest.mark.parametrize("name", ["evaluate", "synthesize", "train"])
def test_a_script_is_the_console_command_by_another_name(name):
    script = subprocess.run([sys.executable, f"{name}.py", "--help"], cwd=ROOT, capture_output=True, text=True)
    command = [sys.executable, "-c", f"from sparseshape_jax.jobs.console import main; main(['{name}', '--help'])"]
    console_command = subprocess.run(command, capture_output=True, text=True)
    assert (script.returncode, console_command.returncode) == (0, 0)
    assert f"usage: {name}.py JOB" in script.stdout
    assert script.stdout.replace(f"{name}.py", f"sparseshape {name}") == console_command.stdout


def test_the_console_command_lists_all_jobs_and_refuses_others(capsys):
    with pytest.raises(SystemExit) as stop:
        console.main(["--help"])
    assert not stop.value.code
    text = re.sub(r"\s+", " ", capsys.readouterr().out)
    for name, script in console.SCRIPTS.items():
        assert f"{name} one of {', '.join(script.JOBS)}" in text
    with pytest.raises(SystemExit) as stop:
        console.main(["evaluat"])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert re.fullmatch(r"error: .*'evaluat' .*'evaluate'.*; see sparseshape --help\n", error), error


def each_job(jobs: Jobs, *words: str) -> Iterator[tuple[tuple[str, ...], Job]]:
    """Every job with the words that name it on the command line."""
    for name, job in jobs.items():
        if isinstance(job, Job):
            yield (*words, name), job
        else:
            yield from each_job(job, *words, name)


ALL = [found for script, module in console.SCRIPTS.items() for found in each_job(module.JOBS, script)]


@pytest.mark.parametrize(("words", "job"), ALL, ids=[" ".join(words) for words, _ in ALL])
def test_every_example_is_understood(words, job, monkeypatch):
    monkeypatch.chdir(ROOT)
    module, _, function = job.function.partition(":")
    received: list[object] = []
    monkeypatch.setattr(import_module(module), function, received.append)
    for arguments in job.examples.splitlines():
        assert console.main([*words, *shlex.split(arguments)]) == 0
        assert isinstance(received.pop(), job.settings)


def test_exit_status_and_stderr(tmp_path):
    command = [sys.executable, str(ROOT / "evaluate.py"), "shape-bias", "--stimuli", "missing", "--out", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (
        2,
        "",
        "error: there is no folder missing; give one with images in it, at any depth\n",
    )
    assert not (tmp_path / "out").exists()
