"""FastGAN's discriminator: whether images are real, and three reconstructions of those that are.

Sources: as for the generator (`models.fastgan`). At 64 and 128 pixels, which are ours, its end is the same and the
first blocks are left out.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Int

from sparseshape_jax.models.fastgan_layers import SkipExcitation, Up, batch_norm
from sparseshape_jax.models.fastgan_options import Excitation, check_options, discriminator_widths, small_side
from sparseshape_jax.models.layers import AveragePool
from sparseshape_jax.models.spectral import SpectralConv

NUMBERS = (4, 8, 16, 32, 64)
"""Of the blocks that halve the size. The output of number q has 512/q pixels a side, and channels as side 1024/q."""
EXCITED_BY = {16: 2, 32: 4, 64: 8}
"""Blocks whose output an earlier one excites."""
DECODER_WIDTHS = (4, 2, 2, 1)
"""Channels after each doubling in a decoder, in units of `decoder_width`."""


class Real(NamedTuple):
    """What the discriminator makes of real images."""

    logits: Float[Array, "2n 5 5"]
    """Of the images, then of their small copies."""
    big: Float[Array, "n small small 3"]
    """The image as a whole, from the last map; in [-1, 1], as all reconstructions are."""
    small: Float[Array, "n small small 3"]
    """The same from the last map of the small copy."""
    part: Float[Array, "n small small 3"]
    """A quarter of the image, from a quarter of the map before the last."""


class Discriminator(nnx.Module):
    """FastGAN's discriminator, for images (N, size, size, 3) in [-1, 1] and small copies of them.

    In train mode every call uses the statistics of its batch and does a step of power iteration
    (`models.spectral`); both change the state. Real and fake images go in separate calls.

    Args:
        size: side of the images: 64, 128, 256, 512 or 1024.
        ndf: width; 64 gives 11.5 million parameters.
        decoder_width: of the decoders; the authors have 32 at any `ndf`.
        excitation: "linear" or "sigmoid", as the generator's.
        axis_name: of the devices over which statistics are taken.
        dtype: of the computation.
        rngs: the source of the weights.

    Raises:
        InputError: a size or an option that does not exist, or a width that leaves maps without channels.
    """

    def __init__(
        self,
        size: int = 256,
        ndf: int = 64,
        *,
        decoder_width: int = 32,
        excitation: Excitation = "linear",
        axis_name: str | None = None,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ) -> None:
        check_options(size, excitation=excitation)
        self.architecture = "fastgan_discriminator"
        self.size, self.ndf, self.decoder_width, self.excitation = size, ndf, decoder_width, excitation
        self.small_side = small_side(size)
        widths = discriminator_widths(size, ndf)
        options: dict[str, Any] = {"axis_name": axis_name, "dtype": dtype, "rngs": rngs}
        self.stem = _Stem(size, widths, **options)
        first = {64: 8, 128: 4}.get(size, 2)  # the number of the stem's output
        self.numbers = tuple(number for number in NUMBERS if number > first)
        channels = {number: widths[1024 // number] for number in (first, *self.numbers)}
        for number in self.numbers:
            setattr(self, f"down_{number}", _Down(channels[number // 2], channels[number], **options))
        last = channels[64]
        self.rf_big = _RealOrFake(last, widths[8], **options)
        for number, source in self._excited():
            excite = SkipExcitation(channels[source], channels[number], excitation, dtype=dtype, rngs=rngs)
            setattr(self, f"excite_{number}", excite)
        self.from_small = _SmallBranch(self.small_side, widths, **options)
        self.rf_small = SpectralConv(widths[32], 1, 4, dtype=dtype, rngs=rngs)
        self.decoder_big = _Decoder(last, decoder_width, self.small_side, **options)
        self.decoder_part = _Decoder(channels[32], decoder_width, self.small_side, **options)
        self.decoder_small = _Decoder(widths[32], decoder_width, self.small_side, **options)

    def _excited(self) -> tuple[tuple[int, int], ...]:
        """Blocks that are excited, and by which."""
        return tuple((number, source) for number, source in EXCITED_BY.items() if source >= self.numbers[0] // 2)

    def fake(
        self, big: Float[Array, "n size size 3"], small: Float[Array, "n small small 3"]
    ) -> Float[Array, "2n 5 5"]:
        """The logits of generated images, then of the generator's small ones."""
        return self._logits(self._maps(big)[64], self.from_small(small))

    def real(self, images: Float[Array, "n size size 3"], part: Int[Array, ""] | int) -> Real:
        """Logits and reconstructions of real images.

        Args:
            images: at full size; the small copy is made here.
            part: which quarter is reconstructed: 0 top left, 1 top right, 2 bottom left, 3 bottom right. It may be
                traced.
        """
        maps = self._maps(images)
        small = self.from_small(shrunk(images, self.small_side))
        return Real(
            self._logits(maps[64], small),
            self.decoder_big(maps[64]),
            self.decoder_small(small),
            self.decoder_part(quarter(maps[32], part)),
        )

    def _maps(self, images: Array) -> dict[int, Array]:
        maps, sources = {self.numbers[0] // 2: self.stem(images)}, dict(self._excited())
        for number in self.numbers:
            maps[number] = getattr(self, f"down_{number}")(maps[number // 2])
            if number in sources:
                maps[number] = getattr(self, f"excite_{number}")(maps[sources[number]], maps[number])
        return maps

    def _logits(self, big: Array, small: Array) -> Array:
        return jnp.concatenate([self.rf_big(big), self.rf_small(small)])[..., 0]


def shrunk(images: Float[Array, "n h h c"], side: int) -> Float[Array, "n side side c"]:
    """Every (h / side)-th pixel, beginning with the first: torch's `interpolate` to nearest neighbors."""
    step = images.shape[1] // side
    return images[:, ::step, ::step]


def quarter(x: Float[Array, "n h h c"], part: Int[Array, ""] | int) -> Float[Array, "n h/2 h/2 c"]:
    """One quarter of each map or image: 0 top left, 1 top right, 2 bottom left, 3 bottom right."""
    half = x.shape[1] // 2
    part = jnp.asarray(part, jnp.int32)
    x = lax.dynamic_slice_in_dim(x, part // 2 * half, half, axis=1)
    return lax.dynamic_slice_in_dim(x, part % 2 * half, half, axis=2)


def targets(
    images: Float[Array, "n size size 3"], part: Int[Array, ""] | int
) -> tuple[Float[Array, "n small small 3"], Float[Array, "n small small 3"]]:
    """What the reconstructions should be: the small copy for `big` and `small`, the quarter for `part`."""
    side = small_side(images.shape[1])
    return shrunk(images, side), shrunk(quarter(images, part), side)


def _leaky(x: Array) -> Array:
    return nnx.leaky_relu(x, 0.2)


class _Stem(nnx.Module):
    """The first convolutions: images to a map of 256 pixels, or of the images' own size where that is less."""

    def __init__(self, size: int, widths: dict[int, int], *, axis_name: str | None, dtype: Any, rngs: nnx.Rngs) -> None:
        self.shrinks = size > 256
        first = {64: 128, 128: 256, 1024: 1024}.get(size, 512)
        taps, stride = (4, 2) if self.shrinks else (3, 1)
        self.conv1 = SpectralConv(3, widths[first], taps, stride=stride, padding=1, dtype=dtype, rngs=rngs)
        self.twice = size == 1024
        if self.twice:
            self.conv2 = SpectralConv(widths[1024], widths[512], 4, stride=2, padding=1, dtype=dtype, rngs=rngs)
            self.bn2 = batch_norm(widths[512], axis_name=axis_name, dtype=dtype, rngs=rngs)

    def __call__(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n H W c"]:
        x = _leaky(self.conv1(images))
        return _leaky(self.bn2(self.conv2(x))) if self.twice else x


class _Down(nnx.Module):
    """Half the size: the mean of two convolutions and of an average pool with one 1×1 convolution."""

    def __init__(self, inputs: int, features: int, *, axis_name: str | None, dtype: Any, rngs: nnx.Rngs) -> None:
        self.conv1 = SpectralConv(inputs, features, 4, stride=2, padding=1, dtype=dtype, rngs=rngs)
        self.bn1 = batch_norm(features, axis_name=axis_name, dtype=dtype, rngs=rngs)
        self.conv2 = SpectralConv(features, features, 3, padding=1, dtype=dtype, rngs=rngs)
        self.bn2 = batch_norm(features, axis_name=axis_name, dtype=dtype, rngs=rngs)
        self.pool = AveragePool(2, 2)
        self.direct = SpectralConv(inputs, features, 1, dtype=dtype, rngs=rngs)
        self.direct_bn = batch_norm(features, axis_name=axis_name, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n H W C"]:
        y = _leaky(self.bn2(self.conv2(_leaky(self.bn1(self.conv1(x))))))
        return (y + _leaky(self.direct_bn(self.direct(self.pool(x))))) / 2


class _RealOrFake(nnx.Module):
    """Logits (N, 5, 5, 1) of the last map, (N, 8, 8, C)."""

    def __init__(self, inputs: int, features: int, *, axis_name: str | None, dtype: Any, rngs: nnx.Rngs) -> None:
        self.conv1 = SpectralConv(inputs, features, 1, dtype=dtype, rngs=rngs)
        self.bn = batch_norm(features, axis_name=axis_name, dtype=dtype, rngs=rngs)
        self.conv2 = SpectralConv(features, 1, 4, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "n 8 8 c"]) -> Float[Array, "n 5 5 1"]:
        return self.conv2(_leaky(self.bn(self.conv1(x))))


class _SmallBranch(nnx.Module):
    """Small copies to a map (N, 8, 8, C): convolutions that halve the size, all but the first with normalization."""

    def __init__(self, side: int, widths: dict[int, int], *, axis_name: str | None, dtype: Any, rngs: nnx.Rngs) -> None:
        sides = [width for width in (256, 128, 64, 32) if width <= 2 * side]
        self.count, inputs = len(sides), 3
        for index, of in enumerate(sides):
            conv = SpectralConv(inputs, widths[of], 4, stride=2, padding=1, dtype=dtype, rngs=rngs)
            setattr(self, f"conv{index}", conv)
            if index:
                setattr(self, f"bn{index}", batch_norm(widths[of], axis_name=axis_name, dtype=dtype, rngs=rngs))
            inputs = widths[of]

    def __call__(self, x: Float[Array, "n h w 3"]) -> Float[Array, "n 8 8 c"]:
        for index in range(self.count):
            x = getattr(self, f"conv{index}")(x)
            x = _leaky(getattr(self, f"bn{index}")(x) if index else x)
        return x


class _Decoder(nnx.Module):
    """A map (N, 8, 8, C) to images (N, side, side, 3) in [-1, 1]."""

    def __init__(
        self, inputs: int, width: int, side: int, *, axis_name: str | None, dtype: Any, rngs: nnx.Rngs
    ) -> None:
        self.count = (side // 8).bit_length() - 1
        for index, multiple in enumerate(DECODER_WIDTHS[: self.count], start=1):
            up = Up(inputs, multiple * width, axis_name=axis_name, dtype=dtype, rngs=rngs)
            setattr(self, f"up{index}", up)
            inputs = multiple * width
        self.conv = SpectralConv(inputs, 3, 3, padding=1, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "n 8 8 c"]) -> Float[Array, "n side side 3"]:
        for index in range(1, self.count + 1):
            x = getattr(self, f"up{index}")(x)
        return jnp.tanh(self.conv(x))
