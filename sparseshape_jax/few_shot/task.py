"""Few-shot training as a task of `training.task`: networks, batches, the compiled iteration, evaluation, going back.

Source: the code of Li et al. (2023), section 4.4. Departures: every choice depends on the seed and the iteration, so
that a run that was stopped ends with the same bits; evaluation leaves the training state as it is; and iterations
count as they are run, so that going back to the best cannot go on for ever.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from sparseshape_jax import output, parallel
from sparseshape_jax.data.open import open_images
from sparseshape_jax.errors import InputError
from sparseshape_jax.few_shot import generator_files
from sparseshape_jax.few_shot.config import TrainFewShotConfig
from sparseshape_jax.few_shot.diffaugment import augment
from sparseshape_jax.few_shot.initial import with_first_weights
from sparseshape_jax.few_shot.lpips import LPIPS
from sparseshape_jax.few_shot.measure import Evaluator, Measured
from sparseshape_jax.few_shot.pages import tiles
from sparseshape_jax.few_shot.pictures import train_batches
from sparseshape_jax.few_shot.sampling import Sampler, latents, pixels
from sparseshape_jax.few_shot.step import GANState, GANStep, Weights, to_floats
from sparseshape_jax.fid.sources import StoredSource
from sparseshape_jax.models.fastgan import Generator
from sparseshape_jax.models.fastgan_discriminator import Discriminator, targets
from sparseshape_jax.top_k.placement import parse, place
from sparseshape_jax.training.log import Row
from sparseshape_jax.training.task import Epoch, Metrics, Report

RECONSTRUCTED = 8
"""Most real pictures on a page of reconstructions."""


class Best(NamedTuple):
    """The best evaluation so far. Distances are compared in float32, as a resumed run has them."""

    distance: Float[Array, ""] | Float[np.ndarray, ""]
    step: Int[Array, ""] | Int[np.ndarray, ""]
    waited: Int[Array, ""] | Int[np.ndarray, ""]
    """Evaluations in a row without a new best, since the last one or since training went back."""
    returns: Int[Array, ""] | Int[np.ndarray, ""]
    """How often it went back."""

    @classmethod
    def none(cls) -> "Best":
        """Before the first evaluation."""
        zero = np.zeros((), np.int32)
        return cls(np.asarray(np.inf, np.float32), zero, zero, zero)

    def after(self, distance: float, step: int) -> "Best":
        """After an evaluation; an equal one takes the place of the best, but counts as no improvement."""
        found, at = np.asarray(distance, np.float32), np.asarray(step, np.int32)
        if found < self.distance:
            return self._replace(distance=found, step=at, waited=np.zeros((), np.int32))
        best = self._replace(waited=np.asarray(self.waited + 1, np.int32))
        return best._replace(step=at) if found == self.distance else best


class FewShotState(NamedTuple):
    """Everything that training carries from one iteration to the next."""

    gan: GANState
    best: Best


class FewShotTask:
    """What one run trains, from its settings.

    Raises:
        InputError: bad settings, pictures or weights. Nothing is written then.
    """

    def __init__(self, config: TrainFewShotConfig) -> None:
        self.config, self.part = config, parallel.this_process()
        devices = parallel.device_count()
        if config.batch_size % devices:
            raise InputError(
                f"batch_size is {config.batch_size}, which does not divide over {devices} devices;"
                f" give a multiple of {devices}"
            )
        size, widths, seed = config.data.size, config.networks, config.seed
        common: Any = {"excitation": widths.excitation, "axis_name": parallel.AXIS}
        generator = with_first_weights(
            lambda rngs: Generator(size, widths.ngf, widths.nz, noise=widths.noise, rngs=rngs, **common), seed
        )
        discriminator = with_first_weights(
            lambda rngs: Discriminator(size, widths.ndf, decoder_width=widths.decoder_width, rngs=rngs, **common), seed
        )
        top_k = config.topk if config.sparsity is None else parse(config.sparsity, generator, template=config.topk)
        self.at = place(top_k, generator)
        self.source = StoredSource(open_images(config.data.path), skip_bad=config.data.skip_bad)
        self.data = train_batches(self.source.stored, config, self.part)
        self.stepper = GANStep(
            generator,
            discriminator,
            LPIPS.load(),
            at=self.at,
            batch_size=config.batch_size,
            policy=config.augment,
            learning_rate=config.learning_rate,
            reconstruction_weight=config.reconstruction_weight,
            average=config.average,
            seed=config.seed,
        )
        first = self.start().gan
        self.sampler = Sampler(self.stepper.generator(*first.generator), self.at, batch_size=config.batch_size)
        self.evaluator = Evaluator(config, self.source.stored, self.sampler)
        train = self.stepper.train()

        def step(state: FewShotState, batch: Any, shared: Any) -> tuple[FewShotState, dict[str, Array]]:
            gan, metrics = train(state.gan, batch, shared)
            return state._replace(gan=gan), metrics

        self.iteration = step
        self._step = parallel.data_parallel(step, donate=True)
        self._reconstruct = jax.jit(self._reconstructed)

    def start(self) -> FewShotState:
        """The state before the first iteration."""
        return FewShotState(self.stepper.start(), Best.none())

    def batches(self, step: int) -> Iterator[Any]:
        """This process's part of each batch: bytes (n, size, size, 3), mirrored at random."""
        return (pictures for pictures, _ in self.data.batches(step))

    def step(self, state: FewShotState, batch: Any, step: int) -> tuple[FewShotState, Metrics]:  # noqa: ARG002
        """One iteration."""
        return self._step(state, batch)

    def end_epoch(self, state: FewShotState, epoch: Epoch) -> Report:
        """Measure the average generator, and go back to the best if there has been no better one for long."""
        gan, best = (parallel.unreplicate(part) for part in state)
        standing, measured = self._measured(gan)
        best = best.after(measured.value, epoch.step)
        goes_back = 0 < self.config.evaluation.patience <= best.waited
        rows: list[Row] = [{"kind": "eval", "epoch": epoch.number, "step": epoch.step, **measured.row}]
        if epoch.number == 1:
            untrained = self._measured(self.start().gan)[1]
            rows.insert(0, {"kind": "eval", "epoch": 0, "step": 0, **untrained.row})
        name = self.evaluator.names[0]
        message = f"iteration {epoch.step}: {name} {measured.value:.4g}, best {best.distance:.4g} at {best.step}"
        if goes_back:
            rows.append({"kind": "rollback", "epoch": epoch.number, "step": epoch.step, "to_step": int(best.step)})
            message += f"; no better one in {best.waited} evaluations, so training goes back there"
            best = best._replace(waited=np.zeros((), np.int32), returns=np.asarray(best.returns + 1, np.int32))

        def write(name: str) -> None:
            self._write(name, standing, gan, epoch.step)

        return Report(
            rows=rows,
            message=message,
            score=-float(np.float32(measured.value)),
            write=write,
            state=FewShotState(state.gan, parallel.replicate(best)),
            from_best=(lambda found: self._return(found, best, epoch.step)) if goes_back else None,
        )

    def _measured(self, gan: GANState) -> tuple[Weights, Measured]:
        """The average generator with standing statistics, and its distance."""
        live = Weights(gan.average, gan.generator.stats)
        standing = self.sampler.settle(live, self.config.evaluation.standing_batches)
        return standing, self.evaluator.measure(live if self.evaluator.statistics == "batch" else standing)

    def _return(self, found: FewShotState, best: Best, step: int) -> FewShotState:
        """The state to go on with: the best one, but for noise on the generator's parameters."""
        gan = parallel.unreplicate(found.gan)
        rng, bound = np.random.default_rng([self.config.seed, step]), self.config.evaluation.noise

        def moved(array: np.ndarray) -> np.ndarray:
            return array + rng.uniform(-bound, bound, array.shape).astype(array.dtype)

        generator = gan.generator._replace(params=jax.tree.map(moved, gan.generator.params))
        gan = gan._replace(step=np.asarray(step, gan.step.dtype), generator=generator)
        return parallel.replicate(FewShotState(gan, best))

    def _write(self, name: str, standing: Weights, gan: GANState, step: int) -> None:
        out = Path(self.config.out)
        network = self.sampler.network(standing)
        generator_files.write(network, out / f"{name}.safetensors", self.at, step)
        if name == "last":
            file = f"{step:06d}.png"
            output.write_image(out / "samples" / file, self.samples(standing))
            output.write_image(out / "reconstructions" / file, self.reconstructions(gan))

    def samples(self, weights: Weights) -> Float[np.ndarray, "H W 3"]:
        """The pictures of the first latents of the run's seed on one page."""
        z = latents(self.config.seed, range(self.config.pictures), self.sampler.nz)
        return tiles([pixels(picture) for outputs in self.sampler.outputs(weights, z) for picture in outputs])

    def reconstructions(self, gan: GANState) -> Float[np.ndarray, "H W 3"]:
        """A page on what the discriminator makes of the first batch, as iteration 0 varies it.

        A row for each picture: the picture, made small; the reconstruction from the picture, and from its small copy;
        a quarter of it; the reconstruction of that. In train mode; the discriminator stays as it is.
        """
        columns = [np.asarray(column) for column in self._reconstruct(gan.discriminator, self.first_batch)]
        return tiles([pixels(column[index]) for index in range(len(columns[0])) for column in columns], len(columns))

    @property
    def first_batch(self) -> np.ndarray:
        """Real pictures of this process's part of the first batch."""
        return next(self.batches(0))[:RECONSTRUCTED]

    def augmented(self, pictures: Any) -> tuple[Any, Any]:
        """Pictures as the discriminator sees them in iteration 0, in [-1, 1], and which quarter it reconstructs."""
        images = to_floats(pictures, jnp.result_type(float))
        draws = self.stepper.draw(0, images.dtype)
        own = jax.tree.map(lambda array: array[: len(images)], draws.real)
        return augment(images, own, self.config.augment), draws.part

    def _reconstructed(self, weights: Weights, pictures: Any) -> tuple[Any, ...]:
        images, part = self.augmented(pictures)
        found = self.stepper.discriminator(weights, train=True).real(images, part)
        small, quarter = targets(images, part)
        return small, found.big, found.small, quarter, found.part
