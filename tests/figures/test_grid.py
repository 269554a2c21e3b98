"""The grid of images."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from sparseshape_jax.figures import grid

RNG = np.random.default_rng(0)
WIDE, TALL = RNG.random((20, 40, 3)), RNG.integers(0, 256, (40, 20, 3), np.uint8)
TITLES = ["original", "texture\nall", "texture\n$5 %"]


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    figures: list[Figure] = []
    save = grid.save

    def keep(figure: Figure, stem: Path) -> list[Path]:
        figures.append(figure)
        return save(figure, stem)

    monkeypatch.setattr(grid, "save", keep)
    return figures


def test_a_row_of_images_under_their_titles(tmp_path, drawn):
    paths = grid.draw(tmp_path / "figures", [[WIDE, WIDE / 2, 1 - WIDE], [TALL, TALL // 2, 255 - TALL]], TITLES)
    assert paths == [tmp_path / "figures" / "figure.png", tmp_path / "figures" / "figure.pdf"]
    (figure,) = drawn
    assert [axis.get_title() for axis in figure.axes] == [*TITLES, "", "", ""]
    np.testing.assert_array_equal(figure.axes[2].images[0].get_array(), 1 - WIDE)
    np.testing.assert_array_equal(figure.axes[4].images[0].get_array(), TALL // 2)
    assert not any(axis.get_xticks().size or axis.get_yticks().size for axis in figure.axes)


def test_the_same_images_give_the_same_files(tmp_path):
    one, other = (grid.draw(tmp_path / name, [[WIDE, WIDE, WIDE]], TITLES) for name in ("one", "other"))
    for path, again in zip(one, other, strict=True):
        assert path.read_bytes() == again.read_bytes()
    with Image.open(one[0]) as image:
        assert image.width > 2 * image.height
