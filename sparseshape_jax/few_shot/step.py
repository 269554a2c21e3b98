"""One iteration of training FastGAN, as a pure function of its state, the images, and everything that is random.

Source: the training script of Li et al. (2023). The order matters. The generator makes images once, and its update
sees the same ones, augmented in the same way, as the discriminator's. The discriminator sees real and generated images
in separate passes, so their batch statistics are separate; after its update, it judges the generated ones again. Each
pass does a step of power iteration.

All that is random is drawn for the whole batch from the seed and the step; each device takes its part.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Int, UInt8

from sparseshape_jax.few_shot import diffaugment
from sparseshape_jax.few_shot.diffaugment import AugmentDraws, augment
from sparseshape_jax.few_shot.losses import generator_loss, hinge_fake, hinge_real
from sparseshape_jax.few_shot.lpips import LPIPS
from sparseshape_jax.few_shot.options import AugmentPolicy
from sparseshape_jax.models.fastgan import Generator, Images
from sparseshape_jax.models.fastgan_discriminator import Discriminator, Real, targets
from sparseshape_jax.models.network import Operator
from sparseshape_jax.parallel import AXIS, mean_over_devices

MARGINS = 2 * 5 * 5
"""Logits of an image and of its small copy."""


class Weights(NamedTuple):
    """Of one network."""

    params: Any
    stats: Any
    """Running statistics, u and v."""


class GANState(NamedTuple):
    """Everything that training carries from one iteration to the next."""

    step: Int[Array, ""]
    generator: Weights
    discriminator: Weights
    generator_optimizer: optax.OptState
    discriminator_optimizer: optax.OptState
    average: Any
    """The exponential moving average of the generator's parameters (not of its statistics)."""


class Draws(NamedTuple):
    """What is random in one iteration: a row for each image, except for `part`."""

    latents: Float[Array, "n nz"]
    real_margins: Float[Array, "n 2 5 5"]
    """In [0, 1): for the logits of the image and of its small copy."""
    fake_margins: Float[Array, "n 2 5 5"]
    part: Int[Array, ""]
    """Which quarter is reconstructed, the same for all images."""
    real: AugmentDraws
    big: AugmentDraws
    small: AugmentDraws


class Iteration(NamedTuple):
    """What can be seen of one iteration."""

    metrics: dict[str, Array]
    fakes: Images
    """Before they are augmented."""
    found: Real
    """Of the augmented real images, before the discriminator's update."""
    fake_logits: Float[Array, "2n 5 5"]
    """Before the update."""
    generator_logits: Float[Array, "2n 5 5"]
    """After it."""
    generator_gradient: Any
    discriminator_gradient: Any


class GANStep:
    """The function that trains a generator and a discriminator, to be compiled with `parallel.data_parallel`.

    Args:
        generator: with its first weights; left in train mode. For statistics of the whole batch, both networks are
            built with `axis_name=parallel.AXIS`.
        discriminator: the same.
        lpips: the distance of reconstructions.
        at: what follows which of the generator's activations.
        batch_size: images per iteration, over all devices.
        policy: of the augmentation.
        learning_rate: of Adam, for both networks; β 0.5 and 0.999.
        reconstruction_weight: of the mean of the distances. By default the batch size: their sum, as the authors have.
        average: decay per iteration of the generator's average.
        seed: of everything that is random.
        axis_name: of the devices; None to call `iterate` outside of `data_parallel`.
    """

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        lpips: LPIPS,
        *,
        at: Mapping[str, Operator] | None = None,
        batch_size: int,
        policy: tuple[AugmentPolicy, ...] = ("color", "translation"),
        learning_rate: float = 2e-4,
        reconstruction_weight: float | None = None,
        average: float = 0.999,
        seed: int = 0,
        axis_name: str | None = AXIS,
    ) -> None:
        self._graphs: dict[type, Any] = {}
        first: list[Weights] = []
        for network in (generator, discriminator):
            network.train()
            split: tuple[Any, ...] = nnx.split(network, nnx.Param, nnx.BatchStat)
            self._graphs[type(network)] = split[0]
            first.append(Weights(*split[1:]))
        self._first = first
        self.size, self.small_side, self.nz = generator.size, generator.small_side, generator.nz
        self.lpips, self.at, self.policy, self.batch_size = lpips, dict(at or {}), policy, batch_size
        self.learning_rate = learning_rate
        self.optimizer = optax.adam(learning_rate, b1=0.5, b2=0.999, eps=1e-8)
        self.weight = float(batch_size) if reconstruction_weight is None else reconstruction_weight
        self.decay, self.seed, self.axis_name = average, seed, axis_name

    def start(self) -> GANState:
        """The state before the first iteration."""
        generator, discriminator = self._first
        optimizers = (self.optimizer.init(generator.params), self.optimizer.init(discriminator.params))
        return GANState(jnp.zeros((), jnp.int32), generator, discriminator, *optimizers, generator.params)

    def generator(self, params: Any, stats: Any, *, train: bool = False) -> Generator:
        """The generator with these weights, for use outside of `data_parallel`; `train` takes batch statistics."""
        return self._network(Generator, Weights(params, stats), train)

    def discriminator(self, weights: Weights, *, train: bool = False) -> Discriminator:
        """The discriminator with these weights, as `generator`."""
        return self._network(Discriminator, weights, train)

    def _network(self, kind: type, weights: Weights, train: bool) -> Any:
        network = nnx.merge(self._graphs[kind], *weights, copy=True)
        network.set_attributes(axis_name=None, raise_if_not_found=False)
        network.train() if train else network.eval()
        return network

    def draw(self, step: Int[Array, ""] | int, dtype: Any = jnp.float32) -> Draws:
        """Everything that is random in an iteration, for the whole batch."""
        latents, others = jax.random.split(jax.random.fold_in(jax.random.key(self.seed), step))
        # All that is uniform is drawn at once, because each call of the generator takes a second to compile.
        uniform = jax.random.uniform(others, (self.batch_size, 2 * MARGINS + 3 * diffaugment.DRAWN + 1), dtype)
        real, fake, *augmentations, part = jnp.split(
            uniform, np.cumsum([MARGINS, MARGINS, *[diffaugment.DRAWN] * 3]), axis=1
        )
        sizes = (self.size, self.size, self.small_side)
        return Draws(
            jax.random.normal(latents, (self.batch_size, self.nz), dtype),
            real.reshape(-1, 2, 5, 5),
            fake.reshape(-1, 2, 5, 5),
            jnp.floor(4 * part[0, 0]).astype(jnp.int32),
            *(diffaugment.draws(columns, size) for columns, size in zip(augmentations, sizes, strict=True)),
        )

    def train(self) -> Callable[..., tuple[GANState, dict[str, Array]]]:
        """The function `(state, pixels, None) -> (state, metrics)`; pixels are bytes (N, size, size, 3).

        Metrics are means over the whole batch, before the updates where not said otherwise: `hinge_real`, `hinge_fake`;
        `lpips_big`, `lpips_small`, `lpips_part`, each times the reconstructions' weight; `discriminator`, the sum of
        these; `generator`, its loss after the discriminator's update; `logit_real`, `logit_fake`; and `change`, the
        global norm of the parameters' changes, which is finite only if the iteration was sound.
        """

        def step(state: GANState, pixels: UInt8[Array, "n h w 3"], _: Any) -> tuple[GANState, dict[str, Array]]:
            dtype = jax.tree.leaves(state.generator.params)[0].dtype
            draws = self.draw(state.step, dtype)
            if self.axis_name is not None:
                draws = _own_part(draws, len(pixels), self.axis_name)
            state, iteration = self.iterate(state, to_floats(pixels, dtype), draws)
            return state, iteration.metrics

        return step

    def iterate(
        self, state: GANState, images: Float[Array, "n size size 3"], draws: Draws
    ) -> tuple[GANState, Iteration]:
        """One iteration, from real images in [-1, 1] and what is random in it."""
        real = augment(images, draws.real, self.policy)

        def generate(params: Any) -> tuple[Images, tuple[Images, Any]]:
            network = nnx.merge(self._graphs[Generator], params, state.generator.stats, copy=True)
            images = network.images(draws.latents, at=self.at)
            return self._augmented(images, draws), (images, nnx.state(network, nnx.BatchStat))

        fakes, pull_back, (images_made, generator_stats) = jax.vjp(generate, state.generator.params, has_aux=True)

        def judge(params: Any) -> tuple[Array, Any]:
            network = nnx.merge(self._graphs[Discriminator], params, state.discriminator.stats, copy=True)
            found = network.real(real, draws.part)
            logits = network.fake(*fakes)
            terms = {
                "hinge_real": hinge_real(found.logits, _as_logits(draws.real_margins)),
                **self._reconstruction(found, real, draws.part),
                "hinge_fake": hinge_fake(logits, _as_logits(draws.fake_margins)),
            }
            return sum(terms.values(), jnp.zeros((), real.dtype)), (
                terms,
                found,
                logits,
                nnx.state(network, nnx.BatchStat),
            )

        (loss, (terms, found, fake_logits, stats)), gradient = jax.value_and_grad(judge, has_aux=True)(
            state.discriminator.params
        )
        stats, gradient = self._mean((stats, gradient))
        discriminator, discriminator_optimizer, change = self._updated(
            state.discriminator.params, gradient, state.discriminator_optimizer
        )

        def deceive(fakes: Images) -> tuple[Array, Any]:
            network = nnx.merge(self._graphs[Discriminator], discriminator, stats, copy=True)
            logits = network.fake(*fakes)
            return generator_loss(logits), (logits, nnx.state(network, nnx.BatchStat))

        (generator_term, (generator_logits, stats)), cotangent = jax.value_and_grad(deceive, has_aux=True)(fakes)
        (generator_gradient,) = pull_back(cotangent)
        stats, generator_stats, generator_gradient = self._mean((stats, generator_stats, generator_gradient))
        generator, generator_optimizer, generator_change = self._updated(
            state.generator.params, generator_gradient, state.generator_optimizer
        )
        metrics = self._mean(
            {
                **terms,
                "discriminator": loss,
                "generator": generator_term,
                "logit_real": jnp.mean(found.logits),
                "logit_fake": jnp.mean(fake_logits),
            }
        )
        after = GANState(
            state.step + 1,
            Weights(generator, generator_stats),
            Weights(discriminator, stats),
            generator_optimizer,
            discriminator_optimizer,
            optax.incremental_update(generator, state.average, 1 - self.decay),
        )
        metrics["change"] = jnp.hypot(change, generator_change)
        seen = (images_made, found, fake_logits, generator_logits, generator_gradient, gradient)
        return after, Iteration(metrics, *seen)

    def _augmented(self, images: Images, draws: Draws) -> Images:
        return Images(
            augment(images.big, draws.big, self.policy),
            augment(images.small, draws.small, self.policy),
        )

    def _reconstruction(self, found: Real, real: Array, part: Array) -> dict[str, Array]:
        """The distances of the three reconstructions, each as its weight times the mean over the images."""
        count = len(real)
        made = self.lpips.features(jnp.concatenate([found.big, found.small, found.part]))
        wanted = self.lpips.features(jnp.concatenate(targets(real, part)))
        # Two of the three have the same target.
        expected = [jnp.concatenate([layer[:count], layer[:count], layer[count:]]) for layer in wanted]
        distances = self.lpips.compare(made, expected).reshape(3, count)
        means = self.weight * jnp.mean(distances, axis=1)
        return {f"lpips_{name}": means[index] for index, name in enumerate(("big", "small", "part"))}

    def _updated(self, params: Any, gradient: Any, optimizer: optax.OptState) -> tuple[Any, optax.OptState, Array]:
        """The parameters and the optimizer's state after a step of Adam, and the norm of the change."""
        with jax.numpy_dtype_promotion("standard"):  # optax raises a float to the power of an integer
            updates, optimizer = self.optimizer.update(gradient, optimizer, params)
        return optax.apply_updates(params, updates), optimizer, optax.tree.norm(updates)

    def _mean(self, tree: Any) -> Any:
        """The mean over all devices."""
        return tree if self.axis_name is None else mean_over_devices(tree)


def to_floats(pixels: UInt8[Array, "n h w 3"], dtype: Any = jnp.float32) -> Float[Array, "n h w 3"]:
    """Bytes as floats in [-1, 1]."""
    return pixels.astype(dtype) / 127.5 - 1


def _as_logits(margins: Float[Array, "n 2 5 5"]) -> Float[Array, "2n 5 5"]:
    """In the order of logits: all images, then all small copies."""
    return margins.swapaxes(0, 1).reshape(-1, *margins.shape[2:])


def _own_part(draws: Draws, count: int, axis_name: str) -> Draws:
    """This device's rows."""
    start = lax.axis_index(axis_name) * count
    return jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, start, count) if x.ndim else x, draws)
