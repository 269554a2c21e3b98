"""The two networks of Ghiasi et al. (2017), "Exploring the structure of a real-time, arbitrary neural artistic
stylization network", as Magenta ships them: float32 here, 8-bit integers in their files.

The predictor turns a style into a vector of 100 numbers. The transformer turns a photograph into that style; the vector
decides the scale and the shift of its normalizations.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


class Convolution(NamedTuple):
    """A layer's weights; batch normalizations are folded in."""

    kernel: Float[Array, "h w inputs outputs"]
    bias: Float[Array, " outputs"]


Weights = Mapping[str, Convolution]
"""By the layers' TensorFlow names, as `predictor_layers` and `transformer_layers` list them."""

VECTOR = 100
"""Numbers in a style vector."""
BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""MobileNetV2's: expansion, channels, repeats, and the stride of the first of them (Sandler et al. 2018, table 2)."""
RESIDUAL_BLOCKS = 5
EPSILON = 1e-5


class Block(NamedTuple):
    """One block of MobileNetV2."""

    name: str
    expansion: int
    inputs: int
    outputs: int
    stride: int


def _blocks() -> Iterator[Block]:
    number, inputs = 0, 32
    for expansion, outputs, repeats, stride in BLOCKS:
        for repeat in range(repeats):
            name = f"MobilenetV2/expanded_conv{f'_{number}' if number else ''}"
            yield Block(name, expansion, inputs, outputs, 1 if repeat else stride)
            number, inputs = number + 1, outputs


def predictor_layers() -> dict[str, tuple[int, int, int, int]]:
    """The predictor's layers and the shapes of their kernels (h, w, inputs, outputs)."""
    layers = {"MobilenetV2/Conv": (3, 3, 3, 32)}
    for name, expansion, inputs, outputs, _ in _blocks():
        wide = expansion * inputs
        if expansion > 1:
            layers[f"{name}/expand"] = (1, 1, inputs, wide)
        layers |= {f"{name}/depthwise": (3, 3, 1, wide), f"{name}/project": (1, 1, wide, outputs)}
    return layers | {"MobilenetV2/Conv_1": (1, 1, 320, 1280), "mobilenet_conv/Conv": (1, 1, 1280, VECTOR)}


def transformer_layers() -> dict[str, tuple[int, int, int, int]]:
    """The transformer's layers and the shapes of their kernels (h, w, inputs, outputs)."""
    layers = {"contract/conv1": (9, 9, 3, 8), "contract/conv2": (3, 3, 8, 16), "contract/conv3": (3, 3, 16, 32)}
    normalized = {
        f"residual/residual{block}/conv{part}": (3, 3, 32, 32)
        for block in range(1, RESIDUAL_BLOCKS + 1)
        for part in (1, 2)
    }
    normalized |= {"expand/conv1/conv": (3, 3, 32, 16), "expand/conv2/conv": (3, 3, 16, 8)}
    normalized |= {"expand/conv3/conv": (9, 9, 8, 3)}
    styles = {
        f"style_params/transformer/{name}/StyleNorm/{part}": (1, 1, VECTOR, shape[-1])
        for name, shape in normalized.items()
        for part in ("Conv", "Conv_1")
    }
    return {f"transformer/{name}": shape for name, shape in (layers | normalized).items()} | styles


def style_vectors(weights: Weights, images: Float[Array, "n h w 3"]) -> Float[Array, "n 100"]:
    """The predictor: style vectors (N, 100) of images (N, H, W, 3) in [0, 1], of any size; trained at 256 px."""

    def layer(x: Array, name: str, stride: int = 1) -> Array:
        return _convolve(x, weights[name], stride, "SAME")

    x = jax.nn.relu6(layer(images, "MobilenetV2/Conv", 2))
    for name, expansion, inputs, outputs, stride in _blocks():
        y = jax.nn.relu6(layer(x, f"{name}/expand")) if expansion > 1 else x
        y = jax.nn.relu6(_convolve_channels(y, weights[f"{name}/depthwise"], stride))
        y = layer(y, f"{name}/project")
        x = x + y if stride == 1 and inputs == outputs else y
    x = jax.nn.relu6(layer(x, "MobilenetV2/Conv_1"))
    return layer(x.mean(axis=(1, 2), keepdims=True), "mobilenet_conv/Conv")[:, 0, 0]


def transform(
    weights: Weights, images: Float[Array, "n h w 3"], vectors: Float[Array, "n 100"]
) -> Float[Array, "n h w 3"]:
    """The transformer: images (N, H, W, 3) in the style of the vectors, in (0, 1).

    Sides that are no multiples of 4 are filled up by reflection at the right and below, and cut off again.
    """

    def layer(x: Array, name: str, stride: int = 1) -> Array:
        found = weights[f"transformer/{name}"]
        margin = found.kernel.shape[0] // 2
        padded = jnp.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)), mode="reflect")
        return _convolve(padded, found, stride, "VALID")

    def normalized(x: Array, name: str) -> Array:
        shift, scale = (
            _convolve(vectors[:, None, None], weights[f"style_params/transformer/{name}/StyleNorm/{part}"])
            for part in ("Conv", "Conv_1")
        )
        mean = x.mean(axis=(1, 2), keepdims=True)
        variance = jnp.square(x - mean).mean(axis=(1, 2), keepdims=True)
        return (x - mean) * lax.rsqrt(variance + EPSILON) * scale + shift

    height, width = images.shape[1:3]
    x = jnp.pad(images, ((0, 0), (0, -height % 4), (0, -width % 4), (0, 0)), mode="reflect")
    for name, stride in (("conv1", 1), ("conv2", 2), ("conv3", 2)):
        x = jax.nn.relu(layer(x, f"contract/{name}", stride))
    for block in range(1, RESIDUAL_BLOCKS + 1):
        first, second = f"residual/residual{block}/conv1", f"residual/residual{block}/conv2"
        y = jax.nn.relu(normalized(layer(x, first), first))
        x = x + normalized(layer(y, second), second)
    for name in ("expand/conv1/conv", "expand/conv2/conv"):
        x = jax.nn.relu(normalized(layer(x.repeat(2, axis=1).repeat(2, axis=2), name), name))
    x = jax.nn.sigmoid(normalized(layer(x, "expand/conv3/conv"), "expand/conv3/conv"))
    return x[:, :height, :width]


def _convolve(x: Array, weights: Convolution, stride: int = 1, padding: str = "VALID") -> Array:
    numbers = ("NHWC", "HWIO", "NHWC")
    y = lax.conv_general_dilated(x, weights.kernel, (stride, stride), padding, dimension_numbers=numbers)
    return y + weights.bias.reshape(1, 1, 1, -1)


def _convolve_channels(x: Array, weights: Convolution, stride: int) -> Array:
    """A 3×3 convolution of each channel by itself, with TensorFlow's padding: at an even side, none before it.

    On a CPU, XLA's own takes 2 to 90 times as long (two cores, jax 0.10.2).
    """
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    taps = [
        padded[:, row : row + height, column : column + width] * weights.kernel[row, column][None, None]
        for row in range(3)
        for column in range(3)
    ]
    y = sum(taps, start=weights.bias.reshape(1, 1, 1, -1))
    first = [stride - 1 if side % 2 == 0 else 0 for side in (height, width)]
    return y[:, first[0] :: stride, first[1] :: stride]
