"""The presets in configs/: each is understood by its job, and says what it is for."""

import re
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import yaml
from flax import nnx

from sparseshape_jax import models, output
from sparseshape_jax.classifier.config import TrainClassifierConfig
from sparseshape_jax.classifier.network import build_options
from sparseshape_jax.classifier.sparsity import top_k_specs
from sparseshape_jax.cli import main
from sparseshape_jax.evaluation.config import ClassificationConfig
from sparseshape_jax.jobs.console import SCRIPTS
from sparseshape_jax.report.published import sources
from sparseshape_jax.top_k.placement import place
from sparseshape_jax.weights.catalog import CATALOG

ROOT = Path(__file__).parents[1]
PRESET_FILES = sorted((ROOT / "configs").glob("*/*.yaml"))
JOBS = {f"{script}.py": module.JOBS for script, module in SCRIPTS.items()}
each_preset = pytest.mark.parametrize("path", PRESET_FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")


def command(path: Path) -> tuple[str, str, list[str]]:
    """Script, job and flags after `--config` of the command that the preset opens with."""
    found = re.search(r"^# Command: +python (\S+\.py) (\S+) --config (\S+)(.*)", path.read_text(encoding="utf-8"), re.M)
    assert found
    script, job, config, more = found.groups()
    assert ROOT / config == path
    return script, job, more.split()


def settings(monkeypatch: pytest.MonkeyPatch, script: str, job: str, *flags: str) -> Any:
    """What a job is given by a command."""
    module, _, function = JOBS[script][job].function.partition(":")
    received: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(import_module(module), function, received.append)
        assert main("", JOBS[script], [job, *flags]) == 0
    return received[0]


def changed(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as plain values, with those that are given in place of the defaults."""
    return {**defaults} | {
        name: changed(defaults[name], value) if isinstance(value, Mapping) and defaults.get(name) else value
        for name, value in given.items()
    }


@each_preset
def test_every_preset_changes_what_it_says(path, monkeypatch):
    script, job, flags = command(path)
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    received = settings(monkeypatch, script, job, "--config", str(path), *flags)
    defaults = settings(monkeypatch, script, job, *flags)
    assert output.plain(received) == changed(output.plain(defaults), given)
    assert received != defaults


@each_preset
def test_every_preset_fits_its_network(path, monkeypatch):
    script, job, flags = command(path)
    received = settings(monkeypatch, script, job, "--config", str(path), *flags)
    if isinstance(received, ClassificationConfig):
        entry = CATALOG[received.model]
        network = nnx.eval_shape(lambda: models.build(entry.architecture, rngs=nnx.Rngs(0)))
        assert received.topk.after == models.architecture(entry.architecture).top_k_after
        for (spec,) in received.sparsities():
            assert set(place(spec, network)) == (set() if spec.is_identity else set(spec.after))
    if isinstance(received, TrainClassifierConfig):
        build = partial(models.build, received.model, **build_options(received, 10))
        network = nnx.eval_shape(lambda: build(rngs=nnx.Rngs(0)))
        specs = top_k_specs(received, network)
        expected = {name for spec in specs if not spec.is_identity for name in spec.after}
        assert set(place(specs, network)) == expected
        side = received.data.image_size
        pixels = jax.ShapeDtypeStruct((2, side, side, 3), np.float32)
        logits = nnx.eval_shape(lambda network, pixels: network(pixels), network, pixels)
        assert logits.shape == (2, 10)
        assert received.init_from is None or CATALOG[received.init_from].architecture == received.model


@each_preset
def test_every_preset_opens_with_command_hardware_and_result(path):
    comments = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        comments.append(line)
    text = "\n".join(comments)
    found = re.search(r"# Command: +python (\S+\.py) (\S+) --config (\S+)", text)
    assert found, text
    script, job, config = found.groups()
    assert (ROOT / script).is_file()
    assert job == path.parent.name.replace("_", "-")
    assert ROOT / config == path
    assert re.search("# Hardware: .", text)
    assert re.search("# Result: .", text)


@each_preset
def test_results_of_what_was_not_run_are_left_to_the_published_data(path):
    """Of three digits or more; those that were run here have results of their own, which may be the same by chance."""
    result = re.search(r"^# Result: +(.*(?:\n#   .*)*)", path.read_text(encoding="utf-8"), re.M)[1]
    published = {number.value * scale for _, numbers in sources() for number in numbers for scale in (1, 100)}
    quoted = [float(text) for text in re.findall(r"\d*\.\d+", result) if len(text.replace(".", "")) > 2]
    repeated = [value for value in quoted if any(value == pytest.approx(one, abs=1e-9) for one in published)]
    assert not repeated or not result.startswith("not ")


def test_published_accuracies_are_those_of_the_catalog():
    for _, numbers in sources():
        for number in numbers:
            name = {**number.same, **number.at}.get("model")
            if number.job == "evaluate accuracy":
                listed = getattr(CATALOG[name], number.entry)
                assert number.value == pytest.approx(listed / 100, abs=5e-5)


def test_there_are_presets():
    names = {path.stem for path in PRESET_FILES}
    assert {"alexnet_paper", "rest", "squeezenet", "vgg16_paper"} <= names
    assert {"cifar10_resnet18", "cifar10_resnet18_topk20", "imagenet_resnet50_topk", "sin_resnet50", "tiny"} <= names
    for kind in ("", "_topk20", "_topk20_mean"):
        assert {f"in_s1_resnet18{kind}_code_spec", f"in_s1_resnet18{kind}_paper_spec"} <= names
