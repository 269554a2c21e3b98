"""Reading a page of `evaluate.py report` as a browser does, and result folders for it that no job has made."""

import json
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from sparseshape_jax.report.page import format_number

VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """Checks that tags are balanced, and collects cells of numbers, images, links and anchors."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.cells: dict[str, str] = {}
        self.images: list[dict[str, str]] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.text = ""
        self._origin: str | None = None
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "img":
            self.images.append(found)
        if tag == "a":
            self.links.append(found["href"])
        if "id" in found:
            assert found["id"] not in self.anchors
            self.anchors.add(found["id"])
        if found.get("data-origin"):
            self._origin = found["data-origin"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self._origin = None

    def handle_data(self, data):
        self.text += data
        if self._origin:
            self.cells[self._origin] = data


def check_page(page: Page, folders: Sequence[Path]) -> None:
    """Every number of ours is in a results.json of `folders`, in the order of the page; nothing lies outside the page.

    Links to files of the runs are allowed.
    """
    read = {index: json.loads((folder / "results.json").read_text())["rows"] for index, folder in enumerate(folders)}
    for origins, text in page.cells.items():
        places = [origin.split(":") for origin in origins.split("|")]
        values = [read[int(run)][int(row)][entry] for run, row, entry in places]
        assert text.split(" (")[0] == format_number(values[0] if len(values) == 1 else sum(values) / len(values))
    assert all(image["src"].startswith("data:image/") and image["alt"] for image in page.images)
    assert {link[1:] for link in page.links if link.startswith("#")} <= page.anchors


def write_run(
    folder: Path,
    job: str,
    rows: Sequence[Mapping[str, Any]],
    *,
    settings: Mapping[str, Any] | None = None,
    complete: bool = True,
    figure: bool = True,
    skipped: Sequence[str] = (),
) -> Path:
    """A result folder as jobs leave it."""
    (folder / "figures").mkdir(parents=True)
    content = {
        "job": job,
        "software": {"python": "3.11.7", "jax": "0.10.2"},
        "hardware": {"devices": "1 × cpu"},
        "settings": settings or {"seed": 0, "out": str(folder)},
        "rows": rows,
        "figures": ["figures/curves.png", "figures/curves.pdf"] if figure else [],
        "skipped": list(skipped),
    }
    (folder / "results.json").write_text(json.dumps(content))
    (folder / "config.yaml").write_text(yaml.safe_dump(content["settings"]))
    if complete:
        (folder / "summary.csv").write_text("a\n")
    if figure:
        Image.fromarray(np.full((40, 60, 3), 200, np.uint8)).save(folder / "figures" / "curves.png")
    return folder
