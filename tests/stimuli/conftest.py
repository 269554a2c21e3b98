"""What the tests of stimuli share: images in memory and on disk, and a list of sets that a test may add to."""

from pathlib import Path

import pytest
from PIL import Image
from support.images import noise

from sparseshape_jax.stimuli import sets


@pytest.fixture
def images(tmp_path) -> Path:
    """A folder of four images at different depths."""
    for seed, name in enumerate(("cat/a.png", "cat/b.bmp", "dog/deeper/a.png", "c.png")):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(10, 13, seed)).save(tmp_path / "images" / name)
    return tmp_path / "images"


@pytest.fixture
def own_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets registered in the test are forgotten after it."""
    monkeypatch.setattr(sets, "_SETS", dict(sets._SETS))
