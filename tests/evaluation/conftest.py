"""What the tests of evaluate.py share: an empty place, stimuli, a network with random weights, and who sees what."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.commands import command
from support.networks import random_network
from support.painted import PAINTED, PAIRS, paint
from support.small_network import SMALL

from sparseshape_jax.evaluation.classifiers import Classifier
from sparseshape_jax.figures import heat_maps, shape_bias
from sparseshape_jax.models import registry
from sparseshape_jax.preprocessing import Preprocessing
from sparseshape_jax.weights.assign import save_safetensors


@pytest.fixture
def own_place(tmp_path, monkeypatch) -> Iterator[None]:
    """Run in an empty folder with an empty cache; models in it can be imported, and are forgotten afterwards."""
    monkeypatch.setenv("SPARSESHAPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "painted.py").write_text(PAINTED)
    yield
    sys.modules.pop("painted", None)


@pytest.fixture
def evaluate(capsys, own_place) -> Callable[..., SimpleNamespace]:
    return command("evaluate.py", capsys)


@pytest.fixture
def stimuli(tmp_path) -> Path:
    paint(tmp_path / "stimuli", PAIRS)
    return tmp_path / "stimuli"


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A file with random weights of SqueezeNet, for small images."""
    path = tmp_path_factory.mktemp("weights") / "squeezenet.safetensors"
    save_safetensors(random_network("squeezenet1_1"), path, preprocessing=Preprocessing(resize=64, crop=64))
    return path


@pytest.fixture
def small_network(monkeypatch) -> None:
    """The architecture "small"."""
    monkeypatch.setitem(registry._ARCHITECTURES, "small", SMALL)


@pytest.fixture
def without_figures(monkeypatch) -> None:
    """Drawing takes longer than all the rest of a small run."""
    for figures in (shape_bias, heat_maps):
        monkeypatch.setattr(figures, "draw", lambda *_: [])


@pytest.fixture
def shown(monkeypatch, without_figures) -> list[float]:
    """Grows by the fraction whenever a batch is shown to a network."""
    fractions: list[float] = []
    logits = Classifier.logits

    def counted(self: Classifier, images: np.ndarray) -> np.ndarray:
        fractions.append(self.spec.fraction)
        return logits(self, images)

    monkeypatch.setattr(Classifier, "logits", counted)
    return fractions
