"""Results on disk: whole or not at all, and readable again."""

import csv
import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sparseshape_jax import output
from sparseshape_jax.errors import InputError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_is_made_with_its_parents_and_left_empty(tmp_path):
    folder = output.prepare_folder(str(tmp_path / "a" / "b"))
    assert folder == tmp_path / "a" / "b"
    assert names(folder) == []
    assert output.prepare_folder(folder) == folder


@pytest.mark.parametrize("inside", ["", "folder"])
def test_a_file_in_the_folders_place(tmp_path, inside):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(InputError, match=r"cannot write to the output folder .*file.*--out"):
        output.prepare_folder(tmp_path / "file" / inside)
    assert (tmp_path / "file").read_text() == "kept"


def test_a_file_appears_complete_under_its_name(tmp_path):
    path = tmp_path / "new" / "figure.png"
    with output.replacing(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == ".png"
        assert temporary.name.startswith(".")
        temporary.write_text("all")
        assert not path.exists()
    assert path.read_text() == "all"
    assert names(path.parent) == ["figure.png"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_write_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "x.json"
    output.write_json(path, "old")

    def stopped() -> None:
        with output.replacing(path) as temporary:
            temporary.write_text("ha")
            raise error

    with pytest.raises(error):
        stopped()
    assert output.read_json(path) == "old"
    assert names(tmp_path) == ["x.json"]


def test_a_full_disk_is_one_clear_line(tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(InputError, match=r"cannot write .*x\.json \(No space left on device\)"):
        output.write_json(tmp_path / "x.json", 1)
    assert names(tmp_path) == []


def test_a_file_where_a_folder_must_be(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        output.write_text(tmp_path / "file" / "x.txt", "x")


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_infinity=False, allow_nan=False) | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=10,
)


@given(value=plain)
def test_json_reads_back(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "x.json"
    output.write_json(path, value)
    assert output.read_json(path) == value


def test_json_has_no_nan(tmp_path):
    path = tmp_path / "x.json"
    output.write_json(path, {"a": math.nan, "b": (1.0, [math.nan])})
    assert json.loads(path.read_text(), parse_constant=pytest.fail) == {"a": None, "b": [1.0, [None]]}


def test_json_that_cannot_be_read_is_none(tmp_path):
    assert output.read_json(tmp_path / "x.json") is None
    (tmp_path / "x.json").write_text('{"half": ')
    assert output.read_json(tmp_path / "x.json") is None


def test_csv_has_the_columns_asked_for(tmp_path):
    path = tmp_path / "x.csv"
    output.write_csv(path, ("name", "n"), [{"n": 1, "name": "a, b", "other": 2}, {"name": "c", "n": 0.5}])
    assert path.read_bytes() == b'name,n\n"a, b",1\nc,0.5\n'
    with path.open(newline="") as file:
        assert [row["n"] for row in csv.DictReader(file)] == ["1", "0.5"]


class TestImages:
    def test_values_are_rounded_to_8_bits(self, tmp_path):
        image = np.linspace(0, 1, 4 * 5 * 3, dtype=np.float32).reshape(4, 5, 3)
        output.write_image(tmp_path / "new" / "x.png", image)
        assert names(tmp_path / "new") == ["x.png"]
        with Image.open(tmp_path / "new" / "x.png") as file:
            assert (file.mode, file.size) == ("RGB", (5, 4))
            np.testing.assert_array_equal(np.asarray(file), np.round(image * 255))

    def test_what_no_pixel_can_have_is_brought_into_range(self, tmp_path):
        row = np.array([math.nan, -0.5, 1.5, math.inf, -math.inf, 0.5])
        output.write_image(tmp_path / "x.png", row.reshape(1, 2, 3))
        with Image.open(tmp_path / "x.png") as file:
            assert np.asarray(file).ravel().tolist() == [0, 0, 255, 255, 0, 128]

    def test_a_failed_write_leaves_the_old_file(self, tmp_path, monkeypatch):
        output.write_image(tmp_path / "x.png", np.zeros((2, 2, 3)))
        before = (tmp_path / "x.png").read_bytes()

        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Image.Image, "save", full)
        with pytest.raises(InputError, match=r"cannot write .*x\.png \(No space left on device\)"):
            output.write_image(tmp_path / "x.png", np.ones((2, 2, 3)))
        assert (tmp_path / "x.png").read_bytes() == before
        assert names(tmp_path) == ["x.png"]


@dataclass(frozen=True)
class Inner:
    fraction: float = 0.2
    after: tuple[str, ...] | None = ("pool1",)


@dataclass(frozen=True)
class Outer:
    path: Path = Path("a") / "b"
    several: tuple[float | Inner, ...] = (1.0, Inner())
    by_name: dict[str, Inner] = field(default_factory=lambda: {"x": Inner(after=None)})
    none: str | None = None
    name: str = "ünïcode: 'quoted'"


def test_a_configuration_is_plain_yaml_in_the_order_of_its_fields(tmp_path):
    output.write_config(tmp_path / "config.yaml", Outer())
    config = yaml.safe_load((tmp_path / "config.yaml").read_text(encoding="utf-8"))
    assert list(config) == ["path", "several", "by_name", "none", "name"]
    assert config == {
        "path": str(Path("a") / "b"),
        "several": [1.0, {"fraction": 0.2, "after": ["pool1"]}],
        "by_name": {"x": {"fraction": 0.2, "after": None}},
        "none": None,
        "name": "ünïcode: 'quoted'",
    }


def test_only_leftovers_of_processes_that_ended_are_removed(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / "a").mkdir()
    made = (f"a/.x.{ended.pid}.partial.png", f"a/.x.{os.getpid()}.partial.png", ".hidden.png", "x.1.png")
    for name in made:
        (tmp_path / name).touch()
    output.remove_leftovers(tmp_path)
    assert [name for name in made if (tmp_path / name).exists()] == list(made[1:])
