"""The sections as data: reading sections.yaml, and putting paths in place of names."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from sparseshape_jax.jobs.reproduce.config import DATA, Preset

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Section:
    """One experiment: a job and its settings, at the scale of one preset."""

    name: str
    """Its result folder, below the output folder."""
    title: str
    source: str
    """What it repeats, such as "Li et al. 2023, Section 4.2"."""
    job: str
    """As on the command line: "evaluate shape-bias"."""
    config: str | None
    """A preset below configs/, whose settings it starts from."""
    settings: Settings
    """Those that it changes, with names in braces in place of paths."""
    optional: frozenset[str]
    """Names of data without which it runs, too; a setting that names them is left out then."""
    after: tuple[str, ...]
    """Names of sections that must be done before, besides those that settings name."""
    minutes: float
    """How long it is expected to take."""
    extra: Mapping[str, str]
    """An extra that it needs, and the module that it brings."""

    @property
    def data(self) -> tuple[str, ...]:
        """Names of data without which it cannot run."""
        return tuple(name for name in self._named() if name in DATA and name not in self.optional)

    @property
    def sections(self) -> tuple[str, ...]:
        """Names of sections whose results it needs."""
        named = [name for name in self._named() if name not in DATA and name != "out"]
        return tuple(dict.fromkeys([*named, *self.after]))

    def _named(self) -> list[str]:
        return list(dict.fromkeys(name for text in texts(self.settings) for name in _names(text)))

    def resolved(self, paths: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """The settings with paths for names.

        Args:
            paths: by the names of data, of sections, and "out"; those that are missing must be optional.
        """
        return {name: value for name, value in _replaced(self.settings, paths).items() if value is not None}


@cache
def read_sections(preset: Preset) -> tuple[Section, ...]:
    """All sections of a preset, in order; each comes after those whose results it needs."""
    return parse_sections((files(__package__) / "sections.yaml").read_text(encoding="utf-8"), preset)


def parse_sections(text: str, preset: Preset) -> tuple[Section, ...]:
    """The sections of a preset in a file like sections.yaml, which says what its entries mean."""
    return tuple(
        _section(_filled(entry, values), preset)
        for entry in yaml.safe_load(text)
        if preset in entry["presets"]
        for values in entry.get("each", [{}])
    )


def _section(entry: Mapping[str, Any], preset: Preset) -> Section:
    own = entry["presets"][preset]
    return Section(
        name=entry["name"],
        title=entry["title"],
        source=entry["source"],
        job=entry["job"],
        config=entry.get("config"),
        settings={**entry.get("settings", {}), **own.get("settings", {})},
        optional=frozenset((*entry.get("optional", ()), *own.get("optional", ()))),
        after=tuple(entry.get("after", ())),
        minutes=own["minutes"],
        extra=entry.get("extra", {}),
    )


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    """The entry with values in place of <names>; a text that is nothing but a name becomes the value itself."""

    def fill(text: str) -> Any:
        whole = re.fullmatch(r"<(\w+)>", text)
        return values[whole[1]] if whole else re.sub(r"<(\w+)>", lambda found: str(values[found[1]]), text)

    return _each_text(value, fill) if values else value


def _replaced(value: Any, paths: Mapping[str, Sequence[str]]) -> Any:
    """The settings with paths for names; a text that is nothing but a name of several paths becomes a list of them."""

    def replace(text: str) -> Any:
        names = _names(text)
        if any(name not in paths for name in names):
            return None
        if len(names) == 1 and text == f"{{{names[0]}}}" and len(paths[names[0]]) > 1:
            return list(paths[names[0]])
        return re.sub(r"\{([\w/-]+)\}", lambda found: paths[found[1]][0], text)

    return _each_text(value, replace)


def texts(value: Any) -> Iterator[str]:
    """Every text in nested settings."""
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from texts(inner)


def _names(text: str) -> list[str]:
    return re.findall(r"\{([\w/-]+)\}", text)


def _each_text(value: Any, change: Callable[[str], Any]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {name: _each_text(inner, change) for name, inner in value.items()}
    return [_each_text(inner, change) for inner in value] if isinstance(value, list) else value
