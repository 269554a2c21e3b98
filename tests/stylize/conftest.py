"""A run of `synthesize.py stylize` with a stylizer that has no weights."""

import pytest
from PIL import Image
from support.commands import command
from support.images import noise
from support.toy_stylizer import Toy

from sparseshape_jax.stylize import job

SIZES = ((20, 30), (20, 30), (24, 16), (20, 30), (12, 12))


@pytest.fixture
def _toy(monkeypatch):
    monkeypatch.setattr(job, "load_stylizer", lambda *_, **__: Toy())


@pytest.fixture
def _no_sheet(monkeypatch):
    """Drawing takes longer than all the rest."""
    monkeypatch.setattr(job, "draw_sheet", lambda *_: [])


@pytest.fixture
def run(capsys):
    return command("synthesize.py", capsys)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    for number, size in enumerate(SIZES):
        path = folder / "ab"[number % 2] / f"{number}.{('png', 'BMP')[number % 2]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(*size, seed=number)).save(path)
    return folder


@pytest.fixture
def styles(tmp_path):
    folder = tmp_path / "styles"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(noise(16, 20, seed=10 + number)).save(folder / f"s{number}.png")
    return folder
