"""What training writes as it goes."""

import json
import sys

import pytest
from support.packages import require_package

from sparseshape_jax.errors import InputError
from sparseshape_jax.training.log import Log

ROWS = [
    {"kind": "train", "epoch": 1, "step": 7, "loss": 1.5, "keep": [0.6]},
    {"kind": "eval", "epoch": 1, "step": 7, "set": "val", "n": 9, "loss": 1.25, "top1": 0.5, "top5": None},
    {"kind": "train", "epoch": 2, "step": 14, "loss": 0.5, "keep": [0.2, 0.1]},
]


def test_rows_after_the_step_are_dropped_and_lines_that_are_cut_short(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS) + '{"kind": "tra')
    assert Log(tmp_path, 14).rows == ROWS
    log = Log(tmp_path, 7)
    assert log.rows == ROWS[:2]
    log.add(ROWS[2:])
    assert [json.loads(line) for line in path.read_text().splitlines()] == ROWS


def test_tensorboard_gets_numbers_and_one_curve_for_each_entry_of_a_list(tmp_path):
    require_package("tensorboardX")
    log = Log(tmp_path, 0, tensorboard=True)
    points = []
    log._events.add_scalar = lambda tag, value, step: points.append((tag, value, step))
    log.add(ROWS)
    log.close()
    assert points == [
        ("loss/train", 1.5, 7),
        ("keep/train", 0.6, 7),
        ("loss/val", 1.25, 7),
        ("top1/val", 0.5, 7),
        ("loss/train", 0.5, 14),
        ("keep/train/1", 0.2, 14),
        ("keep/train/2", 0.1, 14),
    ]


def test_tensorboard_without_its_package_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(InputError, match="pip install"):
        Log(tmp_path, 0, tensorboard=True)
