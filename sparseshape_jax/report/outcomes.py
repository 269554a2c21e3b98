"""What became of each section of `evaluate.py reproduce`: a file next to the result folders, which the page shows."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from sparseshape_jax import output

OUTCOMES = "reproduce.json"

Status = Literal["done", "incomplete", "failed", "skipped", "not started"]
"""incomplete: done, but some of its inputs failed."""


@dataclass(frozen=True)
class Outcome:
    """A section and what became of it."""

    name: str
    """Its result folder, relative to that of outcomes."""
    title: str
    source: str
    """What it repeats, such as "Li et al. 2023, Section 4.2"."""
    job: str
    """As on the command line, such as "evaluate shape-bias"."""
    command: str
    """As a user would type it; empty if data for it are missing."""
    status: Status = "not started"
    why: str = ""
    """Why it was skipped or failed, in a line."""
    log: str = ""
    """The last lines that it printed, if it failed."""
    seconds: float = 0.0
    """How long it ran, the last time."""
    fingerprint: str = ""
    """Of its command and of the software that ran it."""


def read_outcomes(folder: Path) -> dict[str, Outcome]:
    """The outcomes that a folder holds, by name; none if it has no such file, or a damaged one."""
    content = output.read_json(folder / OUTCOMES)
    entries = content.get("sections") if isinstance(content, dict) else None
    found = [one for entry in entries if (one := _outcome(entry))] if isinstance(entries, list) else []
    return {one.name: one for one in found}


def write_outcomes(folder: Path, preset: str, outcomes: Iterable[Outcome]) -> None:
    """Write `outcomes` in their order, all or nothing."""
    output.write_json(folder / OUTCOMES, {"preset": preset, "sections": [asdict(one) for one in outcomes]})


def read_preset(folder: Path) -> str | None:
    """The preset that a folder's sections belong to, if it has any."""
    content = output.read_json(folder / OUTCOMES)
    preset = content.get("preset") if isinstance(content, dict) else None
    return preset if isinstance(preset, str) else None


def _outcome(entry: Any) -> Outcome | None:
    if not isinstance(entry, Mapping):
        return None
    texts = [entry.get(field.name) for field in fields(Outcome) if field.name != "seconds"]
    seconds = entry.get("seconds")
    if not all(isinstance(text, str) for text in texts) or not isinstance(seconds, int | float):
        return None
    if entry["status"] not in get_args(Status):
        return None
    return Outcome(**{field.name: entry[field.name] for field in fields(Outcome)})
