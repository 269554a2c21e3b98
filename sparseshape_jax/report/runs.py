"""Reading result folders: what a run measured, with which settings, and whether it is complete."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sparseshape_jax.errors import InputError
from sparseshape_jax.output import read_json
from sparseshape_jax.results import RESULTS, Row, read_results

SCRIPTS = ("evaluate", "synthesize", "train")


@dataclass(frozen=True)
class Run:
    """A result folder."""

    folder: Path
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

    @property
    def command(self) -> str:
        """The command that repeats the run."""
        script, _, job = self.job.partition(" ")
        return f"python {script}.py {job} --config {shlex.quote(str(self.folder / 'config.yaml'))}"

    @cached_property
    def name(self) -> str:
        """What the run is called on the page: the last part of its folder's path."""
        return self.folder.resolve().name


def read_runs(folders: Sequence[str]) -> tuple[list[Run], list[str]]:
    """The runs in result folders, each once, and a line for every folder that could not be read.

    A folder without a results.json of its own stands for the result folders below it.

    Raises:
        InputError: none of the folders has results.
    """
    found: dict[Path, Run] = {}
    problems: list[str] = []
    for folder in map(Path, folders):
        try:
            for inner in _result_folders(folder):
                found.setdefault(inner.resolve(), _read(inner))
        except InputError as error:
            problems.append(str(error))
    if not found:
        raise InputError(problems[0])
    return list(found.values()), problems


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
        raise InputError(f"{folder} has no {RESULTS}, and no folder in it has one")


def _read(folder: Path) -> Run:
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


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
