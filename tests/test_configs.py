"""The presets in configs/: each is understood by its job, and says what it is for."""

import re
import runpy
from functools import partial
from importlib import import_module
from pathlib import Path

import jax
import numpy as np
import pytest
import yaml
from flax import nnx

from sparseshape_jax import models
from sparseshape_jax.classification.config import Classification
from sparseshape_jax.cli import main
from sparseshape_jax.placement import PRESETS, place
from sparseshape_jax.training.config import Classifier
from sparseshape_jax.training.network import options
from sparseshape_jax.weights.catalogue import CATALOGUE

ROOT = Path(__file__).parents[1]
PRESET_FILES = sorted((ROOT / "configs").glob("*/*.yaml"))
JOBS = {
    name: job
    for script in ("evaluate.py", "synthesize.py", "train.py")
    for name, job in runpy.run_path(str(ROOT / script))["JOBS"].items()
}


def settings(path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """What the job is given by `--config path`."""
    job = path.parent.name.replace("_", "-")
    module, _, function = JOBS[job].function.partition(":")
    received: list[object] = []
    monkeypatch.setattr(import_module(module), function, received.append)
    assert main("", JOBS, [job, "--config", str(path)]) == 0
    return received[0]


@pytest.mark.parametrize("path", PRESET_FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_preset_is_understood(path, monkeypatch):
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    received = settings(path, monkeypatch)
    assert given, "a preset that sets nothing"
    for name in given:
        assert hasattr(received, name)
    if isinstance(received, Classification):
        entry = CATALOGUE[received.model]
        network = nnx.eval_shape(lambda: models.build(entry.architecture, rngs=nnx.Rngs(0)))
        assert received.topk.after == PRESETS[entry.architecture]
        for (spec,) in received.sparsities():
            assert set(place(spec, network)) == (set() if spec.is_identity else set(spec.after))
    if isinstance(received, Classifier):
        build = partial(models.build, received.model, **options(received, 10))
        network = nnx.eval_shape(lambda: build(rngs=nnx.Rngs(0)))
        expected = {name for spec in received.top_ks if not spec.is_identity for name in spec.after}
        assert set(place(received.top_ks, network)) == expected
        side = received.data.image_size
        pixels = jax.ShapeDtypeStruct((2, side, side, 3), np.float32)
        logits = nnx.eval_shape(lambda network, pixels: network(pixels), network, pixels)
        assert logits.shape == (2, 10)
        assert received.init_from is None or CATALOGUE[received.init_from].architecture == received.model


@pytest.mark.parametrize("path", PRESET_FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_preset_opens_with_command_hardware_and_result(path):
    comments = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        comments.append(line)
    text = "\n".join(comments)
    command = re.search(r"# Command: +python (\S+\.py) (\S+) --config (\S+)", text)
    assert command, text
    script, job, config = command.groups()
    assert (ROOT / script).is_file()
    assert job == path.parent.name.replace("_", "-")
    assert ROOT / config == path
    assert re.search("# Hardware: .", text)
    assert re.search("# Result: .", text)


def test_there_are_presets():
    names = {path.stem for path in PRESET_FILES}
    assert {"alexnet_paper", "rest", "squeezenet", "vgg16_paper"} <= names
    assert {"cifar10_resnet18", "cifar10_resnet18_topk20", "imagenet_resnet50_topk", "sin_resnet50", "tiny"} <= names
    for kind in ("", "_topk20", "_topk20_mean"):
        assert {f"in_s1_resnet18{kind}_code_spec", f"in_s1_resnet18{kind}_paper_spec"} <= names
