"""What the tests of cue conflicts share: a network of two convolutions, tiny pictures, and a finished set."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from support.commands import command
from support.images import noise
from support.networks import own_registry
from support.small_network import SMALL, save_run

from sparseshape_jax.data.folders import wordnet_ids
from sparseshape_jax.models import register

STEPS = 6


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory) -> Iterator[Path]:
    with own_registry():
        register("small", replace(SMALL, head=()))  # it has no trunk that ends before
        yield save_run(tmp_path_factory.mktemp("weights"), wordnet_ids())


def paint_folder(folder: Path, **counts: int) -> Path:
    """Pictures of noise, so many of each category."""
    for category, count in counts.items():
        (folder / category).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(noise(40, 36, seed=len(category) + 10 * number)).save(folder / category / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> tuple[Path, Path]:
    """Photographs and textures."""
    root = tmp_path_factory.mktemp("pictures")
    counts = {"cat": 2, "dog": 2, "elephant": 2}
    return paint_folder(root / "photos", **counts), paint_folder(root / "textures", **counts)


@pytest.fixture
def paint() -> Callable[..., Path]:
    return paint_folder


@pytest.fixture(scope="session")
def common_flags(small_weights, pictures) -> tuple[object, ...]:
    """The job, and what the tests have in common, but for the output."""
    return (
        *("cue-conflict", "--content", pictures[0], "--style", pictures[1], "--weights", small_weights),
        *("--content_layer", "relu1", "--style_layers", "conv1", "relu1", "--check_model", "null"),
        *("--size", 32, "--history", 4, "--steps", STEPS, "--per_pair", 1),
    )


@pytest.fixture
def synthesize(capsys, common_flags) -> Callable[..., SimpleNamespace]:
    run = command("synthesize.py", capsys)
    return lambda *arguments: run(*common_flags, *arguments)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("finished") / "out"


@pytest.fixture
def whole(synthesize, finished) -> Path:
    """The folder of a finished run, made once."""
    if not finished.exists():
        assert synthesize("--out", finished).status == 0
    return finished
