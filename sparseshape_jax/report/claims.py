"""What the sources claim, and what our runs say of it. The claims are data, in `claims.yaml`, which explains itself.

A claim is that one number is higher than another. With several units (classes, seeds, people, pictures), their
differences decide: whether the 95 % interval of the mean, by Student's t, lies on one side of 0. With one row on each
side, their 95 % intervals decide: those that the rows bring, or Wilson's of a share. Numbers whose intervals do not
overlap differ, which is stricter than a test of the difference. Nothing is corrected for the number of claims.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

import yaml
from scipy import stats

from sparseshape_jax.report.runs import Run, found_in, interval_of, is_number
from sparseshape_jax.report.sections import shown
from sparseshape_jax.results import Row

Names = tuple[str, ...]
Verdict = Literal["yes", "no", "not clear", "yes, but no interval", "no, but no interval"]


@dataclass(frozen=True)
class Side:
    """One of two numbers."""

    label: str
    entry: str
    at: Mapping[str, Any]
    """What its rows have, or the settings of their runs."""


@dataclass(frozen=True)
class Case:
    """How two numbers are found among the rows of all runs."""

    higher: Side
    lower: Side
    alike: Sequence[str]
    """Entries or settings that both sides have in common."""
    units: Sequence[str]
    """Entries or settings of which each side has several values."""
    share_of: str | None
    """The entry that says of how many the numbers are shares."""


@dataclass(frozen=True)
class Claim:
    """What is claimed."""

    text: str
    source: str
    job: str
    cases: Sequence[Case]


@dataclass(frozen=True)
class Place:
    """A row of a run, and its number."""

    run: int
    row: int
    value: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Finding:
    """What our runs say of a claim, in one comparison."""

    case: Case
    what: str
    """What was compared: the values of `alike`."""
    higher: Sequence[Place]
    lower: Sequence[Place]
    """One for each unit, or a single one."""
    verdict: Verdict
    why: str
    """What the verdict rests on."""


@cache
def claims() -> tuple[Claim, ...]:
    """All claims, in the order of the page."""
    text = (files("sparseshape_jax.report") / "claims.yaml").read_text(encoding="utf-8")
    return tuple(_claim(content) for content in yaml.safe_load(text))


def _claim(content: Mapping[str, Any]) -> Claim:
    def side(found: Mapping[str, Any]) -> Side:
        return Side(found["label"], found.get("entry") or content["entry"], found["at"])

    cases = [
        Case(side(one["higher"]), side(one["lower"]), one["alike"], one.get("units", ()), content.get("share_of"))
        for one in content["cases"]
    ]
    return Claim(content["claim"], content["source"], content["job"], cases)


def check(claim: Claim, runs: Sequence[Run]) -> list[Finding]:
    """Every comparison that the runs allow; none if a side of it was not measured."""
    return [finding for case in claim.cases for finding in _findings(case, claim.job, runs)]


def _findings(case: Case, job: str, runs: Sequence[Run]) -> Iterator[Finding]:
    higher, lower = (_places(side, case, job, runs) for side in (case.higher, case.lower))
    one_for_all = bool(case.units) and all(name in case.lower.at for name in case.units)
    for alike, ours in higher.items():
        theirs = lower.get(alike, {})
        if one_for_all and theirs:
            theirs = dict.fromkeys(ours, *theirs.values())
        units = [unit for unit in ours if unit in theirs]
        if not units:
            continue
        first, second = [ours[unit] for unit in units], list(dict.fromkeys(theirs[unit] for unit in units))
        what = ", ".join(part for name, value in zip(case.alike, alike, strict=True) if (part := _words(name, value)))
        pairs = [(ours[unit], theirs[unit]) for unit in units]
        yield Finding(case, what, first, second, *_judge(pairs, case.units[0] if case.units else ""))


def _places(side: Side, case: Case, job: str, runs: Sequence[Run]) -> dict[Names, dict[Names, Place]]:
    """The rows of a side, by what is alike and by unit; of several of a kind, the first."""
    found: dict[Names, dict[Names, Place]] = {}
    for index, run in enumerate(runs):
        for row in shown(run.job, run.rows)[1] if run.job == job else ():
            fits = all(_fits(found_in(row, run, name), want) for name, want in side.at.items())
            value = row.get(side.entry)
            if not fits or not is_number(value):
                continue
            alike, unit = (tuple(str(found_in(row, run, name)) for name in names) for names in (case.alike, case.units))
            place = Place(index, run.positions[id(row)], value, _interval(row, side.entry, case.share_of))
            found.setdefault(alike, {}).setdefault(unit, place)
    return found


def _fits(found: object, want: object) -> bool:
    if isinstance(found, str) and isinstance(want, str):
        return fnmatchcase(found, want)
    return found == want


def _interval(row: Row, entry: str, share_of: str | None) -> tuple[float, float] | None:
    """The 95 % interval that a row brings, or Wilson's if the number is a share."""
    if interval := interval_of(row, entry):
        return interval
    n = row.get(share_of) if share_of else None
    if not isinstance(n, int) or n < 1 or not 0 <= row[entry] <= 1:
        return None
    found = stats.binomtest(round(row[entry] * n), n).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def _judge(pairs: Sequence[tuple[Place, Place]], unit: str) -> tuple[Verdict, str]:
    """The verdict on pairs of numbers, the first of which are expected to be higher."""
    differences = [higher.value - lower.value for higher, lower in pairs]
    if len(pairs) > 1:
        low, high = _mean_interval(differences)
        side = "is above 0" if low > 0 else "is below 0" if high < 0 else "includes 0"
        why = f"the interval of the mean difference over {len(pairs)} {_plural(unit)} {side}"
        return "yes" if low > 0 else "no" if high < 0 else "not clear", why
    (higher, lower), (difference,) = pairs[0], differences
    if not (higher.interval and lower.interval):
        return "yes, but no interval" if difference > 0 else "no, but no interval", "one value each, without intervals"
    if higher.interval[0] <= lower.interval[1] and lower.interval[0] <= higher.interval[1]:
        return "not clear", "the intervals overlap"
    return "yes" if difference > 0 else "no", "the intervals do not overlap"


def _mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean, by Student's t."""
    half = float(stats.t.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return fmean(values) - half, fmean(values) + half


def _plural(unit: str) -> str:
    return {"class": "classes", "observer": "people"}.get(unit, f"{unit}s")


def _words(name: str, value: str) -> str:
    """A value of `alike` on the page: texts as they are, paths by their last part, numbers with what they are of."""
    try:
        float(value)
    except ValueError:
        return Path(value).name if value != str(None) else ""
    return f"{name} = {value}"
