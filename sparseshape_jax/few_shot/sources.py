"""Trained generators as a side of `evaluate.py fid`: runs, their files, and .pth of the authors' code or of FastGAN."""

from collections.abc import Iterator

import numpy as np

from sparseshape_jax.few_shot import generator_files
from sparseshape_jax.few_shot.config import GeneratorFidConfig
from sparseshape_jax.few_shot.generator_files import TrainedGenerator
from sparseshape_jax.few_shot.measure import statistics_of
from sparseshape_jax.few_shot.sampling import Sampler, latents, pixels
from sparseshape_jax.fid import job
from sparseshape_jax.fid.config import FidConfig
from sparseshape_jax.fid.sources import Source, open_stored
from sparseshape_jax.results import Row


class GeneratorSource(Source):
    """The pictures of a trained generator.

    With protocol `paper` they are made as the authors make them, with the statistics of each batch of eight, and their
    number is rounded down to whole batches; with others, with standing statistics.

    Args:
        name: what messages call it.
        trained: the generator.
        config: seed and count, and how statistics are taken.
    """

    def __init__(self, name: str, trained: TrainedGenerator, config: GeneratorFidConfig) -> None:
        self.name, self.size, self.skipped = name, trained.generator.size, []
        self.trained, self.config = trained, config
        self.statistics = statistics_of(config.protocol)
        self.count = config.count // 8 * 8 if config.protocol == "paper" else config.count
        self.sampler = Sampler(trained.generator, trained.at, batch_size=config.batch_size)

    def facts(self) -> dict[str, object]:
        config = self.config
        return {
            "weights": self.trained.sha256,
            "top_k": self.trained.top_k(),
            "noise": self.trained.generator.noise,
            "excitation": self.trained.generator.excitation,
            "statistics": self.statistics,
            "standing_batches": None if self.trained.settled else config.standing_batches,
            "seed": config.seed,
            "count": self.count,
        }

    def images(self, repeat: int, protocol: str) -> Iterator[np.ndarray]:  # noqa: ARG002, it is the settings'
        if self.statistics == "batch":
            weights = self.trained.weights()
        else:
            weights = generator_files.settled(self.trained, self.sampler, self.config.standing_batches)
        numbers = range(repeat * self.count, (repeat + 1) * self.count)
        z = latents(self.config.seed, numbers, self.sampler.nz)
        return (pixels(outputs) for outputs in self.sampler.outputs(weights, z, self.statistics))


def open_source(given: str, config: FidConfig) -> Source:
    """A generator if there is one: a run, a .safetensors, a .pth; else a folder of images, or tfds:NAME/split.

    Raises:
        InputError: missing, empty or damaged.
    """
    assert isinstance(config, GeneratorFidConfig)
    if (path := generator_files.find(given)) is None:
        return open_stored(given, config)
    trained = generator_files.open_weights(
        str(path), sparsity=config.sparsity, noise=config.noise, excitation=config.excitation
    )
    return GeneratorSource(given, trained, config)


def run(config: GeneratorFidConfig) -> list[Row]:
    """The job behind `evaluate.py fid`: `fid.job.run`, with generators as sources."""
    return job.run(config, open_source)
