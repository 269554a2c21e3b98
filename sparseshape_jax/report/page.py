"""What is on the page, and the page itself: HTML that is complete in one file, and the same as Markdown."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from tqdm import tqdm

from sparseshape_jax.report.claims import Claim, Finding, Place, check, claims
from sparseshape_jax.report.outcomes import Outcome
from sparseshape_jax.report.pictures import Picture, picture
from sparseshape_jax.report.published import Comparison, PublishedNumber, compare, sources
from sparseshape_jax.report.runs import Found, Run, interval_of
from sparseshape_jax.report.sections import OTHERS, SECTIONS, Section, section_of, shown
from sparseshape_jax.results import Row

FEW_ROWS, MANY_COLUMNS = 4, 10
"""A table with at most so many rows and more columns than that is shown with rows for columns."""


@dataclass(frozen=True)
class Cell:
    """An entry of a table."""

    text: str
    origin: str | None = None
    """Of a number of ours: index of the run, of the row, and the entry's name; of a mean, those of all its numbers."""
    link: str | None = None


@dataclass(frozen=True)
class RunPart:
    """What the page says about a run."""

    run: Run
    anchor: str
    different: Sequence[tuple[str, str]]
    """Settings in which it differs from the other runs of its job."""
    columns: Sequence[str]
    """Headings of the table."""
    lines: Sequence[Sequence[Cell]]
    more: int
    """Rows that are not shown."""
    pictures: Sequence[Picture]
    settings: str
    setup: str
    """Software and hardware, in one line."""


@dataclass(frozen=True)
class Compared:
    """A published number next to ours."""

    found: Comparison
    part: RunPart
    value: str

    @property
    def group(self) -> tuple[str, str, str, str]:
        """What the numbers of one small table have in common."""
        number: PublishedNumber = self.found.number
        return number.source.name, number.setting, number.quantity, number.unit


@dataclass(frozen=True)
class Checked:
    """A comparison that says whether a claim holds."""

    found: Finding
    higher: Cell
    lower: Cell
    part: RunPart
    """The run of the first number."""


@dataclass(frozen=True)
class SectionPart:
    """A section with its runs."""

    section: Section
    anchor: str
    runs: Sequence[RunPart]
    same: Sequence[tuple[Compared, Sequence[Compared]]]
    """Published numbers of the same setting as ours, in groups; with each group its first one."""
    other: Sequence[tuple[Compared, Sequence[Compared]]]
    """Those of another setting."""
    not_run: Sequence[Outcome]
    """What did not run, or not to its end."""


def render(title: str, found: Found, out: Path, most_rows: int) -> dict[str, str | bytes]:
    """The files of a report, by name: report.html, report.md and the figures that the latter shows.

    Args:
        title: the heading.
        found: what to show.
        out: the folder of the report, for links to the runs' files.
        most_rows: rows of a table that are shown.
    """
    runs = tqdm(found.runs, desc="report", unit="run", delay=2, leave=False)
    parts = [_run_part(index, run, found.runs, out, most_rows) for index, run in enumerate(runs)]
    sections = [_section_part(section, found, parts) for section in (*SECTIONS, OTHERS)]
    sections = [part for part in sections if part.runs or part.not_run]
    groups = [group for part in sections for group in (*part.same, *part.other)]
    used = {id(first.found.number.source) for first, _ in groups}
    anchors = {part.run.title: part.anchor for part in parts if part.run.title}
    checked = [(claim, _checked(claim, found.runs, parts)) for claim in claims()]
    facts: dict[str, Any] = {
        "title": title,
        "claims": [(claim, own) for claim, own in checked if own],
        "unchecked": [claim for claim, own in checked if not own],
        "sections": sections,
        "outcomes": [(outcome, anchors.get(outcome.title)) for outcome in found.outcomes],
        "problems": found.problems,
        "sources": [source for source, _ in sources() if id(source) in used or source.note],
    }
    pages: dict[str, str | bytes] = {
        "report.html": _environment(autoescape=True).get_template("report.html.j2").render(facts),
        "report.md": _environment(autoescape=False).get_template("report.md.j2").render(facts),
    }
    return pages | {f"figures/{one.file}": one.content for part in parts for one in part.pictures}


def _environment(*, autoescape: bool) -> Environment:
    found = Environment(
        loader=PackageLoader("sparseshape_jax.report"),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters["md"] = _markdown
    found.filters["time"] = _time
    return found


def _checked(claim: Claim, runs: Sequence[Run], parts: Sequence[RunPart]) -> list[Checked]:
    return [
        Checked(
            found,
            _mean_cell(found.higher, found.case.higher.entry),
            _mean_cell(found.lower, found.case.lower.entry),
            parts[found.higher[0].run],
        )
        for found in check(claim, runs)
    ]


def _mean_cell(places: Sequence[Place], entry: str) -> Cell:
    """The mean of numbers, or a single one with its interval."""
    interval = places[0].interval if len(places) == 1 else None
    text = _with_interval(fmean(place.value for place in places), interval)
    return Cell(text, origin="|".join(f"{place.run}:{place.row}:{entry}" for place in places))


def _section_part(section: Section, found: Found, parts: Sequence[RunPart]) -> SectionPart:
    own = [part for part in parts if section_of(part.run.job) is section]
    jobs = list(dict.fromkeys(part.run.job for part in own))
    compared = [
        Compared(one, parts[one.run], format_number(one.value)) for job in jobs for one in compare(found.runs, job)
    ]
    return SectionPart(
        section,
        _anchor(section.title),
        own if any(part.run.title for part in own) else sorted(own, key=lambda part: _place(part.run.job, section)),
        same=_groups(one for one in compared if not one.found.differs),
        other=_groups(one for one in compared if one.found.differs),
        not_run=[
            outcome
            for outcome in found.outcomes
            if outcome.status != "done" and outcome.why and section_of(outcome.job) is section
        ],
    )


def _place(job: str, section: Section) -> int:
    return section.jobs.index(job) if job in section.jobs else len(section.jobs)


def _groups(compared: Iterable[Compared]) -> list[tuple[Compared, Sequence[Compared]]]:
    groups = [list(group) for _, group in groupby(compared, key=lambda one: one.group)]
    return [(group[0], group) for group in groups]


def _run_part(index: int, run: Run, runs: Sequence[Run], out: Path, most_rows: int) -> RunPart:
    columns, rows = shown(run.job, run.rows)
    lines = [
        [_cell(row, name, f"{index}:{run.positions[id(row)]}", run, out) for name in columns]
        for row in rows[:most_rows]
    ]
    columns = [name.replace("_", " ") for name in columns]
    if 0 < len(lines) <= FEW_ROWS and len(columns) > MANY_COLUMNS:
        columns, lines = _transposed(columns, lines)
    return RunPart(
        run,
        anchor=f"run-{index}",
        different=_different(run, [other for other in runs if other.job == run.job]),
        columns=columns,
        lines=lines,
        more=max(0, len(rows) - most_rows),
        pictures=[picture(path, f"{index}-{_anchor(path.stem)}") for path in run.figures],
        settings=yaml.safe_dump(dict(run.settings), sort_keys=False, allow_unicode=True),
        setup=", ".join(f"{name} {found}" for name, found in {**run.software, **run.hardware}.items()),
    )


def _transposed(columns: Sequence[str], lines: Sequence[Sequence[Cell]]) -> tuple[list[str], list[list[Cell]]]:
    """The table with rows for columns; the entries of the first column become headings."""
    others = list(zip(*lines, strict=True))
    headings = [columns[0], *(cell.text for cell in others[0])]
    return headings, [[Cell(name), *cells] for name, cells in zip(columns[1:], others[1:], strict=True)]


def _different(run: Run, alike: Sequence[Run]) -> list[tuple[str, str]]:
    """The settings in which runs of one job differ, apart from where they wrote to."""
    flat = [_flat(other.settings) for other in alike]
    own = _flat(run.settings)
    names = [name for name in own if name != "out" and any(other.get(name) != own[name] for other in flat)]
    return [(name, str(own[name])) for name in names]


def _flat(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in settings.items():
        inner = isinstance(value, Mapping) and value
        found |= _flat(value, f"{before}{name}.") if inner else {f"{before}{name}": value}
    return found


def _cell(row: Row, name: str, origin: str, run: Run, out: Path) -> Cell:
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        link = row.get("records") if name == "observer" else None
        return Cell(_words(value), link=_link(run.folder / link, out) if isinstance(link, str) else None)
    return Cell(_with_interval(value, interval_of(row, name)), origin=f"{origin}:{name}")


def _with_interval(value: float, interval: tuple[float, float] | None) -> str:
    ends = f" ({format_number(interval[0])} to {format_number(interval[1])})" if interval else ""
    return format_number(value) + ends


def _words(value: object) -> str:
    return "" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def format_number(value: float) -> str:
    """A number as the page shows it: whole ones whole, others with four significant digits."""
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _link(path: Path, out: Path) -> str | None:
    return Path(os.path.relpath(path, out)).as_posix() if path.is_file() else None


def _anchor(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "figure"


def _markdown(text: object) -> str:
    """Text in which nothing is read as Markdown or HTML, on one line."""
    plain = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#+|~!])", r"\\\1", plain)
