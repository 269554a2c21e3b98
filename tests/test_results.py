"""The result folder: which rows it holds after several runs, what it says of them, and what is never written."""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.commands import files, results, rows, table

from sparseshape_jax import results as module
from sparseshape_jax.errors import InputError
from sparseshape_jax.results import Results, fingerprint, read_results, single_values, software


@dataclass(frozen=True)
class Config:
    data: str = "images"
    fractions: tuple[float, ...] = (1.0, 0.2)


def start(out: Path, config: Any = Config()) -> Results:
    return Results(out, "test job", config, identity=("model", "fraction"))


def row(model: str, fraction: float | None = None, **more: Any) -> dict[str, Any]:
    return {"model": model, "fraction": fraction, **more}


def models(out: Path) -> list[str]:
    return [each["model"] for each in rows(out)]


class TestRows:
    def test_of_one_run(self, tmp_path):
        run = start(tmp_path)
        assert run.add(row("a", 0.2, top1=0.5, per_class={"cat": 1}), "print") == {
            **row("a", 0.2, top1=0.5, per_class={"cat": 1}),
            "fingerprint": "print",
        }
        run.add(row("b", top1=0.75, note="x"), None)
        made = run.finish()
        found = results(tmp_path)
        assert list(found) == ["job", "software", "hardware", "settings", "rows", "figures", "skipped"]
        assert found["job"] == "test job"
        assert found["software"] == software()
        assert found["settings"] == {"data": "images", "fractions": [1.0, 0.2]}
        assert found["rows"] == made
        assert [each["fingerprint"] for each in found["rows"]] == ["print", None]
        assert found["figures"] == found["skipped"] == []
        assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == found["settings"]
        assert table(tmp_path / "summary.csv") == [
            {"model": "a", "fraction": "0.2", "top1": "0.5", "note": ""},
            {"model": "b", "fraction": "", "top1": "0.75", "note": "x"},
        ]

    def test_a_row_takes_the_place_of_one_of_the_same_identity(self, tmp_path):
        run = start(tmp_path)
        for model, fraction, top1 in (("a", 0.2, 1), ("a", 0.1, 2), ("a", 0.2, 3), ("b", 0.2, 4), ("a", None, 5)):
            run.add(row(model, fraction, top1=top1), None)
        run.finish()
        assert sorted(each["top1"] for each in rows(tmp_path)) == [2, 3, 4, 5]
        run = start(tmp_path)
        run.add(row("a", 0.1, top1=6), None)
        run.finish()
        assert sorted(each["top1"] for each in rows(tmp_path)) == [3, 4, 5, 6]

    def test_identity_may_be_nested(self, tmp_path):
        for fraction in ([0.1, 0.2], [0.2, 0.1], [0.1, 0.2]):
            run = start(tmp_path)
            run.add({"model": "a", "fraction": fraction}, None)
            run.finish()
        assert [each["fraction"] for each in rows(tmp_path)] == [[0.1, 0.2], [0.2, 0.1]]

    def test_others_are_kept_over_runs_and_come_last(self, tmp_path):
        for model in ("a", "b", "c", "a"):
            run = start(tmp_path)
            run.add(row(model), None)
            assert [each["model"] for each in run.finish()] == [model]
        assert models(tmp_path) == ["a", "c", "b"]
        assert [line["model"] for line in table(tmp_path / "summary.csv")] == ["a", "c", "b"]

    def test_are_saved_one_by_one(self, tmp_path):
        """A killed run has the rows that it added, and those of others."""
        start(tmp_path).add(row("a"), None)
        run = start(tmp_path, Config(data="others"))
        run.add(row("b"), None)
        assert models(tmp_path) == ["a", "b"]
        assert results(tmp_path)["settings"]["data"] == "others"
        run.add(row("c"), None)
        assert models(tmp_path) == ["a", "b", "c"]
        assert [each["model"] for each in start(tmp_path).rows] == ["a", "b", "c"]

    def test_made_together_are_saved_together(self, tmp_path):
        run = start(tmp_path)
        made = run.add_all([(row("a"), "1"), (row("b"), None)])
        assert (
            made == rows(tmp_path) == run.asked == [{**row("a"), "fingerprint": "1"}, {**row("b"), "fingerprint": None}]
        )

    def test_may_be_left_out_again(self, tmp_path):
        run = start(tmp_path)
        run.add_all([(row("a"), "1"), (row("b"), "2")])
        run.forget(row("a", top1=3))
        run.forget(row("never there"))
        assert [each["model"] for each in run.finish()] == ["b"]
        assert models(tmp_path) == ["b"]


class TestDone:
    def test_finds_what_an_earlier_run_made(self, tmp_path):
        start(tmp_path).add(row("a", top1=0.5), "1")
        run = start(tmp_path)
        assert run.done("2") is None
        assert run.done("1") == row("a", top1=0.5, fingerprint="1")

    def test_never_finds_rows_of_which_nothing_can_be_said(self, tmp_path):
        start(tmp_path).add(row("a"), None)
        assert start(tmp_path).done(None) is None

    def test_does_not_find_a_row_that_was_replaced(self, tmp_path):
        start(tmp_path).add(row("a"), "1")
        start(tmp_path).add(row("a"), "2")
        run = start(tmp_path)
        assert run.done("1") is None
        assert run.done("2") is not None

    def test_rows_come_in_the_order_in_which_they_are_asked_for(self, tmp_path):
        run = start(tmp_path)
        for model in ("a", "b", "c", "d"):
            run.add(row(model), f"of {model}")
        run.finish()
        run = start(tmp_path)
        run.done("of d")
        run.add(row("e"), "of e")
        run.done("of b")
        assert [each["model"] for each in run.asked] == ["d", "e", "b"]
        assert [each["model"] for each in run.finish()] == ["d", "e", "b"]
        assert models(tmp_path) == ["d", "e", "b", "a", "c"]

    def test_asked_for_again_a_row_is_the_last(self, tmp_path):
        run = start(tmp_path)
        run.add(row("a"), "1")
        run.add(row("b"), "2")
        run.done("1")
        assert [each["model"] for each in run.finish()] == ["b", "a"]

    def test_a_rerun_changes_nothing(self, tmp_path):
        def run() -> dict[str, bytes]:
            opened = start(tmp_path)
            for model, value in (("a", 0.5), ("b", math.nan)):
                if not opened.done(f"of {model}"):
                    opened.add(row(model, top1=value), f"of {model}")
            opened.finish(skipped=["x.png"])
            return {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}

        first = run()
        assert run() == first
        assert set(first) == {"config.yaml", "results.json", "summary.csv"}


class TestFigures:
    def draw(self, run: Results, *names: str) -> list[Path]:
        run.figures.mkdir(exist_ok=True)
        for name in names:
            (run.figures / name).write_text(name)
        return [run.figures / name for name in names]

    def test_are_listed_with_their_place_in_the_folder(self, tmp_path):
        run = start(tmp_path)
        run.finish(self.draw(run, "a.png", "a.pdf"), skipped=["b.png", "c.png"])
        assert results(tmp_path)["figures"] == ["figures/a.png", "figures/a.pdf"]
        assert results(tmp_path)["skipped"] == ["b.png", "c.png"]

    def test_that_are_no_longer_drawn_are_deleted(self, tmp_path):
        run = start(tmp_path)
        run.finish(self.draw(run, "a.png", "b.png"))
        (tmp_path / "figures" / "mine.png").touch()
        run = start(tmp_path)
        run.add(row("a"), None)
        assert results(tmp_path)["figures"] == ["figures/a.png", "figures/b.png"]  # they are still there
        run.finish(self.draw(run, "b.png", "c.png"))
        assert files(tmp_path / "figures") == {"b.png", "c.png", "mine.png"}
        assert results(tmp_path)["figures"] == ["figures/b.png", "figures/c.png"]
        run = start(tmp_path)
        (tmp_path / "figures" / "c.png").unlink()
        run.finish()
        assert files(tmp_path / "figures") == {"mine.png"}

    @pytest.mark.parametrize("name", ["../precious.png", "{folder}/precious.png"])
    def test_nothing_outside_the_folder_is_deleted(self, tmp_path, name):
        (tmp_path / "precious.png").touch()
        out = tmp_path / "out"
        out.mkdir()
        (out / "results.json").write_text(json.dumps({"rows": [], "figures": [name.format(folder=tmp_path)]}))
        start(out).finish()
        assert (tmp_path / "precious.png").exists()
        assert results(out)["figures"] == []


class TestTable:
    def test_may_have_columns_of_its_own(self, tmp_path):
        run = start(tmp_path)
        run.add(row("a", interval=[0.25, 0.75]), "1")
        run.add(row("b", interval=[0.5, 1.0]), "2")
        run.finish(flat=lambda each: {"who": each["model"], "low": each["interval"][0]})
        assert table(tmp_path / "summary.csv") == [{"who": "a", "low": "0.25"}, {"who": "b", "low": "0.5"}]

    def test_by_default_what_is_a_single_value(self):
        entries = {"a": 1, "b": "text", "c": None, "d": 0.5, "e": True}
        assert single_values({**entries, "list": [1], "pair": (1, 2), "map": {"x": 1}}) == entries


def test_nan_is_null_and_an_empty_field(tmp_path):
    run = start(tmp_path)
    made = run.add(row("a", bias=math.nan, interval=[math.nan, 1.0], by={"cat": math.nan}), "1")
    run.finish()
    assert math.isnan(made["bias"])
    (found,) = rows(tmp_path)  # fails on anything that is not JSON
    assert (found["bias"], found["interval"], found["by"]) == (None, [None, 1.0], {"cat": None})
    assert table(tmp_path / "summary.csv") == [{"model": "a", "fraction": "", "bias": ""}]


class TestFolder:
    def test_stays_empty_before_the_first_row(self, tmp_path):
        out = tmp_path / "new" / "out"
        run = start(out)
        assert run.done("1") is None
        assert run.rows == run.asked == []
        run.state_file("1")
        assert list(out.iterdir()) == []

    def test_of_an_earlier_run_is_not_touched_before_the_first_row(self, tmp_path):
        run = start(tmp_path)
        run.add(row("a"), "1")
        run.finish()
        before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
        start(tmp_path, Config(data="others")).done("1")
        assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before

    def test_that_cannot_be_written_to(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(InputError, match="cannot write to the output folder"):
            start(tmp_path / "file" / "out")

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"\xff\xfe",
            b"null",
            b"[]",
            b'"text"',
            b"{}",
            b'{"rows": null, "figures": 3}',
            b'{"rows": [1, null, "a"], "figures": [1, {}]}',
        ],
    )
    def test_damaged_results_count_as_none(self, tmp_path, content):
        (tmp_path / "results.json").write_bytes(content)
        found = read_results(tmp_path)
        assert found["rows"] == found["figures"] == []
        run = start(tmp_path)
        assert run.rows == []
        run.add(row("a"), "1")
        run.finish()
        assert models(tmp_path) == ["a"]

    def test_missing_results_count_as_none(self, tmp_path):
        assert read_results(tmp_path) == read_results(tmp_path / "none") == {"rows": [], "figures": []}


class TestFingerprint:
    def test_changes_with_any_fact(self):
        facts: list[Any] = [
            {"weights": "abc", "fraction": 0.2},
            {"weights": "abd", "fraction": 0.2},
            {"weights": "abc", "fraction": 0.1},
            {"weights": "abc", "fraction": 0.2, "seed": None},
            {"weights": "abc", "fraction": "0.2"},
            ["abc", 0.2],
            [],
            None,
        ]
        prints = [fingerprint(each) for each in facts]
        assert len(set(prints)) == len(facts)
        assert all(re.fullmatch("[0-9a-f]{64}", each) for each in prints)

    def test_does_not_change_with_the_order_of_entries(self):
        assert fingerprint({"a": 1, "b": {"c": 2, "d": 3}}) == fingerprint({"b": {"d": 3, "c": 2}, "a": 1})
        assert fingerprint([1, 2]) != fingerprint([2, 1])

    @pytest.mark.parametrize("package", ["sparseshape-jax", "jax", "flax"])
    def test_changes_with_the_versions_of_what_computes(self, monkeypatch, package):
        before, without = fingerprint(1), fingerprint(1, versions_of=())
        monkeypatch.setattr(module, "version", lambda name: "9.9.9" if name == package else before_version(name))
        assert fingerprint(1) != before
        assert fingerprint(1, versions_of=()) == without
        assert fingerprint(1, versions_of=(package,)) != fingerprint(1, versions_of=("numpy",))

    @pytest.mark.parametrize("package", ["numpy", "optax", "jaxlib"])
    def test_does_not_change_with_those_of_others(self, monkeypatch, package):
        before = fingerprint(1)
        monkeypatch.setattr(module, "version", lambda name: "9.9.9" if name == package else before_version(name))
        assert fingerprint(1) == before
        assert fingerprint(1, versions_of=(package,)) != before

    def test_without_an_installed_package(self, monkeypatch):
        def missing(name: str) -> str:
            raise module.PackageNotFoundError

        monkeypatch.setattr(module, "version", missing)
        assert set(software()) == {"python", *module.PACKAGES}
        assert software()["jax"] == "unknown"
        fingerprint(1)


before_version = module.version


class TestStateFile:
    def test_depends_on_what_is_under_way(self, tmp_path):
        run = start(tmp_path)
        files = {run.state_file("a"), run.state_file("b"), run.state_file("a", "b"), run.state_file(None)}
        assert len(files) == 4
        assert run.state_file("a", "b") == start(tmp_path, Config(data="others")).state_file("a", "b")

    def test_is_hidden_and_no_result(self, tmp_path):
        path = start(tmp_path).state_file("a")
        assert path.parent == tmp_path
        assert path.name.startswith(".state-")
        assert path.suffix == ".npz"
        path.touch()
        run = start(tmp_path)
        run.add(row("a"), "a")
        run.finish()
        assert path.exists()  # whoever completes the rows deletes it, and nobody else
