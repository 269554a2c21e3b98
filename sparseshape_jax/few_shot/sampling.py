"""From latents to pictures: standing statistics, and the authors' way, which takes the statistics of each batch.

With standing statistics a picture is a function of its latent. The authors sample in train mode: a picture then depends
on the seven others in its batch.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from sparseshape_jax import parallel
from sparseshape_jax.few_shot.step import Weights
from sparseshape_jax.models.fastgan import Generator
from sparseshape_jax.models.network import Operator
from sparseshape_jax.models.spectral import SpectralVector, converge

BATCH = 8
"""Pictures whose statistics are taken together, as in the authors' code."""
SETTLING = 2**32 - 1
"""Seed of the latents that standing statistics are taken from."""

StatisticsOf = Literal["standing", "batch"]
Latents = Float[np.ndarray, "n nz"]
Outputs = Float[np.ndarray, "n size size 3"]


def latents(seed: int, indices: Sequence[int], nz: int) -> Latents:
    """The latents with these numbers, float32: each depends on the seed and its own number only."""
    return np.stack([np.random.default_rng([seed, index]).standard_normal(nz) for index in indices]).astype(np.float32)


def pixels(outputs: Outputs) -> Outputs:
    """A generator's outputs in [-1, 1] as RGB in [0, 1], not clipped."""
    return (outputs + 1) / 2


class Sampler:
    """The compiled functions that make pictures with any weights of one generator.

    Args:
        generator: its architecture; built without `axis_name`.
        at: the Top-K inside.
        batch_size: pictures at a time with standing statistics; on a CPU they are made one by one on each device.
    """

    def __init__(self, generator: Generator, at: Mapping[str, Operator], *, batch_size: int = BATCH) -> None:
        self.nz, self.size, self.batch_size = generator.nz, generator.size, batch_size
        inside = dict(at)
        graphdefs = []
        for mode in (generator.eval, generator.train):
            mode()
            split: tuple[Any, ...] = nnx.split(generator, nnx.Param, nnx.BatchStat)
            graphdefs.append(split[0])
        generator.eval()

        def merge(which: int, weights: Weights) -> Generator:
            return nnx.merge(graphdefs[which], weights.params, weights.stats, copy=True)

        def standing(weights: Weights, z: Any) -> Any:
            return merge(0, weights).images(z, at=inside).big

        def batch(weights: Weights, z: Any) -> Any:
            return merge(1, weights).images(z, at=inside).big

        def converged(weights: Weights) -> Any:
            network = merge(0, weights)
            converge(network)
            return nnx.state(network, nnx.BatchStat)

        def updated(weights: Weights, z: Any) -> Any:
            network = merge(1, weights)
            network.images(z, at=inside)
            return nnx.state(network, nnx.BatchStat)

        self._standing = parallel.map_batch(standing, shared=(0,))
        self._batch, self._converged, self._updated = jax.jit(batch), jax.jit(converged), jax.jit(updated)
        self._merge, self._momentum = merge, generator.feat_4.bn.momentum

    def network(self, weights: Weights) -> Generator:
        """The generator with these weights, in eval mode."""
        return self._merge(0, weights)

    def settle(self, weights: Weights, batches: int) -> Weights:
        """Weights with standing statistics.

        Power iteration runs until u and v have converged; then means and variances are plain means over batches of
        eight, from fixed latents.
        """
        weights = jax.device_put(weights, jax.local_devices()[0])
        stats = self._converged(weights)
        start = Weights(weights.params, _with_moments(stats, dict.fromkeys(_moments(stats), 0.0)))
        sums = dict.fromkeys(_moments(stats), 0.0)
        for number in range(batches):
            z = latents(SETTLING, range(number * BATCH, (number + 1) * BATCH), self.nz)
            for path, found in _moments(self._updated(start, z)).items():
                sums[path] = sums[path] + found
        share = 1 / ((1 - self._momentum) * batches)  # what a batch adds to statistics that are 0
        return Weights(weights.params, _with_moments(stats, {path: total * share for path, total in sums.items()}))

    def outputs(self, weights: Weights, z: Latents, statistics: StatisticsOf = "standing") -> Iterator[Outputs]:
        """What the generator puts out, in [-1, 1] but not clipped; in batches, in order.

        With statistics "batch" each eight latents make one batch, and its statistics leave the weights as they are;
        in the authors' code they move.
        """
        if statistics == "batch":
            weights = jax.device_put(weights, jax.local_devices()[0])
            for start in range(0, len(z), BATCH):
                yield np.asarray(self._batch(weights, z[start : start + BATCH]))
            return
        weights, count = parallel.place_shared(weights), parallel.images_at_once(self.batch_size)
        for start in range(0, len(z), count):
            yield np.asarray(self._standing(weights, z[start : start + count]))


def _moments(stats: Any) -> dict[Any, Any]:
    """Running means and variances by their places, in float64."""
    return {
        path: np.asarray(variable.get_value(), np.float64)
        for path, variable in nnx.to_flat_state(stats)
        if not isinstance(variable, SpectralVector)
    }


def _with_moments(stats: Any, moments: Mapping[Any, Any]) -> Any:
    """Statistics with these running means and variances."""

    def changed(path: Any, variable: Any) -> Any:
        if path not in moments:
            return variable
        value = variable.get_value()
        return variable.replace(jnp.broadcast_to(jnp.asarray(moments[path], value.dtype), value.shape))

    return nnx.from_flat_state([(path, changed(path, variable)) for path, variable in nnx.to_flat_state(stats)])
