"""What a run of `evaluate.py reproduce` does: each section with its command, or with what it lacks."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparseshape_jax.cli import Job, Jobs
from sparseshape_jax.errors import InputError
from sparseshape_jax.jobs import evaluate, synthesize, train
from sparseshape_jax.jobs.reproduce.config import DATA, ReproduceConfig
from sparseshape_jax.jobs.reproduce.sections import Section, read_sections

SCRIPTS: Mapping[str, Jobs] = {"evaluate": evaluate.JOBS, "synthesize": synthesize.JOBS, "train": train.JOBS}


@dataclass(frozen=True)
class Planned:
    """A section and how to run it."""

    section: Section
    folder: Path
    """Its result folder."""
    arguments: tuple[str, ...] = ()
    """Of its command, from the script's name on: ("evaluate", "shape-bias", "--stimuli", …)."""
    lacks: str = ""
    """What must be given for it, in a line; empty if nothing is missing."""

    @property
    def command(self) -> str:
        """As a user types it."""
        if not self.arguments:
            return ""
        script, *others = self.arguments
        return f"python {script}.py {shlex.join(others)}"


def plan(config: ReproduceConfig) -> list[Planned]:
    """The sections of the preset, in order, but for those whose job is not in this version.

    Raises:
        InputError: --sections names none of them.
    """
    every = [section for section in read_sections(config.preset) if exists(section.job)]
    for asked in config.sections:
        if not any(section.name.startswith(asked) for section in every):
            names = ", ".join(section.name for section in every)
            raise InputError(f"there is no section {asked!r} in preset {config.preset}; there are {names}")
    data = config.data_given()
    planned: list[Planned] = []
    folders = {section.name: str(Path(config.out) / section.name) for section in every}
    for section in every:
        if config.sections and not section.name.startswith(config.sections):
            continue
        folder = Path(folders[section.name])
        if lacks := _lacks(section, data):
            planned.append(Planned(section, folder, lacks=lacks))
            continue
        paths = {**data, **{name: (path,) for name, path in folders.items()}, "out": (config.out,)}
        settings = {**section.resolved(paths), "out": str(folder)}
        preset = ["--config", section.config] if section.config else []
        arguments = (*section.job.split(), *preset, *_flags(settings))
        planned.append(Planned(section, folder, arguments))
    return planned


def exists(job: str) -> bool:
    """Whether a script has this job."""
    found: Jobs | Job | None = SCRIPTS
    for word in job.split():
        found = None if found is None or isinstance(found, Job) else found.get(word)
    return isinstance(found, Job)


def _lacks(section: Section, data: Mapping[str, Sequence[str]]) -> str:
    missing = [name for name in section.data if name not in data]
    if missing:
        what = " and ".join(DATA[name] for name in missing)
        return f"needs {what}; give {' '.join(f'--{name} DIR' for name in missing)}"
    for folder in _folders(section.resolved({**data, **{name: ("",) for name in section.sections}, "out": ("",)})):
        if any(folder.startswith(f"{given[0]}/") for given in data.values()) and not Path(folder).exists():
            return f"needs {folder}, which is not there"
    return ""


def _folders(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from _folders(inner)


def _flags(settings: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """Settings as flags; those of groups with dots, as `--topk.fraction 0.2`."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flags(value, f"{before}{name}.")
        else:
            yield f"--{before}{name}"
            yield value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
