"""What the page says of the sources' claims: which numbers are compared, and on what grounds a claim holds."""

import math

import numpy as np
import pytest
from support.report_page import Page, check_page, write_run

from sparseshape_jax.jobs import console
from sparseshape_jax.report.claims import Case, Claim, Side, check, claims
from sparseshape_jax.report.config import ReportConfig
from sparseshape_jax.report.job import run as report
from sparseshape_jax.report.runs import read_runs
from sparseshape_jax.report.sections import OTHERS, section_of

JOB = "evaluate shape-bias"
HIGHER, LOWER = Side("Top-K", "shape_bias", {"keep": "top"}), Side("dense", "shape_bias", {"keep": "all"})


def claim(**changes) -> Claim:
    case = {"higher": HIGHER, "lower": LOWER, "alike": ["model"], "units": [], "share_of": None, **changes}
    return Claim("Top-K is higher.", "Somebody 2023", JOB, [Case(**case)])


def row(keep: str, value: float | None, **entries) -> dict:
    return {"keep": keep, "model": "net", "shape_bias": value, **entries}


def found(tmp_path, claim, *runs):
    """What is found of a claim in runs of these rows and settings."""
    folders = [
        str(write_run(tmp_path / str(number), JOB, rows, settings=settings, figure=False))
        for number, (rows, settings) in enumerate(runs)
    ]
    return check(claim, read_runs(folders).runs)


@pytest.mark.parametrize(
    ("higher", "lower", "verdict"),
    [
        ((0.6, 0.5, 0.7), (0.3, 0.2, 0.4), "yes"),
        ((0.3, 0.2, 0.4), (0.6, 0.5, 0.7), "no"),
        ((0.6, 0.4, 0.8), (0.5, 0.3, 0.7), "not clear"),
        # Intervals that touch do overlap.
        ((0.6, 0.5, 0.7), (0.4, 0.3, 0.5), "not clear"),
    ],
)
def test_single_rows_are_judged_by_their_intervals(higher, lower, verdict, tmp_path):
    rows = [row(keep, value, shape_bias_ci95=ends) for keep, (value, *ends) in (("top", higher), ("all", lower))]
    (one,) = found(tmp_path, claim(), (rows, {}))
    assert (one.verdict, one.what) == (verdict, "net")
    assert [place.value for place in (*one.higher, *one.lower)] == [higher[0], lower[0]]
    assert "overlap" in one.why


def test_without_intervals_only_the_direction_is_said(tmp_path):
    for number, (top, verdict) in enumerate(((0.4, "yes, but no interval"), (0.3, "no, but no interval"))):
        (one,) = found(tmp_path / str(number), claim(), ([row("top", top), row("all", 0.3)], {}))
        assert (one.verdict, one.why) == (verdict, "one value each, without intervals")


@pytest.mark.parametrize(("n", "verdict"), [(100, "not clear"), (10_000, "yes")])
def test_shares_have_wilsons_interval(n, verdict, tmp_path):
    (one,) = found(tmp_path, claim(share_of="n"), ([row("top", 0.46, n=n), row("all", 0.42, n=n)], {}))
    assert one.verdict == verdict
    p, z = 0.46, 1.959964
    middle, half = p + z**2 / (2 * n), z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert one.higher[0].interval == pytest.approx([(middle + s * half) / (1 + z**2 / n) for s in (-1, 1)], abs=1e-6)


def test_several_units_are_judged_by_the_interval_of_their_mean_difference(tmp_path):
    """Three seeds, whose rows lie in six runs; Student's t of two degrees of freedom is 4.303."""
    values = {"top": (0.5, 0.7, 0.6), "all": (0.4, 0.45, 0.44)}
    runs = [([row(keep, value)], {"seed": seed}) for keep in values for seed, value in enumerate(values[keep])]
    (one,) = found(tmp_path, claim(units=["seed"]), *runs)
    differences = np.subtract(*values.values())
    half = 4.303 * differences.std(ddof=1) / math.sqrt(3)
    assert half > differences.mean() > half / 2
    assert (one.verdict, one.why) == ("not clear", "the interval of the mean difference over 3 seeds includes 0")
    assert {(place.run, place.value) for place in one.higher} == set(enumerate(values["top"]))
    # A seed that only one side has does not count.
    (other,) = found(tmp_path / "more", claim(units=["seed"]), *runs, ([row("top", 0.9)], {"seed": 3}))
    assert len(other.higher) == 3
    (single,) = found(tmp_path / "one", claim(units=["seed"]), *runs[:4])
    assert [place.value for place in (*single.higher, *single.lower)] == [0.5, 0.4]
    assert single.verdict == "yes, but no interval"


def test_equal_differences_have_no_spread(tmp_path):
    rows = [row(keep, value, seed=seed) for seed in (0, 1) for keep, value in (("top", 0.75), ("all", 0.5))]
    assert found(tmp_path, claim(units=["seed"]), (rows, {}))[0].verdict == "yes"


@pytest.mark.parametrize(("value", "n"), [(1.5, 10), (0.5, 0), (0.5, "many"), (0.5, None)])
def test_what_is_no_share_has_no_interval(value, n, tmp_path):
    (one,) = found(tmp_path, claim(share_of="n"), ([row("top", value, n=n), row("all", 0.3, n=n)], {}))
    assert one.verdict == "yes, but no interval"


def test_several_rows_are_compared_with_a_single_one(tmp_path):
    people = [row("person", value, observer=f"subject-{index}") for index, value in enumerate((0.9, 0.95, 0.99))]
    higher = Side("people", "shape_bias", {"observer": "subject-*"})
    lower = Side("net", "shape_bias", {"observer": "net"})
    rows = [*people, row("all", 0.3, observer="net")]
    (one,) = found(tmp_path, claim(higher=higher, lower=lower, units=["observer"]), (rows, {}))
    assert len(one.higher) == 3
    assert [place.value for place in one.lower] == [0.3]
    assert one.verdict == "yes"
    assert "over 3 people" in one.why


def test_only_what_is_alike_is_compared(tmp_path):
    rows = [row("top", 0.5, model="a"), row("all", 0.3, model="b"), row("top", None, model="b")]
    assert found(tmp_path, claim(), (rows, {})) == []
    settings = {"data": {"path": "somewhere/cifar10"}}
    (one,) = found(tmp_path / "settings", claim(alike=["data.path"]), ([*rows, row("all", 0.2, model="a")], settings))
    assert one.what == "cifar10"
    # Of several rows of a kind, the first.
    assert one.lower[0].value == 0.3


def test_claims_are_whole():
    assert len({one.text for one in claims()}) == len(claims()) > 15
    for one in claims():
        assert section_of(one.job) is not OTHERS
        script, *words = one.job.split()
        job = console.SCRIPTS[script].JOBS
        for word in words:
            job = job[word]
        for case in one.cases:
            assert case.higher.label != case.lower.label
            assert (case.higher.at, case.higher.entry) != (case.lower.at, case.lower.entry)


def test_the_page_opens_with_what_holds(tmp_path):
    rows = [
        {"observer": f"net_{keep}", "model": "net", "fraction": fraction, "keep": keep, "n": 614, "shape_bias": value}
        | {"shape_bias_ci95": [value - 0.05, value + 0.05], "cue_accuracy": accuracy}
        for fraction, keep, value, accuracy in ((1.0, "all", 0.25, 0.5), (0.2, "top", 0.5, 0.25))
    ]
    folder = write_run(tmp_path / "run", JOB, rows)
    report(ReportConfig(runs=(str(folder),), out=str(tmp_path / "out")))
    page = Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    check_page(page, [folder])
    words = " ".join(page.text.split())
    assert "decides more by shape. Li et al. 2023, Section 4.2 net, n = 614 20 % kept 0.5 (0.45 to 0.55)" in words
    assert words.count("yes the intervals do not overlap") == 2
    assert "claims that no run here measures" in words
    assert words.index("What holds") < words.index("Published numbers of")
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith("| net, n = 614 |"))
    assert line.endswith("kept: 0.5 (0.45 to 0.55) | all kept: 0.25 (0.2 to 0.3) | yes: the intervals do not overlap |")


def test_a_page_without_claims_has_no_such_section(tmp_path):
    folder = write_run(tmp_path / "run", "synthesize styles", [{"style": "dots"}])
    report(ReportConfig(runs=(str(folder),), out=str(tmp_path / "out")))
    assert "What holds" not in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
