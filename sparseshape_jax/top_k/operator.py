"""Top-K sparse activations: keep the strongest few of each feature map. The only implementation in this project.

Source: Li et al. (NeurIPS 2023), whose PyTorch code selects with `torch.topk` on |x| and scatters. We depart from it in
that ties are defined: the lower index wins, as `lax.top_k` documents, while torch leaves them open. That matters, since
most entries tie at zero after a ReLU, and in bfloat16 ties are everywhere.

Two methods find the same k entries. `top_k` is the definition, built on `lax.top_k`. `threshold` searches the bit
pattern of the k-th largest value, since floats of one sign order like the integers that they are stored as: one pass of
counting per step, in place, where `lax.top_k` sorts transposed rows.
"""

import math
import operator
from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from sparseshape_jax.errors import InputError
from sparseshape_jax.top_k.options import Keep, Method, Scope, check_fraction

_CACHED = 2**23
"""Bytes. On a CPU, larger batches are searched a few images at a time, so that every pass finds them in its cache."""

_PARTS = 8
"""Into how many parts positions are divided when they are counted; with more, XLA's CPU compiler stops vectorizing."""

AXES: dict[Scope, tuple[int, ...]] = {"spatial": (-3, -2), "channel": (-1,), "volume": (-3, -2, -1)}
"""Which axes of an NHWC array compete with each other."""


def keep_top_k(
    x: Float[Array, "*n h w c"],
    fraction: float | Float[Array, ""] | None = None,
    *,
    k: int | Int[Array, ""] | None = None,
    keep: Keep = "top",
    scope: Scope = "spatial",
    blend: float | Float[Array, ""] = 1.0,
    mean_replace: bool = False,
    method: Method = "auto",
) -> Float[Array, "*n h w c"]:
    """Keep the k entries of largest magnitude and zero the others; k = max(1, int(fraction · positions)), or as given.

    Exactly k survive, with their sign; among equal magnitudes the lower index (row-major) goes first. The gradient is
    mask · cotangent, with the mask of the forward pass. Works under `jit`, `grad`, `jvp`, `vmap`, `pmap`, `shard_map`.

    Args:
        x: activations without NaN, any float dtype.
        fraction: keep fraction in (0, 1]. A Python number fixes k when compiling, the fast case; a traced scalar may
            change without recompiling (k then comes from a float32 product, and may differ by one where
            fraction · positions is a whole number).
        k: how many entries to keep, in place of `fraction`: from 1 to the number of positions. A traced integer may
            change without recompiling, and is exact; `kept` gives it for a shape and a fraction.
        keep: "top" as above; "rest" zeroes exactly those k entries instead; "all" returns `x`.
        scope: what competes: "spatial", the H·W positions of each channel; "channel", the channels at each position (k
            winners take all); or "volume", all of an image.
        blend: blend · sparse + (1 - blend) · x (the reference's tau).
        mean_replace: choose by *signed* value and replace the survivors by their mean, as the reference's variant does;
            only with `keep="top"`.
        method: "top_k", "threshold", or "auto", the faster one as measured; bit for bit the same result.

    Raises:
        InputError: a number or word outside those listed, fewer than three axes, an integer array, or both or neither
            of `fraction` and `k`.
    """
    if keep not in get_args(Keep):
        raise InputError(f"Top-K: keep is {keep!r}; it can be {', '.join(get_args(Keep))}")
    if not jnp.issubdtype(x.dtype, jnp.floating) or x.ndim < 3:
        raise InputError(f"Top-K: got {x.dtype}{list(x.shape)}; it takes a float array of shape (…, H, W, C)")
    if mean_replace and keep != "top":
        raise InputError(f"Top-K: mean_replace replaces the survivors of keep='top', but keep is {keep!r}")
    if keep == "all":
        return x

    # The mask is a constant of differentiation: `where` saves it for the backward pass, so no comparison is made again
    # there on values that XLA may have recomputed differently. (A custom VJP would do the same but forbid `jvp`.)
    mask = top_k_mask(lax.stop_gradient(x), fraction, k=k, scope=scope, signed=mean_replace, method=method)
    if mean_replace:
        axes = AXES[scope]
        # Sums of half precision are taken in float32, as torch takes them.
        accumulator = jnp.float32 if jnp.finfo(x.dtype).bits < 32 else x.dtype
        survivors = jnp.sum(jnp.where(mask, x, 0), axes, keepdims=True, dtype=accumulator)
        mean = survivors / jnp.sum(mask, axes, keepdims=True, dtype=accumulator)
        sparse = jnp.where(mask, mean.astype(x.dtype), 0)
    else:
        sparse = jnp.where(mask if keep == "top" else ~mask, x, 0)
    if isinstance(blend, int | float) and blend == 1:
        return sparse
    return (blend * sparse + (1 - blend) * x).astype(x.dtype)


def top_k_mask(
    x: Float[Array, "*n h w c"],
    fraction: float | Float[Array, ""] | None = None,
    *,
    k: int | Int[Array, ""] | None = None,
    scope: Scope = "spatial",
    signed: bool = False,
    method: Method = "auto",
) -> Bool[Array, "*n h w c"]:
    """True at the k entries of largest magnitude (or value, if `signed`); see `keep_top_k`."""
    if method not in get_args(Method):
        raise InputError(f"Top-K: method is {method!r}; it can be {', '.join(get_args(Method))}")
    positions = _positions(x.shape, scope)
    k = _count_to_keep(x.shape, fraction, k, scope)
    if isinstance(k, int) and k == positions:
        return jnp.ones(x.shape, bool)
    # -0 and +0 tie, as the numbers do, although their bits differ.
    values = jnp.where(x == 0, jnp.zeros_like(x), x) if signed else jnp.abs(x)
    return _METHODS[method](values, k, scope)


def kept(shape: Sequence[int], fraction: float, scope: Scope = "spatial") -> int:
    """How many entries `keep_top_k` keeps of those that compete, in an array of `shape` (…, H, W, C).

    Raises:
        InputError: a fraction outside (0, 1], an unknown scope, or fewer than three axes.
    """
    check_fraction(fraction)
    return max(1, int(fraction * _positions(shape, scope)))


def _positions(shape: Sequence[int], scope: Scope) -> int:
    if scope not in AXES:
        raise InputError(f"Top-K: scope is {scope!r}; it can be {', '.join(AXES)}")
    if len(shape) < 3:
        raise InputError(f"Top-K: the shape is {list(shape)}; it must be (…, H, W, C)")
    return _size(shape, AXES[scope])


def _size(shape: Sequence[int], axes: tuple[int, ...]) -> int:
    return math.prod(shape[axis] for axis in axes)


def _count_to_keep(
    shape: Sequence[int], fraction: float | Array | None, k: int | Array | None, scope: Scope
) -> int | Array:
    if (fraction is None) == (k is None):
        raise InputError("Top-K: give either a keep fraction or k")
    if k is not None:
        if not jnp.issubdtype(jnp.result_type(k), jnp.integer):
            raise InputError(f"Top-K: k is {k}; it must be an integer")
        k = int(k) if isinstance(k, np.integer) else k
        positions = _positions(shape, scope)
        if isinstance(k, int) and not 1 <= k <= positions:
            raise InputError(f"Top-K: k is {k}; it must be from 1 to the {positions} positions that compete")
        return k
    assert fraction is not None
    if isinstance(fraction, jax.core.Tracer | jax.Array):
        return jnp.maximum(1, (fraction * _positions(shape, scope)).astype(jnp.int32))
    return kept(shape, fraction, scope)


def _mask_by_top_k(values: Array, k: int | Array, scope: Scope) -> Array:
    """The definition. Indices are used, not values: with the values alone XLA's CPU compiler sorts whole rows."""
    axes = AXES[scope]
    competing = tuple(range(-len(axes), 0))
    moved = jnp.moveaxis(values, axes, competing)
    rows = moved.reshape(*moved.shape[: -len(axes)], -1)
    # A traced k cannot be a shape: then all are ranked and the first k taken.
    _, indices = lax.top_k(rows, k if isinstance(k, int) else rows.shape[-1])
    survives = jnp.broadcast_to(jnp.arange(indices.shape[-1]) < k, indices.shape)
    mask = jnp.put_along_axis(jnp.zeros(rows.shape, bool), indices, survives, axis=-1, inplace=False)
    return jnp.moveaxis(mask.reshape(moved.shape), competing, axes)


def _mask_by_threshold(values: Array, k: int | Array, scope: Scope, *, stop_early: bool) -> Array:
    search = partial(_search_threshold, stop_early=stop_early)
    keys = _ordered_bits(values.reshape(_competing(values.shape, scope)))
    limits = jnp.iinfo(keys.dtype)
    threshold, reached = search(keys, k, limits.min, limits.max)
    # Usually exactly k keys reach the threshold; otherwise several tie there and the first few of them survive.
    mask = lax.cond(
        jnp.all(reached == k),
        lambda: keys >= threshold,
        lambda: (keys > threshold) | _first(keys == threshold, k - _count(keys > threshold, keys.dtype), search),
    )
    return mask.reshape(values.shape)


def _mask_in_blocks(values: Array, k: int | Array, scope: Scope) -> Array:
    """The same, with large batches searched a few images after the others; for CPUs."""
    if values.ndim != 4 or values.nbytes <= _CACHED:
        return _mask_by_threshold(values, k, scope, stop_early=True)
    images, *shape = values.shape
    several = max(n for n in range(1, images + 1) if images % n == 0 and (n == 1 or n * values[0].nbytes <= _CACHED))
    blocks = values.reshape(images // several, several, *shape)
    masks = lax.map(lambda block: _mask_by_threshold(block, k, scope, stop_early=True), blocks)
    return masks.reshape(values.shape)


def _threshold(values: Array, k: int | Array, scope: Scope) -> Array:
    return lax.platform_dependent(
        values,
        jnp.asarray(k, jnp.int32),
        cpu=lambda values, k: _mask_in_blocks(values, k, scope),
        default=lambda values, k: _mask_by_threshold(values, k, scope, stop_early=False),
    )


def _auto(values: Array, k: int | Array, scope: Scope) -> Array:
    """The faster method, as measured on a CPU (`benchmarks/top_k.py`): there the search wins at every shape and k.

    Elsewhere nothing has been measured; `lax.top_k` has kernels of its own there, so the definition is the default.
    """
    static = k if isinstance(k, int) else None
    return lax.platform_dependent(
        values,
        jnp.asarray(k, jnp.int32),
        cpu=lambda values, k: _mask_in_blocks(values, k, scope),
        default=lambda values, k: _mask_by_top_k(values, k if static is None else static, scope),
    )


_METHODS: dict[Method, Callable[[Array, int | Array, Scope], Array]] = {
    "top_k": _mask_by_top_k,
    "threshold": _threshold,
    "auto": _auto,
}


def _competing(shape: Sequence[int], scope: Scope) -> tuple[int, ...]:
    """The shape (…, P, L) in which the P entries that compete with each other stand along one axis, last but one."""
    *n, h, w, c = shape
    if scope == "spatial":
        return (*n, h * w, c)
    return (*n, h, w, c, 1) if scope == "channel" else (*n, h * w * c, 1)


def _ordered_bits(values: Array) -> Array:
    """Integers in the order of the floats, without -0 and NaN: negative ones have all but their sign bit flipped."""
    bits = values.dtype.itemsize * 8
    integers = lax.bitcast_convert_type(values, jnp.dtype(f"int{bits}"))
    return integers ^ ((integers >> (bits - 1)) & jnp.iinfo(integers.dtype).max)


def _count(where: Bool[Array, "*n p l"], dtype: jnp.dtype) -> Int[Array, "*n 1 l"]:
    """How many are true along the last axis but one.

    XLA's CPU compiler vectorizes sums of arrays of integers, but not reductions to integers. So eight parts are added
    first, as integers as wide as the keys that were compared; what is left is reduced in float32, while that is exact.
    """
    positions = where.shape[-2]
    part = positions // _PARTS
    exact = jnp.float32 if positions <= 2**24 else jnp.int32
    counts = []
    if part:
        pieces = [where[..., i * part : (i + 1) * part, :].astype(dtype) for i in range(_PARTS)]
        counts.append(jnp.sum(reduce(operator.add, pieces), -2, keepdims=True, dtype=exact))
    if positions % _PARTS:
        counts.append(jnp.sum(where[..., part * _PARTS :, :], -2, keepdims=True, dtype=exact))
    return reduce(operator.add, counts).astype(jnp.int32)


def _search_threshold(
    keys: Array, k: int | Array, least: int, largest: int, *, stop_early: bool
) -> tuple[Array, Array]:
    """A threshold that the k largest keys reach, and how many keys reach it: exactly k, or more if the k-th is tied.

    Bisection between bounds with count(keys ≥ low) ≥ k > count(keys ≥ high), until every row is exact or its bounds are
    neighbors: then `low` is the k-th largest key, which is tied. No key is below `least`, and none is `largest`.

    With `stop_early` it ends when all rows are settled. Else it makes as many passes as can be needed, which lets an
    accelerator run them without asking the host after each.
    """
    # Made from keys, so that `shard_map` knows that they differ between devices.
    low = jnp.minimum(keys[..., :1, :], least)
    high = jnp.maximum(keys[..., :1, :], largest)
    reached = _count(keys >= low, keys.dtype)

    def middle(low: Array, high: Array) -> Array:
        return (low & high) + ((low ^ high) >> 1)  # their mean, without the sum that could overflow

    def unsettled(low: Array, high: Array, reached: Array) -> Array:
        return (reached != k) & (middle(low, high) != low)

    def narrow(bounds: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        low, high, reached = bounds
        trial = middle(low, high)
        count = _count(keys >= trial, keys.dtype)
        moves = unsettled(low, high, reached)
        raises = moves & (count >= k)
        return (
            jnp.where(raises, trial, low),
            jnp.where(moves & (count < k), trial, high),
            jnp.where(raises, count, reached),
        )

    bounds = low, high, reached
    if stop_early:
        low, _, reached = lax.while_loop(lambda bounds: jnp.any(unsettled(*bounds)), narrow, bounds)
    else:
        passes = (largest - least).bit_length()
        low, _, reached = lax.fori_loop(0, passes, lambda _, bounds: narrow(bounds), bounds)
    return low, reached


def _first(
    where: Bool[Array, "*n p l"], count: Int[Array, "*n 1 l"], search: Callable[..., tuple[Array, Array]]
) -> Bool[Array, "*n p l"]:
    """The first `count` true entries along the last axis but one."""
    positions = where.shape[-2]
    dtype = jnp.dtype("int16" if positions < 2**15 - 1 else "int32")
    order = jnp.where(where, positions - jnp.arange(positions, dtype=dtype)[:, None], jnp.zeros((), dtype))
    threshold, _ = search(order, count, 0, positions + 1)
    return where & (order >= threshold)
