"""Convolutions whose kernels are divided by their largest singular value, which power iteration follows.

Source: Miyato et al. (2018), as torch's older `spectral_norm` has it. With the kernel as a matrix M, one row for each
output, every pass in train mode sets v = Mᵀu/‖Mᵀu‖, then u = Mv/‖Mv‖, once, without a gradient; the kernel is divided
by σ = uᵀMv, whose gradient flows through M alone. In eval mode the stored u and v are used as they are. Flax's
`SpectralNorm` differs: it also iterates where σ is only read, and its v is not kept.
"""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from sparseshape_jax.models.layers import has_few_positions, multiply_patches

NORMAL = nnx.initializers.normal(0.02)
"""The first kernels: N(0, 0.02)."""
SMALLEST = 1e-12
"""Norms are at least this."""


class SpectralVector(nnx.BatchStat):
    """One of u and v: a statistic, as batch normalization's are, so that whatever keeps those keeps it, too."""


class SpectralKernel(nnx.Module):
    """A kernel with its u (outputs,) and v (in·rows·columns,), the latter flattened in torch's order.

    Args:
        shape: of the kernel.
        to_matrix: the order of its axes in torch, outputs first.
        dtype: of the computation.
        rngs: the source of the kernel, u and v.
    """

    def __init__(self, shape: tuple[int, ...], to_matrix: tuple[int, ...], *, dtype: Any, rngs: nnx.Rngs) -> None:
        self.kernel = nnx.Param(NORMAL(rngs.params(), shape, jnp.float32))
        self.to_matrix, self.dtype = to_matrix, dtype
        rows, columns = self.matrix().shape
        self.u = SpectralVector(_normalized(nnx.initializers.normal(1.0)(rngs.params(), (rows,), jnp.float32)))
        self.v = SpectralVector(_normalized(nnx.initializers.normal(1.0)(rngs.params(), (columns,), jnp.float32)))
        self.use_running_average = False  # Flax's name of eval mode, which `train()` and `eval()` set

    def matrix(self) -> Float[Array, "outputs inputs"]:
        """The kernel as a matrix M."""
        kernel = self.kernel[...].transpose(self.to_matrix)
        return kernel.reshape(len(kernel), -1)

    def iterate(self, times: int = 1) -> None:
        """Do some steps of power iteration."""
        matrix = lax.stop_gradient(self.matrix())

        def step(_: Any, vectors: tuple[Array, Array]) -> tuple[Array, Array]:
            v = _normalized(_product(vectors[0], matrix))
            return _normalized(_product(matrix, v)), v

        vectors = (self.u[...], self.v[...])
        self.u[...], self.v[...] = step(0, vectors) if times == 1 else lax.fori_loop(0, times, step, vectors)

    def divided(self, x: Array) -> tuple[Array, Array]:
        """`x`, and the kernel divided by σ, in the dtype of the computation; in train mode after a step."""
        if not self.use_running_average:
            self.iterate()
        u, v = lax.stop_gradient((self.u[...], self.v[...]))
        kernel = self.kernel[...] / _product(u, _product(self.matrix(), v))
        dtype = self.dtype or jnp.result_type(x, kernel)
        return x.astype(dtype), kernel.astype(dtype)


class SpectralConv(SpectralKernel):
    """A convolution without a bias, its kernel divided by its largest singular value: (N, H, W, C) to (N, h, w, out).

    Args:
        inputs: channels of the input.
        features: channels of the output.
        taps: side of the kernel.
        stride: in both directions.
        padding: zeros on every side.
        dtype: of the computation.
        rngs: the source of the kernel, u and v.
    """

    def __init__(
        self,
        inputs: int,
        features: int,
        taps: int,
        *,
        stride: int = 1,
        padding: int = 0,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ) -> None:
        super().__init__((taps, taps, inputs, features), (3, 2, 0, 1), dtype=dtype, rngs=rngs)
        self.taps, self.stride, self.padding = (taps, taps), stride, padding

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n H W C"]:
        x, kernel = self.divided(x)
        pads = (self.padding, self.padding)

        def convolve(x: Array, kernel: Array) -> Array:
            order = ("NHWC", "HWIO", "NHWC")
            return lax.conv_general_dilated(
                x, kernel, (self.stride, self.stride), (pads, pads), dimension_numbers=order
            )

        if not has_few_positions(x, self.taps, self.stride, self.padding):
            return convolve(x, kernel)
        # As in `layers.Conv`: on a CPU a product of matrices is faster there.
        return lax.platform_dependent(
            x, kernel, cpu=lambda x, kernel: multiply_patches(x, kernel, self.stride, self.padding), default=convolve
        )


class SpectralFromVector(SpectralKernel):
    """torch's `ConvTranspose2d(inputs, features, side)` on 1×1 maps: vectors (N, inputs) to (N, side, side, features).

    The kernel is (side, side, features, inputs), which torch has as (inputs, features, side, side).
    """

    def __init__(self, inputs: int, features: int, side: int, *, dtype: Any = None, rngs: nnx.Rngs) -> None:
        super().__init__((side, side, features, inputs), (2, 3, 0, 1), dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "n inputs"]) -> Float[Array, "n side side features"]:
        x, kernel = self.divided(x)
        return jnp.einsum("nz,hwoz->nhwo", x, kernel)


def converge(network: nnx.Module, times: int = 100) -> None:
    """Do many steps of power iteration for every kernel of `network`, in place, in either mode."""
    for _, module in nnx.iter_modules(network):
        if isinstance(module, SpectralKernel):
            module.iterate(times)


def _product(a: Array, b: Array) -> Array:
    """A product with a vector; at full precision on accelerators, too, since every kernel is divided by it."""
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def _normalized(vector: Array) -> Array:
    return vector / jnp.maximum(jnp.linalg.norm(vector), SMALLEST)
