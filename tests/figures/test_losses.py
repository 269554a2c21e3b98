"""Loss curves."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from sparseshape_jax.figures import losses


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    figures: list[Figure] = []
    save = losses.save

    def keep(figure: Figure, stem: Path) -> list[Path]:
        figures.append(figure)
        return save(figure, stem)

    monkeypatch.setattr(losses, "save", keep)
    return figures


def test_curves_are_the_best_so_far_relative_to_the_first(tmp_path, drawn):
    paths = losses.draw(tmp_path, {"falls": [8.0, 2.0, 4.0, 1.0], "_stays": [3.0, 6.0], "none": []})
    assert [path.name for path in paths] == ["losses.png", "losses.pdf"]
    assert all(path.is_file() for path in paths)
    (axes,) = drawn[0].axes
    falls, stays = axes.lines
    np.testing.assert_allclose(falls.get_xdata(), [1, 2, 3, 4])
    np.testing.assert_allclose(falls.get_ydata(), [1, 0.25, 0.25, 0.125])
    np.testing.assert_allclose(stays.get_ydata(), [1, 1])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["falls", "stays"]
    assert axes.get_yscale() == "log"


def test_the_axis_has_powers_of_ten_and_the_legend_names_as_they_are(tmp_path, drawn):
    losses.draw(tmp_path, {"costs_$5_or_$6": [1.0, 1e-3]})
    (axes,) = drawn[0].axes
    texts = [*axes.get_yticklabels(), *axes.get_legend().get_texts()]
    shown = [text._preprocess_math(text.get_text()) for text in texts]
    assert (r"$\mathdefault{10^{-2}}$", True) in shown
    assert shown[-1] == ("costs_$5_or_$6", False)


def test_many_curves_have_no_legend(tmp_path, drawn):
    losses.draw(tmp_path, {str(index): [2.0, 1.0] for index in range(losses.NAMED + 1)})
    assert drawn[0].axes[0].get_legend() is None


def test_nothing_to_draw(tmp_path, drawn):
    assert len(losses.draw(tmp_path, {"failed": []})) == 2
