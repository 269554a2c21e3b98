"""Published numbers, and which of ours measure the same.

Each file in `published/` is one source. A table of a file names the job and the entry of a row that measures the same
quantity. `at` identifies a number: what a row of ours must share to be compared at all. `same` says what else must be
equal for the setting to be the same. Both name entries of the row, or settings of its run. `decisions` names the
observer of the published records that a number was counted from; a row that we count from them is compared, too.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import PurePath
from typing import Any

import yaml

from sparseshape_jax.report.runs import Run, found_in
from sparseshape_jax.results import Row


@dataclass(frozen=True)
class Source:
    """Where numbers were published."""

    name: str
    """Short, such as "Li et al. 2023"."""
    citation: str
    url: str | None
    note: str
    """What a reader must know about the numbers, for example why there are none."""


@dataclass(frozen=True)
class PublishedNumber:
    """A number, with what it takes to set ours next to it."""

    source: Source
    table: str
    """Where in the source, and what it shows."""
    setting: str
    quantity: str
    unit: str
    label: str
    """Which one of the table."""
    value: float
    job: str
    entry: str
    at: Mapping[str, Any]
    """What our row must share to be compared at all."""
    same: Mapping[str, Any]
    """What else must be equal for the setting to be the same."""
    decisions: str | None
    """The observer whose published decisions it was counted from."""


@dataclass(frozen=True)
class Comparison:
    """A published number and the row of ours that comes closest to its setting."""

    number: PublishedNumber
    run: int
    """Index of the run."""
    row: int
    """Index of the row in its run."""
    value: float
    differs: Sequence[str]
    """What is not the same, in words; empty if the setting is."""


@cache
def sources() -> tuple[tuple[Source, tuple[PublishedNumber, ...]], ...]:
    """All sources with their numbers, by name of their files."""
    folder = files("sparseshape_jax.report") / "published"
    paths = sorted((path for path in folder.iterdir() if path.name.endswith(".yaml")), key=lambda path: path.name)
    return tuple(_read(yaml.safe_load(path.read_text(encoding="utf-8"))) for path in paths)


def _read(content: Mapping[str, Any]) -> tuple[Source, tuple[PublishedNumber, ...]]:
    source = Source(content["name"], content["citation"], content.get("url"), content.get("note", ""))
    return source, tuple(_numbers(source, content.get("tables", ())))


def _numbers(source: Source, tables: Sequence[Mapping[str, Any]]) -> Iterator[PublishedNumber]:
    for table in tables:
        for number in table["numbers"]:
            yield PublishedNumber(
                source,
                table["table"],
                table["setting"],
                table["quantity"],
                table["unit"],
                number["label"],
                number["value"],
                table["job"],
                table["entry"],
                number.get("at", {}),
                {**table.get("same", {}), **number.get("same", {})},
                number.get("decisions"),
            )


def compare(runs: Sequence[Run], job: str) -> list[Comparison]:
    """Every published number of a job that a row of the runs measures too, with the row nearest to its setting."""
    asked = [number for _, numbers in sources() for number in numbers if number.job == job]
    return [found for number in asked if (found := _nearest(number, runs))]


def _nearest(number: PublishedNumber, runs: Sequence[Run]) -> Comparison | None:
    best: Comparison | None = None
    for index, run in enumerate(runs):
        for position, row in enumerate(run.rows if run.job == number.job else ()):
            value = row.get(number.entry)
            if not isinstance(value, int | float):
                continue
            if number.decisions and row.get("observer") == number.decisions:
                differs = tuple(_differences({"n": number.same["n"]}, row, run))
            elif any(found_in(row, run, name) != want for name, want in number.at.items()):
                continue
            else:
                differs = tuple(_differences(number.same, row, run))
            if best is None or len(differs) < len(best.differs):
                best = Comparison(number, index, position, float(value), differs)
    return best


def _differences(same: Mapping[str, Any], row: Row, run: Run) -> Iterator[str]:
    for name, want in same.items():
        found = found_in(row, run, name)
        # A folder is called by its own name, wherever it is.
        if found != want and not (isinstance(found, str) and PurePath(found).name == want):
            but = "" if want is None else f", not {want}"
            yield f"{name.replace('_', ' ')} is {'not known' if found is None else found}{but}"
