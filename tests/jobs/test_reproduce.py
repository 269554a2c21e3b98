"""`evaluate.py reproduce`: what is run, skipped, failed and resumed, with sections that take seconds."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import pytest
from support.commands import command
from support.report_page import Page, check_page

from sparseshape_jax import cli
from sparseshape_jax.errors import InputError
from sparseshape_jax.jobs.reproduce import plan as planning
from sparseshape_jax.jobs.reproduce import process
from sparseshape_jax.jobs.reproduce.config import DATA, ReproduceConfig
from sparseshape_jax.jobs.reproduce.plan import SCRIPTS, plan
from sparseshape_jax.jobs.reproduce.sections import parse_sections, read_sections
from sparseshape_jax.report.claims import claims
from sparseshape_jax.report.published import sources
from sparseshape_jax.report.runs import Run, found_in, read_runs
from sparseshape_jax.report.sections import OTHERS, section_of

PRESETS = ("cpu", "accelerator")
IMAGES = (".png", ".jpg", ".JPEG")

STUBS = """
- name: styles/<name>
  title: Styles of kind <name>
  source: Somebody 2023, Section 1
  job: synthesize styles
  settings: {count: 1, size: 8, kinds: [<name>]}
  each: [{name: dots}, {name: cells}]
  presets: {cpu: {minutes: 0.1}}
- name: stylized
  title: What lacks data
  source: Somebody 2023, Section 2
  job: synthesize stylize
  settings: {content: "{data}"}
  presets: {cpu: {minutes: 1}}
- name: broken
  title: What <b>fails</b>
  source: Somebody 2023, Section 3
  job: synthesize styles
  settings: {count: 0}
  presets: {cpu: {minutes: 1}}
- name: after
  title: What needs the one that fails
  source: Somebody 2023, Section 3
  job: evaluate frequency adcs
  settings: {data: "{broken}/images"}
  presets: {cpu: {minutes: 1}}
- name: knitting
  title: What this version has no job for
  source: Somebody 2023, Section 4
  job: synthesize knitting
  presets: {cpu: {minutes: 1}}
- name: crochet
  title: What needs a package that is not there
  source: Somebody 2023, Section 4
  job: synthesize styles
  extra: {yarn: crochet_hooks}
  presets: {cpu: {minutes: 1}}
- name: purling
  title: What needs its results
  source: Somebody 2023, Section 4
  job: synthesize styles
  settings: {out: "{knitting}"}
  presets: {cpu: {minutes: 1}}
"""


@pytest.fixture
def evaluate(capsys):
    return command("evaluate.py", capsys)


@pytest.fixture
def stubs(monkeypatch):
    monkeypatch.setattr(planning, "read_sections", lambda preset: parse_sections(STUBS, preset))


def outcomes(out: Path) -> dict[str, dict]:
    return {one["name"]: one for one in json.loads((out / "reproduce.json").read_text())["sections"]}


@pytest.fixture
def everything(tmp_path):
    """Settings that give all data, as empty folders."""
    folders = {name: tmp_path / "data" / name for name in DATA}
    for folder in folders.values():
        for inner in ("test", "val", "jeep", "fish", "railway", "table"):
            (folder / inner).mkdir(parents=True)
    given = {name: str(folder) for name, folder in folders.items()}
    return {**given, "records": (given["records"],), "out": str(tmp_path / "out")}


@pytest.mark.parametrize("preset", PRESETS)
def test_sections_come_after_those_that_they_need(preset):
    names: set[str] = set()
    for section in read_sections(preset):
        assert section.name not in names
        assert set(section.sections) <= names
        assert set(section.data) <= set(DATA)
        assert section_of(section.job) is not OTHERS
        assert section.minutes > 0
        names.add(section.name)


@pytest.mark.parametrize("preset", ["cpu", pytest.param("accelerator", marks=pytest.mark.slow)])
def test_every_section_is_understood_by_its_job(preset, everything, monkeypatch):
    received: list = []
    for one in plan(ReproduceConfig(preset=preset, **everything)):
        assert not one.lacks
        script, *arguments = one.arguments
        job = SCRIPTS[script].JOBS
        for word in one.section.job.split()[1:]:
            job = job[word]
        module, _, function = job.function.partition(":")
        with monkeypatch.context() as patch:
            patch.setattr(import_module(module), function, received.append)
            assert cli.main("", SCRIPTS[script].JOBS, arguments) == 0
        assert isinstance(received[-1], job.settings)
        assert received[-1].out == str(one.folder)
        assert one.command.startswith(f"sparseshape {one.section.job} ")


@pytest.mark.parametrize("preset", PRESETS)
def test_without_data_some_sections_are_left(preset, tmp_path):
    planned = {one.section.name: one for one in plan(ReproduceConfig(preset=preset, out=str(tmp_path / "out")))}
    assert not planned["figure"].lacks
    assert planned["training/stylized"].lacks == "needs CIFAR-10 as images; give --cifar10 DIR"
    # It needs data only through the section before.
    assert planned["frequency/dense_0/dfm"].lacks.endswith("--cifar10 DIR")
    assert bool(planned["shape-bias/squeezenet"].lacks) == (preset == "cpu")
    assert planned["cue-conflict/stimuli"].lacks.endswith("give --photos DIR --textures DIR")


def test_the_small_preset_takes_45_minutes():
    assert sum(section.minutes for section in read_sections("cpu")) <= 45


def test_a_folder_within_the_data_may_be_missing(everything):
    (Path(everything["few_shot"]) / "railway").rmdir()
    planned = {one.section.name: one for one in plan(ReproduceConfig(**everything))}
    assert planned["few-shot/fid"].lacks == f"needs {everything['few_shot']}/railway, which is not there"


def test_bad_settings(tmp_path):
    with pytest.raises(InputError, match="there is no folder nowhere; give the one that has the data with --stimuli"):
        ReproduceConfig(stimuli="nowhere").check_folders()
    with pytest.raises(InputError, match="inside --data"):
        ReproduceConfig(data=str(tmp_path), out=str(tmp_path / "out")).check_folders()
    with pytest.raises(InputError, match="there is no section 'knit' in preset cpu; there are figure, "):
        plan(ReproduceConfig(sections=("knit",)))


def test_what_can_run_is_run_and_the_rest_is_on_the_page(evaluate, stubs, tmp_path):
    out = tmp_path / "out"
    first = evaluate("reproduce", "--out", out)
    assert first.status == 1
    assert first.err.strip() == "1 of 6 sections failed: broken; the page says why"
    lines = first.out.splitlines()
    assert lines[0] == "6 sections, 2 lack data or a package; about 2 min on two idle cores"
    assert lines[1].startswith("[1/6] styles/dots: Styles of kind dots, about 6 s … done in ")
    assert lines[3] == "[3/6] stylized: skipped, needs images of ImageNet's classes; give --data DIR"
    assert "failed in" in lines[4]
    assert "count is 0; it must be from 1 to 100,000; see" in lines[4]
    assert lines[5] == "[5/6] after: skipped, needs the results of broken"
    found = outcomes(out)
    assert [one["status"] for one in found.values()] == ["done", "done", "skipped", "failed", "skipped", "skipped"]
    assert found["crochet"]["why"] == 'needs another package; pip install "sparseshape-jax[yarn]"'
    assert found["broken"]["log"].startswith("error: count is 0")
    assert found["styles/dots"]["command"] == (
        f"sparseshape synthesize styles --count 1 --size 8 --kinds dots --out {out / 'styles/dots'}"
    )
    page = (out / "report" / "report.html").read_text()
    for words in ("Styles of kind dots", "What &lt;b&gt;fails&lt;/b&gt;", "give --data DIR", "Section 3", "count is 0"):
        assert words in page
    assert "knitting" not in page

    before = (out / "styles/dots/results.json").stat().st_mtime_ns
    second = evaluate("reproduce", "--out", out)
    assert second.status == 1
    expected = "6 sections, 2 are done, 2 lack data or a package; about 2 min on two idle cores"
    assert second.out.splitlines()[0] == expected
    assert second.out.count("done before") == 2
    assert (out / "styles/dots/results.json").stat().st_mtime_ns == before

    (out / "styles/dots/results.json").unlink()
    third = evaluate("reproduce", "--out", out, "--sections", "styles")
    assert third.status == 0, third.err
    assert third.out.count("done before") == 1
    assert list(outcomes(out)) == list(found)
    assert outcomes(out)["broken"]["status"] == "failed"

    other = evaluate("reproduce", "--out", out, "--preset", "accelerator")
    assert other.status == 2
    assert "has sections of preset cpu; give another folder with --out" in other.err


def test_dry_runs_write_nothing(evaluate, stubs, tmp_path):
    found = evaluate("reproduce", "--out", tmp_path / "out", "--dry_run")
    assert found.status == 0
    assert "sparseshape synthesize styles --count 1" in found.out
    assert "stylized: needs images" in found.out
    assert not (tmp_path / "out").exists()


def test_what_a_status_and_a_log_say():
    judge = process.judge
    assert judge(0, ["fine"]) == ("done", "")
    assert judge(1, ["2 of 3 images could not be read"]) == ("incomplete", "2 of 3 images could not be read")
    assert judge(1, ["Traceback (most recent call last):", "ValueError: no"]) == ("failed", "ValueError: no")
    assert judge(2, ["error: give --data", "more"]) == ("failed", "give --data")
    assert judge(-9, ["…"])[1] == "it was ended by signal 9 (which the system sends when memory runs out)"
    assert judge(3, [])[1] == "it ended with status 3 and said nothing"


PARENT = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # even if those who started us ignore it
from sparseshape_jax.jobs.reproduce import plan
from sparseshape_jax.jobs.reproduce.config import ReproduceConfig
from sparseshape_jax.jobs.reproduce.job import run
from sparseshape_jax.jobs.reproduce.sections import parse_sections
text = '''
- name: many
  title: Many styles
  source: Somebody 2023
  job: synthesize styles
  settings: {count: 400, size: 64}
  presets: {cpu: {minutes: 1}}
'''
plan.read_sections = lambda preset: parse_sections(text, preset)
run(ReproduceConfig(out=sys.argv[1]))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT], ids=["killed", "Ctrl-C"])
def test_a_stopped_run_leaves_no_process_and_resumes(tmp_path, sent):
    out = tmp_path / "out"
    command = [sys.executable, "-c", PARENT, str(out)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as parent:
        wait_for(lambda: len(list((out / "many").glob("[!.]*.png"))) > 3)
        parent.send_signal(sent)
    wait_for(lambda: count_unchanged(out / "many"))
    made = len(list((out / "many").glob("[!.]*.png")))
    assert made < 400 or sent == signal.SIGINT  # at which this job completes what is in its pool
    assert outcomes(out)["many"]["why"] == "it was interrupted"
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "done in" in ended.stdout
    assert len(list((out / "many").glob("[!.]*.png"))) == 400


def count_unchanged(folder: Path) -> bool:
    before = len(list(folder.glob("[!.]*.png")))
    time.sleep(1)
    return len(list(folder.glob("[!.]*.png"))) == before


def wait_for(condition, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_section_of_the_small_preset_on_little_data(evaluate, reference_data, tmp_path):
    data = little_data(reference_data / "data", tmp_path / "data")
    flags = [text for name, folder in data.items() for text in (f"--{name}", folder)]
    out = tmp_path / "out"
    found = evaluate("reproduce", "--out", out, *flags)
    assert found.status == 0, found.out + found.err
    done = outcomes(out)
    assert {one["status"] for one in done.values()} == {"done"}
    page = Page((out / "report" / "report.html").read_text(encoding="utf-8"))
    check_page(page, [out / name for name in done])
    for one in done.values():
        assert one["title"] in page.text
        assert page.text.count(one["command"].split(" --")[0]) >= 1
    assert len(page.images) >= len(done)
    check_names(read_runs([str(out)]).runs)


def check_names(runs: Sequence[Run]) -> None:
    """Published numbers and claims name entries that jobs write, and settings that they have."""

    def there(job: str, name: str) -> bool:
        return any(
            name.partition(".")[0] in row or found_in(row, run, name) is not None
            for run in runs
            for row in run.rows
            if run.job == job
        )

    sides = [
        (claim.job, case, side) for claim in claims() for case in claim.cases for side in (case.higher, case.lower)
    ]
    named = [(job, (side.entry, *side.at, *case.alike, *case.units)) for job, case, side in sides]
    named += [(number.job, (number.entry, *number.at, *number.same)) for _, numbers in sources() for number in numbers]
    jobs = {run.job for run in runs}
    assert {job for job, _ in named} <= jobs
    assert [(job, name) for job, names in named for name in names if not there(job, name)] == []


def little_data(data: Path, folder: Path) -> dict[str, Path]:
    """Every 16th stimulus, every eighth image of ImageNet, and so on."""
    parts = {
        "stimuli": ("cue-conflict", 16),
        "data": ("imagenet-samples", 8),
        "ood": ("ood", 5),
        "cifar10": ("cifar10", 8),
        "few_shot": ("few-shot", 6),
    }
    for name, (source, every) in parts.items():
        for path in sorted(path for path in (data / source).rglob("*") if path.suffix in IMAGES)[::every]:
            copy = folder / name / path.relative_to(data / source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    example = data / "cue-conflict-example"
    for name, category, file in (
        ("photos", "cat", "cat7_original.png"),
        ("photos", "elephant", "elephant1.png"),
        ("textures", "cat", "cat7_greyscale.png"),
        ("textures", "elephant", "elephant1.png"),
    ):
        (folder / name / category).mkdir(parents=True)
        shutil.copy(example / file, folder / name / category / f"{category}1.png")
    found = {name: folder / name for name in (*parts, "photos", "textures")}
    return {**found, "styles": data / "styles", "records": data / "reference-decisions"}
