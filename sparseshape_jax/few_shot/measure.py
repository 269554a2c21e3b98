"""Measuring the average generator during training: distances to the real pictures, under a named protocol."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sparseshape_jax import parallel
from sparseshape_jax.data.images import Images
from sparseshape_jax.few_shot.config import TrainFewShotConfig
from sparseshape_jax.few_shot.sampling import BATCH, Sampler, latents, pixels
from sparseshape_jax.few_shot.step import Weights
from sparseshape_jax.fid.extract import cached_features, features
from sparseshape_jax.fid.measure import Side, compare
from sparseshape_jax.fid.networks import available_network, feature_network
from sparseshape_jax.fid.protocols import PROTOCOLS
from sparseshape_jax.training.log import Row


@dataclass(frozen=True)
class Measured:
    """One evaluation."""

    value: float
    """The Fréchet distance."""
    row: Row
    """It under its name (`fid`, or `vgg16-fid@64`, …), the kernel distance with its standard deviation, the protocol,
    the numbers of pictures and the ranks of their covariances."""


class Evaluator:
    """Compares generated pictures with all real ones.

    The pictures are those of the latents 0, 1, 2, … of the run's seed, as `synthesize.py sample` and `evaluate.py fid`
    make them with that seed.

    Raises:
        InputError: weights of the feature network that are missing, or a picture that cannot be decoded.
    """

    def __init__(self, config: TrainFewShotConfig, images: Images, sampler: Sampler) -> None:
        settings = config.evaluation
        self.seed, self.count, self.sampler = config.seed, settings.samples, sampler
        self.protocol = PROTOCOLS[settings.protocol]
        self.statistics = statistics_of(settings.protocol)
        if settings.features == "auto":
            self.network = available_network(settings.inception)
        else:
            self.network = feature_network(settings.features, file=settings.inception)
        self.names = self.network.distances(config.data.size)
        self._real = Side(
            images.name,
            [cached_features(images, self.network, settings.protocol, size=config.data.size, progress="real pictures")],
        )

    def measure(self, weights: Weights) -> Measured:
        """The distances of a generator; the same in every process, each of which makes a part of the pictures."""
        fakes = [self._features(weights, repeat) for repeat in range(self.protocol.repeats)]
        frechet, *kernel = compare(Side("the generator", fakes), self._real, self.names, self.protocol)
        row: Row = {self.names[0]: frechet["value"]}
        for name in ("repeats", "mean", "mean_sd"):
            if name in frechet:
                row[f"{self.names[0]} {name}"] = frechet[name]
        if kernel:
            row |= {self.names[1]: kernel[0]["value"], f"{self.names[1]} sd": kernel[0]["sd"]}
        row |= {name: frechet[name] for name in ("n_fake", "n_real", "rank_fake", "rank_real")}
        row |= {"protocol": self.protocol.name, "features": self.network.name, "statistics": self.statistics}
        return Measured(frechet["value"], row)

    def _features(self, weights: Weights, repeat: int) -> np.ndarray:
        """Of all pictures of a repeat, in order."""
        process, processes = parallel.this_process()
        found = np.zeros((self.count, self.network.dimension), np.float32)
        starts = range(process * BATCH, self.count, processes * BATCH)
        own = [index for start in starts for index in range(start, min(start + BATCH, self.count))]
        if own:
            z = latents(self.seed, [repeat * self.count + index for index in own], self.sampler.nz)
            batches: Any = (pixels(outputs) for outputs in self.sampler.outputs(weights, z, self.statistics))
            found[own] = features(batches, self.network, self.protocol.name)
        return parallel.sum_over_processes(found)


def statistics_of(protocol: str) -> Any:
    """How a protocol samples: the paper's as the authors do."""
    return "batch" if protocol == "paper" else "standing"
