"""What a run of `evaluate.py reproduce` does: each section with its command, or with what it lacks."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sparseshape_jax.cli import Job, Jobs
from sparseshape_jax.errors import InputError
from sparseshape_jax.jobs.console import SCRIPTS
from sparseshape_jax.jobs.reproduce.config import DATA, ReproduceConfig
from sparseshape_jax.jobs.reproduce.sections import Section, read_sections, texts


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
    asked: bool = True
    """Whether it is one of --sections."""

    @property
    def command(self) -> str:
        """As a user types it."""
        return f"sparseshape {shlex.join(self.arguments)}" if self.arguments else ""


def plan(config: ReproduceConfig) -> list[Planned]:
    """The sections of the preset, in order, but for those that need a job which is not in this version.

    Raises:
        InputError: --sections names none of them.
    """
    every: dict[str, Section] = {}
    for section in read_sections(config.preset):
        if exists(section.job) and all(needed in every for needed in section.sections):
            every[section.name] = section
    for asked in config.sections:
        if not any(name.startswith(asked) for name in every):
            raise InputError(f"there is no section {asked!r} in preset {config.preset}; there are {', '.join(every)}")
    data = config.data_given()
    paths = {**data, **{name: (str(Path(config.out) / name),) for name in every}, "out": (config.out,)}
    planned: dict[str, Planned] = {}
    for name, section in every.items():
        folder = Path(paths[name][0])
        lacks = _lacks(section, data, planned)
        arguments = () if lacks else _arguments(section, {**section.resolved(paths), "out": str(folder)})
        chosen = not config.sections or name.startswith(config.sections)
        planned[name] = Planned(section, folder, arguments, lacks, chosen)
    return list(planned.values())


def exists(job: str) -> bool:
    """Whether a script has this job."""
    script, *words = job.split()
    found: Jobs | Job | None = SCRIPTS[script].JOBS
    for word in words:
        found = None if found is None or isinstance(found, Job) else found.get(word)
    return isinstance(found, Job)


def _lacks(section: Section, data: Mapping[str, Sequence[str]], planned: Mapping[str, Planned]) -> str:
    missing = [name for name in section.data if name not in data]
    if missing:
        what = " and ".join(DATA[name] for name in missing)
        return f"needs {what}; give {' '.join(f'--{name} DIR' for name in missing)}"
    for extra, module in section.extra.items():
        if find_spec(module) is None:
            return f'needs another package; pip install "sparseshape-jax[{extra}]"'
    for needed in section.sections:
        if planned[needed].lacks:
            return planned[needed].lacks
    for name, given in data.items():
        for text in texts(section.settings):
            folder = text.replace(f"{{{name}}}", given[0])
            if text.startswith(f"{{{name}}}/") and not given[0].startswith("tfds:") and not Path(folder).is_dir():
                return f"needs {folder}, which is not there"
    return ""


def _arguments(section: Section, settings: Mapping[str, Any]) -> tuple[str, ...]:
    config = ["--config", f"configs/{section.config}"] if section.config else []
    return (*section.job.split(), *config, *_flags(settings))


def _flags(settings: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """Settings as flags; those of groups with dots, as `--topk.fraction 0.2`."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flags(value, f"{before}{name}.")
        else:
            yield f"--{before}{name}"
            for one in value if isinstance(value, list) else [value]:
                yield one if isinstance(one, str) else json.dumps(one)
