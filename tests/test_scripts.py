"""The three scripts as such: what they import, and how they end."""

import json
import subprocess
import sys

import pytest
from support.commands import ROOT

HEAVY = ("jax", "jaxlib", "flax", "optax", "orbax", "grain", "numpy", "scipy", "PIL", "skimage", "matplotlib")

# Asks for the help of a script, of each of its jobs, and of each group of jobs; for each, prints what is imported then.
SCRIPT = f"""
import json, runpy, sys
from sparseshape_jax.cli import Job, main

def commands(jobs, words=()):
    yield words
    for name, job in jobs.items():
        if isinstance(job, Job):
            yield (*words, name)
        else:
            yield from commands(job, (*words, name))

script = runpy.run_path(sys.argv[1])
for words in commands(script["JOBS"]):
    try:
        main(script["__doc__"], script["JOBS"], [*words, "--help"])
    except SystemExit as stop:
        assert not stop.code, words
    print(json.dumps([words, sorted(set({HEAVY!r}) & set(sys.modules))]), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("script", "jobs"),
    [
        ("evaluate.py", {"shape-bias", "accuracy", "sweep"}),
        ("synthesize.py", {"texture", "reconstruct", "figure", "stimuli"}),
        ("train.py", {"classifier"}),
    ],
)
def test_help_imports_nothing_heavy(script, jobs):
    command = [sys.executable, "-c", SCRIPT, str(ROOT / script)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stderr.splitlines()]
    assert jobs <= {words[0] for words, _ in found if words}
    assert [words for words, heavy in found if heavy] == [], found
    assert done.stdout.count("usage: ") == len(found)


def test_exit_status_and_stderr(tmp_path):
    command = [sys.executable, str(ROOT / "evaluate.py"), "shape-bias", "--stimuli", "missing", "--out", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: there is no folder missing\n")
    assert not (tmp_path / "out").exists()
