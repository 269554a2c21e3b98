"""The scripts' command line, with jobs that only record what they were given."""

import gzip
import json
import os
import re
import subprocess
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import jax.numpy as jnp
import pytest
import yaml

from sparseshape_jax import presets
from sparseshape_jax.cli import Job, main
from sparseshape_jax.errors import InputError
from sparseshape_jax.top_k.spec import TopK

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Base:
    """Settings that two jobs share."""

    fractions: tuple[float | TopK, ...] = (1.0, 0.5)
    """Fractions, with a word that the help must show: rhubarb."""
    topk: TopK = field(default_factory=TopK)
    """Top-K."""
    seed: int = 0
    """Seed."""


@dataclass(frozen=True)
class Paint(Base):
    """Paint a wall.

    More about walls.
    """

    color: Literal["red", "blue"] = "red"
    """Color."""
    walls: tuple[str, ...] = ()
    """Walls."""
    ladder: str | None = None
    """Ladder."""
    dry: bool = False
    """Whether to wait."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InputError(f"seed is {self.seed}; it must be at least 0")


@dataclass(frozen=True)
class Sand(Base):
    """Sand a floor."""


@dataclass(frozen=True)
class Move:
    """Move furniture."""

    room: str
    """Where to."""
    pieces: tuple[str, ...]
    """What to move, such as a chair."""
    van: str = field(kw_only=True)
    """Van."""
    careful: bool = False
    """Whether to wrap it."""


@dataclass(frozen=True)
class Call:
    """Call someone."""

    who: str
    """Name."""


@dataclass(frozen=True)
class Wait:
    """Wait, with nothing to set."""


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command line of the toy script: what its job received, the exit status and what was printed."""
    received: list[Any] = []
    toy = SimpleNamespace(paint=received.append, record=received.append)
    monkeypatch.setitem(sys.modules, "toy_jobs", toy)
    jobs = {
        "paint": Job(Paint, "toy_jobs:paint", examples="--seed 1"),
        "sand": Job(Sand, "toy_jobs:record"),
        "move": Job(Move, "toy_jobs:record", examples="attic chair\ncellar table shelf"),
        "help": {
            "call": Job(Call, "toy_jobs:record", examples="Ada"),
            "wait": Job(Wait, "toy_jobs:record"),
            "more": {"paint": Job(Paint, "toy_jobs:record")},
        },
    }

    def run(*arguments: str, job: Any = None) -> SimpleNamespace:
        received.clear()
        if job:
            monkeypatch.setattr(toy, "paint", job)
        try:
            status = main("Look after a house.", jobs, arguments, program="house.py")
        except SystemExit as stop:  # how argparse ends
            status = stop.code
        printed = capsys.readouterr()
        return SimpleNamespace(
            settings=received[0] if received else None, status=status, out=printed.out, err=printed.err
        )

    return run


def one_line(result: SimpleNamespace) -> str:
    """The message of a run that was refused."""
    assert result.status == 2
    assert result.settings is None
    assert result.out == ""
    lines = result.err.splitlines()
    assert len(lines) == 1, result.err
    assert lines[0].startswith("error: ")
    return lines[0]


def test_defaults(run):
    result = run("paint")
    assert (result.status, result.out, result.err) == (0, "", "")
    assert result.settings == Paint()
    assert run("sand").settings == Sand()


def test_a_switch_needs_no_value(run):
    assert run("paint", "--dry").settings == Paint(dry=True)
    assert run("paint", "--dry", "--seed", "3").settings == Paint(dry=True, seed=3)
    assert run("paint", "--dry", "false", "--seed", "3").settings == Paint(seed=3)
    assert "maybe" in one_line(run("paint", "--dry=maybe"))


def test_flags(run):
    settings = run(
        "paint",
        "--color",
        "blue",
        "--seed=3",
        "--ladder",
        "tall",
        "--dry",
        "true",
        "--topk.keep",
        "rest",
        "--topk.blend",
        "1",
    ).settings
    assert settings == Paint(color="blue", seed=3, ladder="tall", dry=True, topk=TopK(keep="rest", blend=1.0))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--fractions", "[1.0,0.2]"], Paint(fractions=(1.0, 0.2))),
        (["--fractions=[1.0,0.2]"], Paint(fractions=(1.0, 0.2))),
        (["--fractions", "1.0", "0.2", "--seed", "1"], Paint(fractions=(1.0, 0.2), seed=1)),
        (["--fractions", "1"], Paint(fractions=(1.0,))),
        (["--fractions", "{fraction: 0.2, after: [pool1]}"], Paint(fractions=(TopK(0.2, after=("pool1",)),))),
        (
            ["--fractions", "[1, {fraction: 0.2, keep: rest}]"],
            Paint(fractions=(1.0, TopK(0.2, keep="rest"))),
        ),
        (["--walls", "north", "2024", "@attic", "a: b"], Paint(walls=("north", "2024", "@attic", "a: b"))),
        (["--walls", "[north,south]"], Paint(walls=("north", "south"))),
        (["--topk.after", "pool1", "pool2"], Paint(topk=TopK(after=("pool1", "pool2")))),
        (["--topk.after", "[pool1]"], Paint(topk=TopK(after=("pool1",)))),
        (["--ladder", "null"], Paint(ladder=None)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_several_values(run, arguments, expected):
    settings = run("paint", *arguments).settings
    assert settings == expected
    assert isinstance(settings.fractions, tuple)


def test_settings_from_a_file_and_flags_over_them(run, tmp_path):
    path = tmp_path / "paint.yaml"
    path.write_text("color: blue\nseed: 4\nfractions: [1.0, {fraction: 0.1}]\ntopk:\n  after: [pool1]\n")
    expected = {"color": "blue", "fractions": (1.0, TopK(0.1)), "topk": TopK(after=("pool1",))}
    assert run("paint", "--config", str(path)).settings == Paint(seed=4, **expected)
    assert run("paint", "--config", str(path), "--seed", "5").settings == Paint(seed=5, **expected)


@pytest.mark.parametrize(
    "arguments",
    [
        ["attic", "chair", "a: b", "--van", "red"],
        ["--van", "red", "attic", "chair", "a: b"],
        ["--van=red", "attic", "chair", "a: b"],
        ["attic", "[chair, 'a: b']", "--van", "red"],
        ["attic", "--van", "red", "chair", "a: b"],
    ],
    ids=" ".join,
)
def test_settings_without_a_default_are_positional(run, arguments):
    assert run("move", *arguments).settings == Move("attic", ("chair", "a: b"), van="red")
    assert run("move", *arguments, "--careful").settings == Move("attic", ("chair", "a: b"), van="red", careful=True)


def test_groups_of_jobs(run):
    assert run("help", "call", "Ada").settings == Call("Ada")
    assert run("help", "wait").settings == Wait()
    assert run("help", "more", "paint", "--walls", "north", "--dry").settings == Paint(walls=("north",), dry=True)


def test_print_config_reads_back(run, tmp_path):
    printed = run("paint", "--seed", "7", "--topk.keep", "rest", "--print_config")
    assert printed.status == 0
    assert yaml.safe_load(printed.out)["seed"] == 7
    (tmp_path / "printed.yaml").write_text(printed.out)
    assert run("paint", "--config", str(tmp_path / "printed.yaml")).settings == Paint(seed=7, topk=TopK(keep="rest"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "job.*paint,sand"),
        (["pain"], "invalid choice: 'pain'.*paint.*sand"),
        (["help"], r'expected "job" to be one of \{call,wait,more\}.*; see .*help --help'),
        (["help", "cal"], "invalid choice: 'cal'.*call.*wait"),
        (["help", "call"], "required: who; see .*help call --help"),
        (["help", "call", "Ada", "Bob"], "unrecognized arguments: Bob; see .*help call --help"),
        (["help", "wait", "--who", "Ada"], "unrecognized arguments: --who Ada"),
        (["move"], "required: room, pieces, --van; see .*move --help"),
        (["move", "attic", "--van", "red"], "required: pieces"),
        (["move", "attic", "chair"], "required: --van; see .*move --help"),
        (["paint", "--sed", "1"], r"unrecognized arguments: --sed 1 \(did you mean --seed\?\); see .*paint --help"),
        (["paint", "--knit", "1"], "unrecognized arguments: --knit 1; see .*paint --help"),
        (["paint", "--see", "1"], "unrecognized arguments: --see 1"),  # short for nothing
        (["paint", "north"], "unrecognized arguments: north"),
        (["paint", "--ladder"], "--ladder: expected one argument"),
        (["paint", "--walls"], "--walls: expected one argument"),
        (["paint", "--seed", "x"], "--seed: Expected a int. Got value: x; see .*paint --help"),
        (["paint", "--dry", "maybe"], "--dry: Expected a bool. Got value: maybe"),
        (["paint", "--color", "green"], "--color: Expected one of 'red', 'blue'. Got value: green"),
        (["paint", "--fractions", "nan"], "--fractions: Expected a float or TopK. Got value: nan"),
        (["paint", "--fractions", "@"], r"--fractions: Expected a tuple. Got value: \[@\]"),
        (["paint", "--fractions", "2024-01-01"], "--fractions: Expected a float or TopK. Got value: 2024-01-01"),
        (["paint", "--fractions", "[{fraktion: 0.2}]"], "'fraktion' is not accepted"),
        (["paint", "--fractions", "[{fraction: 2}]"], r"the keep fraction is 2.0; it must be in \(0, 1\]"),
        (["paint", "--fractions", "[{fraction: 0.2, keep: some}]"], "keep.*'some|keep.*some"),
        (["paint", "--topk.fraction", "-1"], r"the keep fraction is -1.0; it must be in \(0, 1\]"),
        (["paint", "--topk.fraction", ".nan"], "the keep fraction is nan"),
        (["paint", "--seed", "-1"], "seed is -1; it must be at least 0"),
        (["paint", "--config", "missing.yaml"], r"--config: File does not exist: .*missing\.yaml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_flags_are_answered_in_one_line(run, arguments, message):
    assert re.search(message, one_line(run(*arguments)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"sed: 1", "'paint' does not accept option 'sed'"),
        (b"topk:\n  fractoin: 0.2", r"topk\.fractoin"),
        (b"topk:\n  fraction: 2", r"the keep fraction is 2.0; it must be in \(0, 1\]"),
        (b"seed: -1", "seed is -1"),
        (b"seed: [", "Problems parsing config"),
        (b"- 1", "Unexpected config"),
        (b"\x00\xff", "are not text; give a YAML file"),
    ],
    ids=str,
)
def test_bad_files_are_answered_in_one_line(run, tmp_path, content, message):
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    assert re.search(message, one_line(run("paint", "--config", str(path))))


def test_bad_input_that_the_job_finds(run):
    def job(_: Paint) -> None:
        raise InputError("no wall\nhere")

    result = run("paint", job=job)
    assert (result.status, result.err) == (2, "error: no wall here\n")


def test_a_stopped_job_says_how_to_resume(run):
    def job(_: Paint) -> None:
        raise KeyboardInterrupt

    result = run("paint", job=job)
    assert (result.status, result.err) == (130, "stopped; run the same command again to resume\n")


@pytest.mark.parametrize("lines", [1, 10_000], ids=["when it ends", "while it prints"])
def test_a_reader_that_has_seen_enough(tmp_path, lines):
    """As `| head` does: the reading end of the pipe is closed."""
    (tmp_path / "talk.py").write_text(
        "from dataclasses import dataclass\n"
        "from sparseshape_jax.cli import Job, main\n"
        "@dataclass\n"
        "class Talk:\n"
        "    'Talk.'\n"
        "def talk(_):\n"
        f"    for _ in range({lines}): print('a long line of text')\n"
        "if __name__ == '__main__': raise SystemExit(main('', {'talk': Job(Talk, 'talk:talk')}))\n"
    )
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, "talk.py", "talk"]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, stdout=writes, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writes)
    assert (done.returncode, done.stderr) == (0, "")


def test_pipes_that_break_elsewhere_are_defects(run):
    def job(_: Paint) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        run("paint", job=job)


def test_warnings_are_one_line_each(run):
    def job(_: Paint) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("the wall is damp", stacklevel=2)

    assert run("paint", job=job).err == "warning: the wall is damp\n"


def test_defects_keep_their_traceback(run):
    def job(_: Paint) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run("paint", job=job)


def test_help_says_what_the_docstrings_say(run):
    overall = run("--help")
    assert overall.status == 0
    assert "Look after a house." in overall.out
    assert "Paint a wall." in overall.out
    assert "one of call, wait, more" in overall.out
    assert "\n  house.py paint --seed 1\n  house.py move attic chair\n" in overall.out
    of_job = run("paint", "--help")
    assert of_job.status == 0
    assert "rhubarb" in of_job.out
    assert "example: house.py paint --seed 1" in of_job.out
    positional = run("move", "--help")
    assert re.search(r"room +Where to\.", positional.out)
    assert re.search(r"pieces \.\.\. +What to move, such as a chair\.", positional.out)
    assert "examples:\n  house.py move attic chair\n  house.py move cellar table shelf\n" in positional.out
    of_group = run("help", "--help")
    assert of_group.status == 0
    assert "Call someone." in of_group.out
    assert "example: house.py help call Ada" in of_group.out


def test_profile_writes_a_trace(run, tmp_path):
    """JAX's own: gzipped JSON for Perfetto, and a protocol buffer for TensorBoard."""
    folder = tmp_path / "trace"
    result = run("paint", "--profile", str(folder), "--color", "blue", job=lambda _: jnp.arange(3).sum())
    assert result.status == 0
    assert str(folder) in result.out
    (perfetto,) = folder.rglob("perfetto_trace.json.gz")
    assert json.loads(gzip.decompress(perfetto.read_bytes()))["traceEvents"]
    assert list(folder.rglob("*.xplane.pb"))


def test_profile_needs_a_folder(run, tmp_path):
    (tmp_path / "file").write_text("")
    assert "folder that can be written" in one_line(run("paint", "--profile", str(tmp_path / "file")))


def test_config_finds_presets_in_any_folder(run, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(presets, "PACKAGE", tmp_path / "installed" / "package")
    of_a_clone, of_a_wheel = tmp_path / "installed/configs/paint", tmp_path / "installed/package/configs/paint"
    of_a_clone.mkdir(parents=True)
    (of_a_clone / "hall.yaml").write_text("color: blue\n")
    assert run("paint", "--config", "configs/paint/hall.yaml").settings == Paint(color="blue")
    of_a_wheel.mkdir(parents=True)
    (of_a_wheel / "hall.yaml").write_text("color: blue\nseed: 3\n")
    assert run("paint", "--config=configs/paint/hall.yaml", "--seed", "4").settings == Paint(color="blue", seed=4)
    Path("configs/paint").mkdir(parents=True)
    Path("configs/paint/hall.yaml").write_text("seed: 5\n")  # what is here comes first
    assert run("paint", "--config", "configs/paint/hall.yaml").settings == Paint(seed=5)
    one_line(run("paint", "--config", "configs/paint/attic.yaml"))
    one_line(run("paint", "--config", "paint/hall.yaml"))
