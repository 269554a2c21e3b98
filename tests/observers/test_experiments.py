"""The table of the published sets, against the benchmark's own conditions and the published records."""

import csv
import io
import json
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from sparseshape_jax.observers.experiments import (
    NONPARAMETRIC,
    PARAMETRIC,
    PUBLISHED_SETS,
    excluded_conditions,
    normalize_condition,
)


def test_there_are_17_sets_of_which_12_are_parametric() -> None:
    assert len(PUBLISHED_SETS) == 17
    assert len(PARAMETRIC) == 12
    assert set(PUBLISHED_SETS) == {*PARAMETRIC, *NONPARAMETRIC, "cue-conflict"}
    assert all(name == each.name for name, each in PUBLISHED_SETS.items())


@pytest.mark.parametrize("name", PUBLISHED_SETS)
def test_each_row_is_complete(name: str) -> None:
    row = PUBLISHED_SETS[name]
    assert len(row.labels) == len(row.conditions) == len(set(row.conditions))
    assert set(row.excluded) < set(row.conditions)
    assert {*row.kept, *row.excluded} == {*row.conditions}
    assert (row.code is not None) == (row.layout == "B")
    if row.parametric:
        assert row.axis
        assert row.conditions[0] in row.excluded or name.startswith("eidolon")
    else:
        assert row.conditions == row.kept == ("0",)
    # Every category has as many images in every condition.
    assert row.images % (16 * len(row.conditions)) == 0


@pytest.mark.parametrize(
    ("spelled", "normal"),
    [("0.60", "0.6"), ("0.0", "0"), ("3.0", "3"), ("True", "true"), ("c05", "c05"), ("inf", "inf"), (None, None)],
)
def test_conditions_have_one_spelling(spelled: str | None, normal: str | None) -> None:
    assert normalize_condition(spelled) == normal


def test_excluded_conditions_are_normalized() -> None:
    assert excluded_conditions("uniform-noise") == {"0", "0.6", "0.9"}
    assert excluded_conditions("eidolonII") == {"1-3-10", "32-3-10", "64-3-10", "128-3-10"}
    assert excluded_conditions("sketch") == frozenset()
    assert excluded_conditions("my own") == frozenset()


def test_conditions_are_those_of_the_benchmark(reference_data: Path) -> None:
    reference = json.loads((reference_data / "goldens" / "ood" / "benchmark_reference.json").read_text())
    assert reference["datasets"].keys() == PUBLISHED_SETS.keys()
    for name, row in PUBLISHED_SETS.items():
        for ours, theirs in ((row.conditions, "all_conditions"), (row.kept, "kept_conditions")):
            expected = reference["datasets"][name][theirs]
            if expected == ["None"]:
                expected = ["0"]
            assert list(map(normalize_condition, ours)) == list(map(normalize_condition, expected))


def test_rows_describe_the_published_records(reference_data: Path) -> None:
    humans: Counter[str] = Counter()
    stimuli: dict[str, list[str]] = {}
    with tarfile.open(reference_data / "data" / "ood-records" / "records-17-sets.tar.xz") as archive:
        for member in archive:
            name = member.name.split("/")[0]
            humans[name] += "_subject-" in member.name
            if "_resnet50_" in member.name:
                file = archive.extractfile(member)
                assert file is not None
                stimuli[name] = [row["imagename"] for row in csv.DictReader(io.TextIOWrapper(file))]
    assert humans == {name: row.humans for name, row in PUBLISHED_SETS.items()}
    for name, row in PUBLISHED_SETS.items():
        assert len(stimuli[name]) == row.images
        if row.layout == "B":
            fields = [image.split("_") for image in stimuli[name]]
            assert {each[1] for each in fields} == {row.code}
            assert Counter(each[3] for each in fields) == dict.fromkeys(
                row.conditions, row.images // len(row.conditions)
            )
