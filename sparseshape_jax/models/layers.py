"""The few layers whose behavior differs between torch and Flax, with torch's behavior.

All take NHWC arrays, any float dtype.
"""

from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

Pads = tuple[tuple[int, int], ...]
"""How much is added before and after each of the axes (N, H, W, C)."""

HE_NORMAL = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")
"""The initializer of torchvision's convolutions in ResNet and VGG (He et al. 2015, by the number of outputs)."""


def max_pool(
    x: Float[Array, "n h w c"], window: int, stride: int, *, padding: int = 0, ceil_mode: bool = False
) -> Float[Array, "n H W c"]:
    """`torch.nn.MaxPool2d`; `ceil_mode` also pools the incomplete windows at the lower and right edges."""
    x = jnp.pad(x, _pads(x, window, stride, padding, ceil_mode), constant_values=-jnp.inf)
    # Along a row first, so that the derivative goes to the first of equal maxima in reading order, as in torch.
    return _largest(_largest(x, 2, window, stride), 1, window, stride)


@partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3))
def _largest(x: Array, axis: int, window: int, stride: int) -> Array:
    """Maxima of windows along one axis.

    XLA's CPU backend has no vector code for the reduction of windows, and takes ten times as long for its derivative.
    """
    return reduce(jnp.maximum, _each_place(x, axis, window, stride))


@_largest.defjvp
def _largest_jvp(axis: int, window: int, stride: int, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    largest = _largest(*primals, axis, window, stride)
    found, change = jnp.zeros(largest.shape, bool), jnp.zeros_like(largest)
    values, changes = (_each_place(array, axis, window, stride) for (array,) in (primals, tangents))
    for value, tangent in zip(values, changes, strict=True):
        first = (value == largest) & ~found
        found |= first
        change += jnp.where(first, tangent, 0)
    return largest, change


def _each_place(x: Array, axis: int, window: int, stride: int) -> list[Array]:
    """The first entry of each window along an axis, the second, and so on."""
    extent = max(0, x.shape[axis] - window + 1)
    before = (slice(None),) * axis
    return [x[*before, first : first + extent : stride] for first in range(window)]


class AveragePool(nnx.Module):
    """`torch.nn.AvgPool2d` without padding: (N, H, W, C) to (N, h, w, C)."""

    def __init__(self, window: int, stride: int) -> None:
        self.window, self.stride = window, stride

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n H W c"]:
        pads = _pads(x, self.window, self.stride, 0, False)
        window, stride = ((1, length, length, 1) for length in (self.window, self.stride))
        # A NumPy scalar, because JAX can differentiate the reduction only if it sees the neutral element.
        return lax.reduce_window(x, np.zeros((), x.dtype), lax.add, window, stride, pads) / self.window**2


def _pads(x: Array, window: int, stride: int, padding: int, ceil_mode: bool) -> Pads:
    pads = [(0, 0)]
    for size in x.shape[1:3]:
        excess = size + 2 * padding - window
        missing = -excess % stride if ceil_mode else 0
        # torch drops a window that would start in the padding.
        if missing and (excess + missing) >= size + padding:
            missing = 0
        pads.append((padding, padding + missing))
    pads.append((0, 0))
    return tuple(pads)


class AdaptiveAveragePool(nnx.Module):
    """`torch.nn.AdaptiveAvgPool2d`: cell i averages rows floor(i·H/size) to ceil((i+1)·H/size), likewise columns.

    Two small matrix products, so that any input size is accepted; the cells of an input smaller than `size` overlap.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n s s c"]:
        if x.shape[1:3] == (self.size, self.size):
            return x
        rows, columns = (jnp.asarray(_averages(extent, self.size), x.dtype) for extent in x.shape[1:3])
        return jnp.einsum("ah,nhwc,bw->nabc", rows, x, columns, precision=lax.Precision.HIGHEST)


def _averages(extent: int, size: int) -> np.ndarray:
    """The (size, extent) matrix whose row i averages cell i."""
    cell, index = np.ogrid[:size, :extent]
    first, end = cell * extent // size, -(-(cell + 1) * extent // size)
    return ((first <= index) & (index < end)) / (end - first)


def enlarge(x: Float[Array, "n h w c"]) -> Float[Array, "n H W c"]:
    """Twice the height and width: torch's `Upsample(scale_factor=2, mode="nearest")`."""
    n, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None], (n, h, 2, w, 2, c)).reshape(n, 2 * h, 2 * w, c)


class GlobalAverage(nnx.Module):
    """The mean over the positions of each map: (N, H, W, C) to (N, C), or to (N, 1, 1, C) with `keepdims`."""

    def __init__(self, *, keepdims: bool = False) -> None:
        self.keepdims = keepdims

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n ... c"]:
        return x.mean(axis=(1, 2), keepdims=self.keepdims)


class Add(nnx.Module):
    """The sum of a residual block's branch and its shortcut.

    It is a module, as the averages above are, so that a rule for relevance can replace it.
    """

    def __call__(self, branch: Float[Array, "n h w c"], shortcut: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        return branch + shortcut


class Conv(nnx.Conv):
    """`torch.nn.Conv2d`: an `nnx.Conv` with one number of padding, which stays fast on the smallest maps and kernels.

    A convolution by 1×1 is a matrix product, and XLA's CPU backend multiplies matrices faster than it convolves.
    Where a map has fewer positions than the kernel has taps (3×3 on 2×2 and 1×1: the last stages of a ResNet on small
    images), XLA's CPU backend exchanges image and kernel and leaves its fast path; a ResNet-18 step at 32 px then takes
    four times as long. On a CPU we multiply the patches with the kernel instead: the same sum, in another order. Only
    the chosen branch is compiled, and the backward pass keeps nothing of the other one.
    """

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n H W C"]:  # type: ignore[override]
        (rows, columns), stride, padding = self.kernel_size, self.strides, self.padding
        if not isinstance(stride, int) or not isinstance(padding, int):
            raise TypeError(f"strides {stride!r} and padding {padding!r} must be one number each")
        fast = rows * columns > 1 and not has_few_positions(x, (rows, columns), stride, padding)
        if fast or self.feature_group_count > 1:
            return super().__call__(x)

        def product(x: Array) -> Array:
            dtype = self.dtype or jnp.result_type(x, self.kernel[...])
            y = multiply_patches(x.astype(dtype), self.kernel[...].astype(dtype), stride, padding)
            return y if self.bias is None else y + self.bias[...].astype(dtype).reshape(1, 1, 1, -1)

        return lax.platform_dependent(x, cpu=product, default=super().__call__)


def has_few_positions(x: Array, taps: tuple[int, int], stride: int, padding: int) -> bool:
    """Whether a convolution of `x` has fewer positions than its kernel has taps, which is slow on a CPU."""
    height, width = _output_size(x, taps, stride, padding)
    return height * width < taps[0] * taps[1]


def multiply_patches(
    x: Float[Array, "n h w c"], kernel: Float[Array, "rows columns c C"], stride: int, padding: int
) -> Float[Array, "n H W C"]:
    """The convolution of `x` with a kernel as a product of two matrices."""
    rows, columns = kernel.shape[:2]
    height, width = _output_size(x, (rows, columns), stride, padding)
    padded = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    patches = jnp.concatenate(
        [
            padded[:, row : row + stride * height : stride, column : column + stride * width : stride]
            for row in range(rows)
            for column in range(columns)
        ],
        axis=-1,
    )
    return patches @ kernel.reshape(-1, kernel.shape[-1])


def _output_size(x: Array, taps: tuple[int, int], stride: int, padding: int) -> tuple[int, int]:
    height, width = ((size + 2 * padding - count) // stride + 1 for size, count in zip(x.shape[1:3], taps, strict=True))
    return height, width


class Linear(nnx.Linear):
    """`torch.nn.Linear`: an `nnx.Linear` whose kernel is (out, in), as in torch.

    XLA's CPU backend reads such a kernel as it lies, and repacks the other one at every call: for a batch of 8, VGG16's
    first linear layer takes 30 ms instead of 75 (on two busy cores; `benchmarks/networks.py` times whole networks).
    """

    def __init__(self, in_features: int, out_features: int, **options: Any) -> None:
        super().__init__(in_features, out_features, **options)
        self.kernel = nnx.Param(self.kernel[...].T)

    def __call__(self, x: Float[Array, "n i"]) -> Float[Array, "n o"]:  # type: ignore[override]
        x, kernel, bias = self.promote_dtype((x, self.kernel[...], self.bias[...]), dtype=self.dtype)  # type: ignore[index]
        return lax.dot_general(x, kernel, (((1,), (1,)), ((), ()))) + bias[None]


class SqueezeExcitation(nnx.Module):
    """Multiplies each map by a number in [0, 1] that depends on the means of all maps: (N, H, W, C) to the same.

    Hu et al. (2018), with two 1×1 convolutions on the means. For relevance it is a constant factor.
    """

    def __init__(self, features: int, ratio: int = 16, *, dtype: Any = None, rngs: nnx.Rngs) -> None:
        squeezed = max(1, features // ratio)
        self.fc1 = Conv(features, squeezed, (1, 1), padding=0, kernel_init=HE_NORMAL, dtype=dtype, rngs=rngs)
        self.fc2 = Conv(squeezed, features, (1, 1), padding=0, kernel_init=HE_NORMAL, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        means = x.mean(axis=(1, 2), keepdims=True)
        return x * nnx.sigmoid(self.fc2(nnx.relu(self.fc1(means))))


class BatchNorm(nnx.BatchNorm):
    """`torch.nn.BatchNorm2d`: momentum 0.9 in Flax's convention, and an unbiased running variance.

    Flax keeps the biased variance of the batch; torch multiplies it by n / (n - 1) before averaging it in. With
    `axis_name` the statistics, and n, are those of the global batch.
    """

    def __init__(
        self,
        features: int,
        *,
        epsilon: float = 1e-5,
        scale_init: nnx.Initializer = nnx.initializers.ones,
        axis_name: str | None = None,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ) -> None:
        # The fast variance E[x²] - E[x]² cancels in float32 where |mean| >> std.
        super().__init__(
            features,
            momentum=0.9,
            epsilon=epsilon,
            scale_init=scale_init,
            axis_name=axis_name,
            dtype=dtype,
            use_fast_variance=False,
            rngs=rngs,
        )

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:  # type: ignore[override]
        if self.use_running_average:
            return super().__call__(x)
        before = self.var[...]
        with jax.numpy_dtype_promotion("standard"):  # Flax takes the statistics of half precision in float32
            y = super().__call__(x)
        count = x.size // x.shape[-1]
        if self.axis_name is not None:
            count = count * lax.axis_size(self.axis_name)
        if count > 1:
            kept = self.momentum * before
            self.var[...] = jax.lax.stop_gradient(kept + (self.var[...] - kept) * (count / (count - 1)))
        return y
