"""The few layers whose behaviour differs between torch and Flax, written to torch's.

All take NHWC arrays, any float dtype.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

HE_NORMAL = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")
"""What torchvision draws the convolutions of ResNet and VGG from (He et al. 2015, by the outputs)."""


def max_pool(
    x: Float[Array, "n h w c"], window: int, stride: int, *, padding: int = 0, ceil_mode: bool = False
) -> Float[Array, "n H W c"]:
    """`torch.nn.MaxPool2d`; `ceil_mode` also pools the incomplete windows at the lower and right edges."""
    return _pool(x, window, stride, -jnp.inf, lax.max, padding, ceil_mode)


def average_pool(x: Float[Array, "n h w c"], window: int, stride: int) -> Float[Array, "n H W c"]:
    """`torch.nn.AvgPool2d` without padding."""
    return _pool(x, window, stride, 0.0, lax.add, 0, False) / window**2


def _pool(x: Array, window: int, stride: int, start: float, combine: Any, padding: int, ceil_mode: bool) -> Array:
    pads = [(0, 0)]
    for size in x.shape[1:3]:
        excess = size + 2 * padding - window
        missing = -excess % stride if ceil_mode else 0
        # torch drops a window that would start in the padding.
        if missing and (excess + missing) >= size + padding:
            missing = 0
        pads.append((padding, padding + missing))
    pads.append((0, 0))
    # A NumPy scalar, because JAX can differentiate the reduction only if it sees the neutral element.
    return lax.reduce_window(
        x, np.asarray(start, x.dtype), combine, (1, window, window, 1), (1, stride, stride, 1), pads
    )


def adaptive_average_pool(x: Float[Array, "n h w c"], size: int) -> Float[Array, "n {size} {size} c"]:
    """`torch.nn.AdaptiveAvgPool2d`: cell i averages rows floor(i·H/size) to ceil((i+1)·H/size), likewise columns.

    Two small matrix products, so that any input size is accepted; the cells of an input smaller than `size` overlap.
    """
    if x.shape[1:3] == (size, size):
        return x
    rows, columns = (jnp.asarray(_averages(extent, size), x.dtype) for extent in x.shape[1:3])
    return jnp.einsum("ah,nhwc,bw->nabc", rows, x, columns, precision=lax.Precision.HIGHEST)


def _averages(extent: int, size: int) -> np.ndarray:
    """The (size, extent) matrix whose row i averages cell i."""
    cell, index = np.ogrid[:size, :extent]
    first, end = cell * extent // size, -(-(cell + 1) * extent // size)
    return ((first <= index) & (index < end)) / (end - first)


class Conv(nnx.Conv):
    """`torch.nn.Conv2d`: an `nnx.Conv` with one number of padding, which stays fast on the smallest maps.

    Where a map has fewer positions than the kernel has taps (3×3 on 2×2 and 1×1: the last stages of a ResNet on small
    images), XLA's CPU backend exchanges image and kernel and leaves its fast path; a ResNet-18 step at 32 px then takes
    four times as long. There we multiply the patches with the kernel instead, which is the same sum in another order.
    """

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n H W C"]:  # type: ignore[override]
        (rows, columns), stride, padding = self.kernel_size, self.strides, self.padding
        if not isinstance(stride, int) or not isinstance(padding, int):
            raise TypeError(f"strides {stride!r} and padding {padding!r} must be one number each")
        height, width = (
            (size + 2 * padding - taps) // stride + 1 for size, taps in zip(x.shape[1:3], (rows, columns), strict=True)
        )
        if jax.default_backend() != "cpu" or height * width >= rows * columns:
            return super().__call__(x)
        padded = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
        patches = jnp.concatenate(
            [
                padded[:, row : row + stride * height : stride, column : column + stride * width : stride]
                for row in range(rows)
                for column in range(columns)
            ],
            axis=-1,
        )
        dtype = self.dtype or jnp.result_type(x, self.kernel[...])
        kernel = self.kernel[...].reshape(-1, self.out_features)
        y = patches.astype(dtype) @ kernel.astype(dtype)
        return y if self.bias is None else y + self.bias[...].astype(dtype)


class BatchNorm(nnx.BatchNorm):
    """`torch.nn.BatchNorm2d`: momentum 0.9 in Flax's convention, and an unbiased running variance.

    Flax keeps the biased variance of the batch; torch multiplies it by n / (n - 1) before averaging it in. With
    `axis_name` the statistics, and n, are those of the global batch.
    """

    def __init__(self, features: int, *, axis_name: str | None = None, dtype: Any = None, rngs: nnx.Rngs) -> None:
        # The fast variance E[x²] - E[x]² cancels in float32 where |mean| >> std.
        super().__init__(
            features, momentum=0.9, epsilon=1e-5, axis_name=axis_name, dtype=dtype, use_fast_variance=False, rngs=rngs
        )

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:  # type: ignore[override]
        if self.use_running_average:
            return super().__call__(x)
        before = self.var[...]
        y = super().__call__(x)
        count = x.size // x.shape[-1]
        if self.axis_name is not None:
            count = count * lax.axis_size(self.axis_name)
        if count > 1:
            kept = self.momentum * before
            self.var[...] = jax.lax.stop_gradient(kept + (self.var[...] - kept) * (count / (count - 1)))
        return y
