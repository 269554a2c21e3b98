"""evaluate.py fid with generators: runs, their files, and .pth of the authors' code."""

import numpy as np
import pytest
from support.commands import command, log_of, refused, rows

DISTANCE = "vgg16-fid@64"
WARNINGS = ("fewer than 2,048", "do not compare", "takes KID subsets")
pytestmark = [
    pytest.mark.slow,  # an iteration takes minutes to compile
    pytest.mark.timeout(1800),
    *(pytest.mark.filterwarnings(f"always:.*{text}:UserWarning") for text in WARNINGS),
]


@pytest.fixture
def evaluate(capsys):
    return command("evaluate.py", capsys)


def test_a_run_is_measured_as_in_training(trained, evaluate, pictures, tmp_path):
    measured = [row[DISTANCE] for row in log_of(trained) if row["kind"] == "eval"]
    given = ("--real", pictures, "--features", "vgg16", "--count", "10", "--out")
    for fake, value in ((trained, min(measured[1:])), (trained / "last.safetensors", measured[-1])):
        done = evaluate("fid", "--fake", fake, *given, tmp_path / fake.name)
        assert done.status == 0, done.err
        (row,) = (row for row in rows(tmp_path / fake.name) if row["distance"] == DISTANCE)
        assert row["value"] == pytest.approx(value, rel=1e-4)
        assert (row["n_fake"], row["size"], row["seed"]) == (10, 64, 0)


def test_the_papers_protocol_samples_in_batches_three_times(trained, evaluate, pictures, tmp_path):
    given = ("--real", pictures, "--features", "vgg16", "--count", "19", "--protocol", "paper")
    done = evaluate("fid", "--fake", trained, *given, "--out", tmp_path / "out")
    assert done.status == 0, done.err
    row = rows(tmp_path / "out")[0]
    assert row["n_fake"] == 16
    assert len(set(row["repeats"])) == 3
    assert row["value"] == min(row["repeats"])
    assert row["mean"] == pytest.approx(np.mean(row["repeats"]))


def test_bad_input_is_refused_in_one_line(trained, evaluate, pictures, tmp_path):
    out = tmp_path / "out"

    def run(*more):
        return evaluate("fid", "--real", pictures, "--features", "vgg16", "--out", out, *more)

    refused(run("--fake", "nowhere"), "there is no folder nowhere", out)
    refused(run("--fake", trained, "--size", "128"), "makes images of 64 pixels, and --size is 128", out)
    refused(run("--fake", trained, "--count", "1"), "count is 1", out)
    refused(run("--fake", trained, "--sparsity", "x"), "is not a Top-K placement", out)


@pytest.mark.slow
def test_the_authors_file_is_a_source(reference_data, evaluate, pictures, tmp_path):
    golden = reference_data / "goldens" / "few-shot" / "train_results" / "topk" / "models"
    given = ("--real", pictures, "--features", "vgg16", "--count", "8", "--standing_batches", "1")
    done = evaluate("fid", "--fake", next(golden.glob("*.pth")), *given, "--out", tmp_path / "out")
    assert done.status == 0, done.err
    assert [row["distance"] for row in rows(tmp_path / "out")] == ["vgg16-fid@128", "vgg16-kid@128"]
