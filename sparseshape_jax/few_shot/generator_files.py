"""Files of trained generators: writing ours, and opening whatever a user gives, ours or the authors'.

Ours are safetensors: the arrays have the names and layout of the authors' files, and the metadata hold every setting
that the arrays do not show.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flax import nnx

from sparseshape_jax.downloads import sha256
from sparseshape_jax.errors import InputError
from sparseshape_jax.few_shot.reference_files import fill_generator, generator_arrays, load_generator
from sparseshape_jax.few_shot.sampling import Sampler
from sparseshape_jax.few_shot.step import Weights
from sparseshape_jax.models.fastgan import Generator
from sparseshape_jax.models.fastgan_options import Excitation, Noise
from sparseshape_jax.models.network import Operator
from sparseshape_jax.top_k.placement import merge_placement, parse, place
from sparseshape_jax.top_k.spec import TopK
from sparseshape_jax.weights.assign import write_safetensors
from sparseshape_jax.weights.read import read_arrays, read_metadata

BEST, LAST = "best.safetensors", "last.safetensors"
"""The files in the folder of a training run."""
KEY = "few_shot"
"""Of our facts in a file's metadata."""


@dataclass(frozen=True)
class GeneratorFacts:
    """What a generator's file says of it, in its metadata."""

    size: int
    ngf: int
    nz: int
    noise: str
    excitation: str
    top_k: tuple[Mapping[str, Any], ...]
    """Each Top-K as `TopK.to_config` writes it."""
    step: int
    """Iterations of training."""

    @property
    def options(self) -> dict[str, Any]:
        """Keywords of `Generator`."""
        return {name: value for name, value in asdict(self).items() if name not in ("top_k", "step")}


@dataclass(frozen=True)
class TrainedGenerator:
    """A generator that was trained, in eval mode."""

    generator: Generator
    at: Mapping[str, TopK]
    """The Top-K inside."""
    path: Path
    sha256: str
    """Of the file."""
    settled: bool
    """Whether its statistics are standing ones."""

    def weights(self) -> Weights:
        """Its parameters and statistics."""
        return Weights(nnx.state(self.generator, nnx.Param), nnx.state(self.generator, nnx.BatchStat))

    def top_k(self) -> list[dict[str, Any]]:
        """The Top-K inside, for results."""
        return [spec.to_config() for spec in merge_placement(self.at)]


def write(generator: Generator, path: str | os.PathLike[str], at: Mapping[str, Operator], step: int) -> None:
    """Write a generator with standing statistics, which `open_weights` reads.

    Raises:
        InputError: the path cannot be written.
    """
    top_k = tuple(spec.to_config() for spec in merge_placement(at))  # type: ignore[arg-type]
    facts = GeneratorFacts(
        generator.size, generator.ngf, generator.nz, generator.noise, generator.excitation, top_k, step
    )
    write_safetensors(generator_arrays(generator), path, {KEY: json.dumps(asdict(facts))})


def read(path: str | os.PathLike[str]) -> tuple[Generator, dict[str, TopK], GeneratorFacts]:
    """A generator that `write` wrote, in eval mode, the Top-K inside, and what the file says of it.

    Raises:
        InputError: no such file, damaged, or without these facts; arrays of other names or shapes.
    """
    metadata = read_metadata(path)
    if KEY not in metadata:
        raise InputError(
            f"{path} is not a generator that train.py few-shot wrote: its metadata do not describe one; give the folder"
            f" of a run, its {BEST}, or a .pth of the authors' code or of FastGAN"
        )
    try:
        facts = GeneratorFacts(**json.loads(metadata[KEY]))
        generator = nnx.eval_shape(lambda: Generator(**facts.options, rngs=nnx.Rngs(0)))
        at = place([TopK(**spec) for spec in facts.top_k], generator)
    except (ValueError, TypeError, InputError):
        raise InputError(f"{path} has an unreadable description of its generator ({metadata[KEY][:200]})") from None
    fill_generator(generator, read_arrays(path))
    generator.eval()
    return generator, at, facts


def find(given: str) -> Path | None:
    """The file of weights that a user names: a file, or the best of a run's folder; None if it is neither."""
    path = Path(given)
    if path.is_dir():
        return next((path / name for name in (BEST, LAST) if (path / name).is_file()), None)
    return path if path.suffix in (".pth", ".safetensors") else None


def open_weights(
    given: str, *, sparsity: str | None = None, noise: Noise = "none", excitation: Excitation = "linear"
) -> TrainedGenerator:
    """The generator that a user names.

    Args:
        given: the folder of a run, a file of one, or a .pth of the authors' code or of FastGAN.
        sparsity: Top-K in the paper's spelling, in place of what is known of the weights.
        noise: of a .pth, as of the generator.
        excitation: the same.

    Raises:
        InputError: nothing of the kind, a damaged file, or a Top-K at a map that the generator does not have.
    """
    path = find(given)
    if path is None:
        raise InputError(
            f"{given} has no generator; give the folder of a run of train.py few-shot, its {BEST}, or a .pth"
        )
    if path.suffix == ".pth":
        generator, at = load_generator(path, top_k=sparsity, noise=noise, excitation=excitation)
        return TrainedGenerator(generator, at, path, sha256(path), settled=False)
    generator, at, _ = read(path)
    if sparsity is not None:
        at = place(parse(sparsity, generator), generator)
    return TrainedGenerator(generator, at, path, sha256(path), settled=True)


def settled(trained: TrainedGenerator, sampler: Sampler, batches: int) -> Weights:
    """The weights with standing statistics: those of the file, or else taken now."""
    return trained.weights() if trained.settled else sampler.settle(trained.weights(), batches)
