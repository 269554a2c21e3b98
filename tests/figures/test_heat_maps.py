"""The heat maps of a sweep, of numbers that are made up."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from sparseshape_jax.figures import heat_maps


@pytest.fixture
def drawn(monkeypatch) -> Callable[[list[dict]], dict[str, Figure]]:
    def draw(rows: list[dict]) -> dict[str, Figure]:
        kept: dict[str, Figure] = {}

        def keep(figure: Figure, stem: Path) -> list[Path]:
            figure.draw_without_rendering()
            kept[stem.name] = figure
            return []

        monkeypatch.setattr(heat_maps, "save", keep)
        heat_maps.draw(Path("unused"), rows, "net_$1")
        return kept

    return draw


def texts(figure: Figure, panel: int = 0) -> list[str]:
    return [text.get_text() for text in figure.axes[panel].texts]


def ticks(figure: Figure) -> tuple[list[str], list[str]]:
    axes = figure.axes[0]
    return [text.get_text() for text in axes.get_xticklabels()], [text.get_text() for text in axes.get_yticklabels()]


def frames(figure: Figure) -> list[tuple[float, float]]:
    return [patch.get_xy() for patch in figure.axes[0].patches if not patch.get_fill()]


def made_up(placement: str, fraction: float, top1: float, **by_class: float) -> dict:
    return {"placement": placement, "fraction": fraction, "n": 9, "top1": top1, "top5": None, "per_class": by_class}


def test_numbers_stand_in_their_cells(drawn):
    rows = [made_up("dense", 1, 0.9, x=1.0, y=0.0, z=0.5)]
    rows += [made_up("pool1", 0.1, 0.25, x=0.3, y=0.0, z=0.5), made_up("pool1", 0.5, 0.5, x=0.0, y=0.0, z=0.0)]
    rows += [made_up("pool1+b", 0.1, 0.125, x=0.2, y=0.0, z=0.6), made_up("pool1+b", 0.5, 0.996, x=0.4, y=0.0, z=0.7)]
    figures = drawn(rows)
    assert set(figures) == {"accuracy", "accuracy-by-class"}
    assert texts(figures["accuracy"]) == [".90", ".50", ".25", ".90", "1.00", ".12"]
    assert ticks(figures["accuracy"]) == (["dense", "50", "10"], ["pool1", "pool1 + b"])
    by_class = figures["accuracy-by-class"]
    # Nobody ever recognized y; x is best without Top-K, z with it.
    assert ticks(by_class)[1] == ["y", "x", "z"]
    assert texts(by_class) == [".00", ".00", ".00", "1.00", ".40", ".20", ".50", ".70", ".60"]
    assert frames(by_class) == [(0, 1), (1 + heat_maps.GAP, 2)]


def test_few_decisions_are_nobodys_best(drawn):
    def row(placement: str, fraction: float, **by_category: tuple[int, int]) -> dict:
        counts = {
            name: {"n": 40, "shape": shape, "texture": texture, "shape_bias": shape / (shape + texture or math.nan)}
            for name, (shape, texture) in by_category.items()
        }
        return {
            "placement": placement,
            "fraction": fraction,
            "n_stimuli": 80,
            "shape_bias": 0.5,
            "cue_accuracy": 0.25,
            "by_category": counts | {"cat": {"n": 0, "shape": 0, "texture": 0, "shape_bias": None}},
        }

    rows = [row("dense", 1, bear=(4, 16), dog=(0, 0)), row("a", 0.2, bear=(9, 0), dog=(9, 3))]
    figures = drawn([*rows, row("a", 0.1, bear=(6, 6), dog=(10, 0))])
    assert set(figures) == {"shape-bias", "shape-bias-by-category"}
    assert texts(figures["shape-bias"], 1) == [".25"] * 3
    by_category = figures["shape-bias-by-category"]
    assert ticks(by_category)[1] == ["bear", "dog"]
    assert texts(by_category) == [".20", "20", "1.00", "9", ".50", "12", "–", "0", ".75", "12", "1.00", "10"]
    assert frames(by_category) == [(2 + heat_maps.GAP, 0), (2 + heat_maps.GAP, 1)]


def test_of_many_classes_those_are_drawn_that_change(drawn):
    names = [f"class{number}" for number in range(60)]
    dense = made_up("dense", 1, 0.5, **dict.fromkeys(names, 0.5))
    sparse = made_up("a", 0.2, 0.5, **{name: number / 120 for number, name in enumerate(names)})
    figure = drawn([dense, sparse])["accuracy-by-class"]
    assert set(ticks(figure)[1]) == set(names[: heat_maps.DRAWN])
    box = figure.get_tightbbox()
    assert min(box.x0, box.y0) >= 0
    assert box.x1 <= figure.get_figwidth()
    assert box.y1 <= figure.get_figheight()
