"""What is on the page, and the page itself: HTML that is complete in one file, and the same as Markdown."""

import base64
import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from sparseshape_jax.report.published import Comparison, compare, sources
from sparseshape_jax.report.runs import Run
from sparseshape_jax.report.sections import OTHERS, SECTIONS, Section, section_of, shown
from sparseshape_jax.results import Row

LARGEST = 1600
"""Wider figures are made this wide in pixels."""
PHOTOGRAPHIC = 300_000
"""A PNG of more bytes becomes a JPEG, because it has photographs in it."""


@dataclass(frozen=True)
class Cell:
    """An entry of a table."""

    text: str
    origin: str | None = None
    """Of a number of ours: index of the run, of the row, and the entry's name."""
    link: str | None = None


@dataclass(frozen=True)
class Picture:
    """A figure as it is shown."""

    file: str
    """Its name in the folder of figures."""
    content: bytes
    kind: str
    caption: str

    @property
    def data(self) -> str:
        """The content as a URL, for a page in one file."""
        return f"data:image/{self.kind};base64,{base64.b64encode(self.content).decode('ascii')}"


@dataclass(frozen=True)
class RunPart:
    """What the page says about a run."""

    run: Run
    anchor: str
    different: Sequence[tuple[str, str]]
    """Settings in which it differs from the other runs of its job."""
    columns: Sequence[str]
    lines: Sequence[Sequence[Cell]]
    more: int
    """Rows that are not shown."""
    pictures: Sequence[Picture]
    settings: str
    setup: str
    """Software and hardware, in one line."""


@dataclass(frozen=True)
class SectionPart:
    """A section with its runs."""

    section: Section
    anchor: str
    runs: Sequence[RunPart]
    comparisons: Sequence[tuple[Comparison, RunPart, str]]


def render(
    title: str, runs: Sequence[Run], problems: Sequence[str], out: Path, most_rows: int
) -> dict[str, str | bytes]:
    """The files of a report, by name: report.html, report.md and the figures that the latter shows.

    Args:
        title: the heading.
        runs: what to show.
        problems: what could not be shown, a line each.
        out: the folder of the report, for links to the runs' files.
        most_rows: rows of a table that are shown.
    """
    parts = [_run_part(index, run, runs, out, most_rows) for index, run in enumerate(runs)]
    sections = [part for section in (*SECTIONS, OTHERS) if (part := _section_part(section, runs, parts)).runs]
    used = {id(found.number.source): found.number.source for part in sections for found, _, _ in part.comparisons}
    facts: dict[str, Any] = {
        "title": title,
        "sections": sections,
        "problems": problems,
        "sources": [source for source, _ in sources() if id(source) in used or source.note],
    }
    pages: dict[str, str | bytes] = {
        "report.html": _environment(autoescape=True).get_template("report.html.j2").render(facts),
        "report.md": _environment(autoescape=False).get_template("report.md.j2").render(facts),
    }
    return pages | {f"figures/{picture.file}": picture.content for part in parts for picture in part.pictures}


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
    found.filters["words"] = lambda name: name.replace("_", " ")
    return found


def _section_part(section: Section, runs: Sequence[Run], parts: Sequence[RunPart]) -> SectionPart:
    own = [part for part in parts if section_of(part.run.job) is section]
    found = [one for job in dict.fromkeys(part.run.job for part in own) for one in compare(runs, job)]
    comparisons = [(one, parts[one.run], format_number(one.value)) for one in found]
    return SectionPart(section, _anchor(section.title), own, comparisons)


def _run_part(index: int, run: Run, runs: Sequence[Run], out: Path, most_rows: int) -> RunPart:
    columns, rows = shown(run.job, run.rows)
    places = {id(row): position for position, row in enumerate(run.rows)}
    lines = [[_cell(row, name, f"{index}:{places[id(row)]}", run, out) for name in columns] for row in rows[:most_rows]]
    return RunPart(
        run,
        anchor=f"run-{index}",
        different=_different(run, [other for other in runs if other.job == run.job]),
        columns=columns,
        lines=lines,
        more=max(0, len(rows) - most_rows),
        pictures=[_picture(index, path) for path in run.figures],
        settings=yaml.safe_dump(dict(run.settings), sort_keys=False, allow_unicode=True),
        setup=", ".join(f"{name} {found}" for name, found in {**run.software, **run.hardware}.items()),
    )


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
        text = (
            ", ".join(str(item) for item in value) if isinstance(value, list) else "" if value is None else str(value)
        )
        link = row.get("records") if name == "observer" else None
        return Cell(text, link=_link(run.folder / link, out) if isinstance(link, str) else None)
    text = format_number(value)
    interval = row.get(f"{name}_ci95")
    if isinstance(interval, list) and len(interval) == 2 and all(isinstance(end, int | float) for end in interval):
        text += f" ({format_number(interval[0])} to {format_number(interval[1])})"
    return Cell(text, origin=f"{origin}:{name}")


def _words(value: object) -> str:
    return "" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def format_number(value: float) -> str:
    """A number as the page shows it: whole ones whole, others with four significant digits."""
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def _link(path: Path, out: Path) -> str | None:
    return Path(os.path.relpath(path, out)).as_posix() if path.is_file() else None


def _picture(index: int, path: Path) -> Picture:
    """A figure, made smaller where it is larger than a page needs."""
    with Image.open(path) as opened:
        image: Image.Image = opened.copy()
    if image.width > LARGEST:
        size = (LARGEST, max(1, round(image.height * LARGEST / image.width)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    flat = Image.new("RGB", image.size, "white")
    flat.paste(image, mask=image.getchannel("A") if "A" in image.getbands() else None)
    content, kind = _encoded(flat, "png"), "png"
    if len(content) > PHOTOGRAPHIC:
        content, kind = _encoded(flat, "jpeg"), "jpeg"
    caption = path.stem.replace("-", " ").replace("_", " ")
    return Picture(f"{index}-{_anchor(path.stem)}.{kind}", content, kind, caption)


def _encoded(image: Image.Image, kind: str) -> bytes:
    written = io.BytesIO()
    image.save(written, kind, optimize=True, **({"quality": 88} if kind == "jpeg" else {}))
    return written.getvalue()


def _anchor(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "figure"


def _markdown(text: object) -> str:
    """Text in which nothing is read as Markdown or HTML, on one line."""
    plain = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#+|~!])", r"\\\1", plain)
