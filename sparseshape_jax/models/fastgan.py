"""FastGAN's generator: from latent vectors to images, through maps of doubling size.

Sources: Liu et al. (2021), "Towards faster and stabilized GAN training for high-fidelity few-shot image synthesis", and
the few-shot code of Li et al. (2023), which keeps the strongest few activations of some of these maps. Where the two
differ, the defaults are those of Li et al.: no noise, and skip-layer excitation without its sigmoid. Sizes of 64 and
128 pixels are ours.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from sparseshape_jax.errors import InputError
from sparseshape_jax.models.fastgan_layers import SkipExcitation, Up, batch_norm, gated_linear_unit
from sparseshape_jax.models.fastgan_options import Excitation, Noise, check_options, generator_widths, small_side
from sparseshape_jax.models.layers import enlarge
from sparseshape_jax.models.network import Network, Operator, Steps
from sparseshape_jax.models.registry import Architecture, register
from sparseshape_jax.models.spectral import SpectralConv, SpectralFromVector

NOISY = (8, 32, 128, 512)
"""Sides of the maps that are computed by two convolutions, each with noise; the others have one, without."""
EXCITED = (64, 128, 256, 512)
"""Sides of the maps that the map of a sixteenth of the side excites."""


class Images(NamedTuple):
    """What a generator makes of latent vectors: images in about [-1, 1], which only at 1024 pixels are bounded."""

    big: Float[Array, "n size size 3"]
    small: Float[Array, "n small small 3"]
    """The same pictures at `small_side`, made from an earlier map."""


class Generator(Network):
    """FastGAN's generator. Latent vectors (N, nz), drawn from N(0, 1), to images (N, size, size, 3).

    Activations: `feat_4`, `feat_8`, … `feat_{size}`, each after its excitation; `small`, `big`. What follows one of
    them, the excitations too, sees what an operator makes of it.

    In train mode batch normalization uses the statistics of the batch, and every kernel does a step of power iteration
    (`models.spectral`); both change the network's state. In eval mode an image depends on its latent vector alone.

    Args:
        size: side of the images: 64, 128, 256, 512 or 1024.
        ngf: width; 64 gives 29 million parameters.
        nz: length of a latent vector.
        noise: "none", or "learned": noise is added to some maps, at a learned strength, initially 0. It is drawn from
            a key that the latent vector's bits make, so that equal vectors get equal images.
        excitation: "linear", the published results; or "sigmoid", FastGAN's own.
        axis_name: of the devices over which statistics are taken.
        dtype: of the computation.
        rngs: the source of the weights.

    Raises:
        InputError: a size or an option that does not exist, or a width that leaves maps without channels.
    """

    def __init__(
        self,
        size: int = 256,
        ngf: int = 64,
        nz: int = 256,
        *,
        noise: Noise = "none",
        excitation: Excitation = "linear",
        axis_name: str | None = None,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ) -> None:
        check_options(size, noise, excitation)
        self.architecture = "fastgan"
        self.size, self.ngf, self.nz, self.noise, self.excitation = size, ngf, nz, noise, excitation
        self.small_side = small_side(size)
        widths = generator_widths(size, ngf)
        self.sides = tuple(widths)
        options: dict[str, Any] = {"axis_name": axis_name, "dtype": dtype, "rngs": rngs}
        self.feat_4 = _First(nz, widths[4], **options)
        for before, side in zip(self.sides, self.sides[1:], strict=False):
            if side in NOISY:
                block: nnx.Module = _NoisyUp(widths[before], widths[side], side, **options)
            else:
                block = Up(widths[before], widths[side], **options)
            setattr(self, f"feat_{side}", block)
        for side in self._excited():
            excite = SkipExcitation(widths[side // 16], widths[side], excitation, dtype=dtype, rngs=rngs)
            setattr(self, f"excite_{side}", excite)
        self.to_small = SpectralConv(widths[self.small_side], 3, 1, dtype=dtype, rngs=rngs)
        self.to_big = SpectralConv(widths[size], 3, 3, padding=1, dtype=dtype, rngs=rngs)

    def _excited(self) -> tuple[int, ...]:
        return tuple(side for side in EXCITED if side <= self.size)

    def steps(self) -> Steps:
        maps: dict[int, Array] = {}
        keys: list[Array] = []

        def first(latents: Array) -> Array:
            if self.noise == "learned":
                keys.append(_noise_keys(latents))
            return self.feat_4(latents)

        def next_map(side: int, x: Array) -> Array:
            block = getattr(self, f"feat_{side}")
            x = block(x, keys[0] if keys else None) if side in NOISY else block(x)
            return getattr(self, f"excite_{side}")(maps[side // 16], x) if side in self._excited() else x

        maps[4] = yield "feat_4", first
        for side in self.sides[1:]:
            maps[side] = yield f"feat_{side}", partial(next_map, side)
        yield "small", lambda _: self._bounded(self.to_small(maps[self.small_side]))
        yield "big", lambda _: self._bounded(self.to_big(maps[self.size]))

    def _bounded(self, x: Array) -> Array:
        return jnp.tanh(x) if self.size == 1024 else x

    def images(self, latents: Float[Array, "n nz"], *, at: dict[str, Operator] | None = None) -> Images:
        """Both outputs.

        Args:
            latents: the latent vectors.
            at: what to apply at which activation; see `Network`.

        Raises:
            InputError: an activation that the generator does not have, or vectors of another length.
        """
        found = self.activations(latents, ("small", "big"), at=at)
        return Images(found["big"], found["small"])

    def check_input(self, inputs: Array | np.ndarray) -> None:
        if inputs.ndim != 2 or inputs.shape[-1] != self.nz:
            raise InputError(f"latent vectors have shape {tuple(inputs.shape)}; this generator takes (N, {self.nz})")


class _First(nnx.Module):
    """The map of side 4."""

    def __init__(self, nz: int, features: int, *, axis_name: str | None, dtype: Any, rngs: nnx.Rngs) -> None:
        self.conv = SpectralFromVector(nz, 2 * features, 4, dtype=dtype, rngs=rngs)
        self.bn = batch_norm(2 * features, axis_name=axis_name, dtype=dtype, rngs=rngs)

    def __call__(self, latents: Float[Array, "n nz"]) -> Float[Array, "n 4 4 c"]:
        return gated_linear_unit(self.bn(self.conv(latents)))


class _NoisyUp(nnx.Module):
    """Twice the size by two convolutions, each with noise before its normalization; `side` is that of the map."""

    def __init__(
        self,
        inputs: int,
        features: int,
        side: int,
        *,
        axis_name: str | None,
        dtype: Any,
        rngs: nnx.Rngs,
    ) -> None:
        for index, width in ((1, inputs), (2, features)):
            setattr(self, f"conv{index}", SpectralConv(width, 2 * features, 3, padding=1, dtype=dtype, rngs=rngs))
            setattr(self, f"noise{index}", _Noise(2 * side + index))
            setattr(self, f"bn{index}", batch_norm(2 * features, axis_name=axis_name, dtype=dtype, rngs=rngs))

    def __call__(self, x: Float[Array, "n h w c"], keys: Array | None) -> Float[Array, "n H W C"]:
        x = enlarge(x)
        for index in (1, 2):
            x = getattr(self, f"conv{index}")(x)
            if keys is not None:
                x = getattr(self, f"noise{index}")(x, keys)
            x = gated_linear_unit(getattr(self, f"bn{index}")(x))
        return x


class _Noise(nnx.Module):
    """Adds noise that all channels share, at a learned strength; files have the strength where noise is off, too."""

    def __init__(self, place: int) -> None:
        self.place = place
        self.scale = nnx.Param(jnp.zeros(1))

    def __call__(self, x: Float[Array, "n h w c"], keys: Array) -> Float[Array, "n h w c"]:
        def draw(key: Array) -> Array:
            return jax.random.normal(jax.random.fold_in(key, self.place), (*x.shape[1:3], 1), x.dtype)

        return x + self.scale[...].astype(x.dtype).reshape(1, 1, 1, 1) * jax.vmap(draw)(keys)


def _noise_keys(latents: Float[Array, "n nz"]) -> Array:
    """A random key for each latent vector, made from its bits in float32."""
    bits = lax.bitcast_convert_type(latents.astype(jnp.float32), jnp.uint32)
    # Odd multipliers, so that every bit counts.
    multipliers = np.random.default_rng(0).integers(2**32, size=(bits.shape[-1], 2), dtype=np.uint32) | np.uint32(1)
    words = jnp.sum(bits[:, :, None] * multipliers[None], axis=1, dtype=jnp.uint32)
    return jax.random.wrap_key_data(words, impl="threefry2x32")


register(
    "fastgan",
    Architecture(
        Generator,
        options=frozenset({"size", "ngf", "nz", "noise", "excitation", "axis_name"}),
        top_k_after=("feat_32",),  # the paper's
        place_name="feat_{}",
    ),
)
