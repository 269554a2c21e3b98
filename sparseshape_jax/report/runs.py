"""Reading result folders: what a run measured, with which settings, and whether it is complete."""

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeGuard

from sparseshape_jax.errors import InputError
from sparseshape_jax.output import read_json
from sparseshape_jax.report.outcomes import Outcome, read_outcomes
from sparseshape_jax.results import RESULTS, Row, read_results

SCRIPTS = ("evaluate", "synthesize", "train")


@dataclass(frozen=True)
class Run:
    """A result folder."""

    folder: Path
    name: str
    """What it is called on the page: its folder, relative to the one that was given."""
    title: str
    """What it shows, if it is a section of `evaluate.py reproduce`; else empty."""
    job: str
    """As on the command line, such as "evaluate shape-bias"."""
    settings: Mapping[str, Any]
    software: Mapping[str, str]
    hardware: Mapping[str, Any]
    rows: Sequence[Row]
    figures: Sequence[Path]
    """The images among the figures that exist."""
    missing: Sequence[str]
    """Names of figures that results.json lists and that do not exist."""
    skipped: Sequence[str]
    """What the run left out, and why."""
    complete: bool
    """The run came to its end: it wrote summary.csv."""

    @cached_property
    def positions(self) -> Mapping[int, int]:
        """The position of each row, by the row's identity."""
        return {id(row): position for position, row in enumerate(self.rows)}

    @property
    def command(self) -> str:
        """The command that repeats the run."""
        return f"sparseshape {self.job} --config {shlex.quote(str(self.folder / 'config.yaml'))}"


@dataclass(frozen=True)
class Found:
    """What is in the folders that were given."""

    runs: Sequence[Run]
    """Each once."""
    problems: Sequence[str]
    """A line for every folder that could not be read."""
    outcomes: Sequence[Outcome]
    """What became of the sections of `evaluate.py reproduce`, in their order, if a folder is of that job."""


def read_runs(folders: Sequence[str]) -> Found:
    """What is in result folders. One without a results.json of its own stands for the result folders below it.

    Raises:
        InputError: none of the folders has results.
    """
    found: dict[Path, Run] = {}
    problems: list[str] = []
    outcomes: dict[Path, Outcome] = {}
    for folder in map(Path, folders):
        own = read_outcomes(folder)
        outcomes |= {(folder / name).resolve(): outcome for name, outcome in own.items()}
        order = {name: position for position, name in enumerate(own)}
        try:
            inner = {path: _name(path, folder) for path in _result_folders(folder)}
        except InputError as error:
            problems += [] if own else [str(error)]
            continue
        for path, name in sorted(inner.items(), key=lambda item: order.get(item[1], len(order))):
            try:
                found.setdefault(path.resolve(), _read(path, name, own[name].title if name in own else ""))
            except InputError as error:
                problems.append(str(error))
    if not (found or outcomes):
        raise InputError(problems[0])
    return Found(_named_apart(list(found.values())), problems, list(outcomes.values()))


def _named_apart(runs: Sequence[Run]) -> list[Run]:
    """The runs, with their whole paths as names where others are called the same."""
    names = [run.name for run in runs]
    return [run if names.count(run.name) == 1 else replace(run, name=run.folder.as_posix()) for run in runs]


def _name(path: Path, given: Path) -> str:
    return path.resolve().name if path == given else path.relative_to(given).as_posix()


def _result_folders(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; give a result folder, or one that has result folders in it")
    if (folder / RESULTS).is_file():
        yield folder
        return
    inner = sorted(path.parent for path in folder.rglob(RESULTS))
    if inner:
        yield from inner
    elif (folder / "summary.json").is_file():
        raise InputError(f"{folder} is of a version that wrote summary.json; run its command again to get {RESULTS}")
    elif (folder / "config.yaml").is_file():
        raise InputError(f"{folder} has settings but no results yet; run its command again to complete it")
    else:
        raise InputError(f"{folder} has no {RESULTS}, and no folder in it has one; give the --out of a run")


def _read(folder: Path, name: str, title: str) -> Run:
    content = read_json(folder / RESULTS)
    job = content.get("job") if isinstance(content, dict) else None
    if not isinstance(job, str) or job.partition(" ")[0] not in SCRIPTS:
        raise InputError(f"{folder / RESULTS} is damaged, or not of this project; run the command of its folder again")
    results = read_results(folder)
    root = folder.resolve()
    images = [folder / name for name in results["figures"] if name.endswith((".png", ".jpg"))]
    images = [path for path in images if path.resolve().is_relative_to(root)]
    return Run(
        folder,
        name,
        title,
        job,
        settings=_mapping(results.get("settings")),
        software=_mapping(results.get("software")),
        hardware=_mapping(results.get("hardware")),
        rows=results["rows"],
        figures=[path for path in images if path.is_file()],
        missing=[path.name for path in images if not path.is_file()],
        skipped=[str(item) for item in results.get("skipped") or ()],
        complete=(folder / "summary.csv").is_file(),
    )


def found_in(row: Row, run: Run, name: str) -> Any:
    """An entry of a row, or else a setting of its run, or None. Dots lead inside: `data.path`, `top_k.0.fraction`."""
    found: Any = row if name.partition(".")[0] in row else run.settings
    for part in name.split("."):
        if isinstance(found, Mapping):
            found = found.get(part)
        elif isinstance(found, list) and part.isdigit() and int(part) < len(found):
            found = found[int(part)]
        else:
            return None
    return found


def is_number(value: object) -> TypeGuard[float]:
    """Whether an entry of a row is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def interval_of(row: Row, entry: str) -> tuple[float, float] | None:
    """The 95 % interval that a row brings for an entry, if it does."""
    interval = row.get(f"{entry}_ci95")
    if isinstance(interval, list) and len(interval) == 2 and all(map(is_number, interval)):
        return interval[0], interval[1]
    return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
