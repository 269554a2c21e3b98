"""The two networks of adaptive instance normalization: an encoder, which is the start of a VGG, and a decoder.

Source: Huang & Belongie (2017) and the repository pytorch-AdaIN. Both networks pad by reflection, which leaves no frame
in the images, and the encoder's pools round sizes up. The decoder mirrors the encoder, without normalization: its
convolutions in reverse order, and nearest neighbors in place of pools.
"""

import re
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from sparseshape_jax.errors import InputError
from sparseshape_jax.models.layers import enlarge, max_pool
from sparseshape_jax.models.network import Network, Operator, Steps
from sparseshape_jax.models.vgg import CONVOLUTIONS, FEATURES

ENCODER_INDICES = (0, 2, 5, 9, 12, 16, 19, 22, 25, 29, 32, 35, 38, 42, 45, 48, 51)
"""Where the convolutions are in pytorch-AdaIN's encoder, counted with paddings, activations and pools."""

TORCH_UNIFORM = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
"""torch's default for kernels, from which pytorch-AdaIN's decoder starts. It keeps the first images near 0."""


class ReflectionConv(nnx.Conv):
    """A 3×3 convolution after reflection padding: torch's `ReflectionPad2d(1)` and `Conv2d(inputs, outputs, 3)`.

    Maps need 2×2 positions. On a CPU the map is padded with zeros, and the rows and columns at the edges are computed
    again from strips that are padded as they should be: the same numbers in a quarter of the time, because XLA has a
    fast path for convolutions that keep the size and none for those that do not.
    """

    def __init__(self, inputs: int, outputs: int, *, dtype: Any = None, rngs: nnx.Rngs) -> None:
        super().__init__(inputs, outputs, (3, 3), padding="REFLECT", kernel_init=TORCH_UNIFORM, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w C"]:  # type: ignore[override]
        return lax.platform_dependent(x, cpu=self._by_strips, default=super().__call__)

    def _by_strips(self, x: Array) -> Array:
        x, kernel, bias = self.promote_dtype((x, self.kernel[...], self.bias[...]), dtype=self.dtype)  # type: ignore[index]

        def convolve(x: Array, rows: int, columns: int) -> Array:
            padding = ((rows, rows), (columns, columns))
            y = lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))
            return y + bias.reshape(1, 1, 1, -1)

        def wide(x: Array) -> Array:
            return jnp.concatenate([x[:, :, 1:2], x, x[:, :, -2:-1]], axis=2)

        y = convolve(x, 1, 1)
        left = jnp.concatenate([x[:, :, 1:2], x[:, :, :2]], axis=2)
        right = jnp.concatenate([x[:, :, -2:], x[:, :, -2:-1]], axis=2)
        y = y.at[:, :, :1].set(convolve(left, 1, 0)).at[:, :, -1:].set(convolve(right, 1, 0))
        top = jnp.concatenate([x[:, 1:2], x[:, :2]], axis=1)
        bottom = jnp.concatenate([x[:, -2:], x[:, -2:-1]], axis=1)
        # The corners are among the rows, which are written last.
        return y.at[:, :1].set(convolve(wide(top), 0, 0)).at[:, -1:].set(convolve(wide(bottom), 0, 0))


ceil_pool: Operator = partial(max_pool, window=2, stride=2, ceil_mode=True)
"""torch's `MaxPool2d((2, 2), ceil_mode=True)`."""


def vgg_position(layer: str, depth: int) -> tuple[int, int]:
    """Block and position of a layer such as relu3_1, in a VGG of a depth.

    Raises:
        InputError: not the name of a ReLU of the convolutions.
    """
    found = re.fullmatch(r"relu([1-5])_([1-4])", layer)
    if found and depth in CONVOLUTIONS and int(found[2]) <= CONVOLUTIONS[depth][int(found[1]) - 1]:
        return int(found[1]), int(found[2])
    raise InputError(f"VGG{depth} has no {layer!r} to decode from; give one of its ReLUs, such as relu3_1 or relu4_1")


class Encoder(Network):
    """The start of a VGG, padded by reflection: images (N, H, W, 3) to features at `layer`.

    Activations: (`rgb`,) `conv1_1`, `relu1_1`, …, `pool1`, …, `layer`.

    Args:
        depth: of the VGG: 11, 13, 16 or 19.
        layer: the last activation, a ReLU.
        rgb: begin with a 1×1 convolution from RGB in [0, 1] to what the VGG wants, as pytorch-AdaIN's file does;
            without it, images must be normalized.
        dtype: of the computation.
        rngs: the source of the weights.
    """

    def __init__(self, depth: int, layer: str, *, rgb: bool = False, dtype: Any = None, rngs: nnx.Rngs) -> None:
        self.architecture = f"vgg{depth}_normalized" if rgb else f"vgg{depth}"
        self.depth, self.last, self.has_rgb = depth, vgg_position(layer, depth), rgb
        if rgb:
            self.rgb = nnx.Conv(3, 3, (1, 1), dtype=dtype, rngs=rngs)
        inputs = 3
        for block, index in vgg_convolutions(depth, layer):
            features = FEATURES[block - 1]
            setattr(self, f"conv{block}_{index}", ReflectionConv(inputs, features, dtype=dtype, rngs=rngs))
            inputs = features

    def steps(self) -> Steps:
        if self.has_rgb:
            yield "rgb", self.rgb
        before = 1
        for block, index in vgg_convolutions(self.depth, "relu{}_{}".format(*self.last)):
            if block > before:
                yield f"pool{before}", ceil_pool
            before = block
            yield f"conv{block}_{index}", getattr(self, f"conv{block}_{index}")
            yield f"relu{block}_{index}", nnx.relu

    @property
    def layers(self) -> dict[str, str]:
        """The layers in pytorch-AdaIN's file, by their torch index, to ours."""
        ours = (
            "rgb",
            *("conv{}_{}".format(*each) for each in vgg_convolutions(self.depth, "relu{}_{}".format(*self.last))),
        )
        return dict(zip(map(str, ENCODER_INDICES), ours, strict=False))


def vgg_convolutions(depth: int, layer: str) -> list[tuple[int, int]]:
    """Block and position of each of a VGG's convolutions up to `layer`."""
    every = [
        (block, index) for block, count in enumerate(CONVOLUTIONS[depth], start=1) for index in range(1, count + 1)
    ]
    return every[: every.index(vgg_position(layer, depth)) + 1]


def smallest_side(encoder: Encoder) -> int:
    """The shortest side that an image may have, since the last map needs two pixels to be padded by reflection."""
    return 2 ** (encoder.last[0] - 1) + 1


class Mirrored(NamedTuple):
    """One of a decoder's convolutions."""

    features: int
    enlarged: bool
    """Whether its input is enlarged to twice the size before."""


def mirror(depth: int, layer: str, width: float = 1.0) -> list[Mirrored]:
    """The convolutions of the decoder that mirrors a VGG up to `layer`, with `width` times as many features.

    pytorch-AdaIN's decoder is that of VGG19, relu4_1, width 1.
    """
    backwards = vgg_convolutions(depth, layer)[::-1]
    mirrored = []
    for position, (block, index) in enumerate(backwards):
        outputs = FEATURES[block - 1] if index > 1 else FEATURES[block - 2]
        features = 3 if (block, index) == (1, 1) else max(1, round(width * outputs))
        mirrored.append(Mirrored(features, position > 0 and backwards[position - 1][0] > block))
    return mirrored


class Decoder(Network):
    """Features (N, h, w, C) at an encoder's layer to images (N, H, W, 3), RGB, not clipped to [0, 1].

    Sides are those of the features times 2 for each of the encoder's pools, so up to that many pixels more than the
    image that was encoded. Activations: `conv1`, `relu1`, …; `enlarge2` where sizes double; the last one is `image`.

    Args: `depth` and `layer` of the encoder; the others are as in `mirror` and `Encoder`.
    """

    def __init__(self, depth: int, layer: str, width: float = 1.0, *, dtype: Any = None, rngs: nnx.Rngs) -> None:
        self.architecture = "adain_decoder"
        block, _ = vgg_position(layer, depth)
        inputs = self.inputs = FEATURES[block - 1]
        self.enlarged = tuple(each.enlarged for each in mirror(depth, layer, width))
        for number, each in enumerate(mirror(depth, layer, width), start=1):
            setattr(self, f"conv{number}", ReflectionConv(inputs, each.features, dtype=dtype, rngs=rngs))
            inputs = each.features
        # Mid-gray, so that the first steps need not push every unit in one direction, beyond which ReLUs die.
        getattr(self, f"conv{number}").bias.set_value(jnp.full(3, 0.5, jnp.float32))

    def steps(self) -> Steps:
        for number, enlarged in enumerate(self.enlarged, start=1):
            if enlarged:
                yield f"enlarge{number}", enlarge
            if number == len(self.enlarged):
                yield "image", getattr(self, f"conv{number}")
            else:
                yield f"conv{number}", getattr(self, f"conv{number}")
                yield f"relu{number}", nnx.relu

    @property
    def first(self) -> nnx.Conv:
        """The first convolution."""
        return self.conv1  # type: ignore[attr-defined]

    @property
    def layers(self) -> dict[str, str]:
        """The layers in torch's layout, by index, to ours: it counts paddings, activations and enlargements."""
        indices = accumulate(4 if enlarged else 3 for enlarged in self.enlarged[1:]) if self.enlarged else ()
        return {str(1 + index): f"conv{number}" for number, index in enumerate((0, *indices), start=1)}

    def check_input(self, inputs: Array | np.ndarray) -> None:
        if inputs.ndim != 4 or inputs.shape[-1] != self.inputs:
            raise InputError(f"features have shape {tuple(inputs.shape)}; this decoder takes (N, h, w, {self.inputs})")
