"""Top-K against a naive NumPy oracle, the reference's golden values, and its own two methods."""

from functools import partial
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jax.sharding import Mesh, PartitionSpec

from sparseshape_jax import InputError, TopK, keep_top_k
from sparseshape_jax.top_k.operator import _CACHED, _mask_by_threshold, kept

METHODS = ("top_k", "threshold")
DTYPES = (jnp.float32, jnp.bfloat16, jnp.float16)


def oracle_mask(x: np.ndarray, fraction: float, scope: str = "spatial", *, signed: bool = False) -> np.ndarray:
    """One row at a time: a stable sort by descending size, so that ties go to the lower index."""
    mask = np.zeros(x.shape, bool)
    n, h, w, c = x.shape
    if scope == "spatial":
        rows = [(i, slice(None), slice(None), ch) for i in range(n) for ch in range(c)]
    elif scope == "channel":
        rows = [(i, a, b, slice(None)) for i in range(n) for a in range(h) for b in range(w)]
    else:
        rows = [(i,) for i in range(n)]
    for row in rows:
        values = x[row].astype(np.float64).ravel()
        k = max(1, int(fraction * values.size))
        chosen = np.argsort(-(values if signed else np.abs(values)), kind="stable")[:k]
        flat = np.zeros(values.size, bool)
        flat[chosen] = True
        mask[row] = flat.reshape(x[row].shape)
    return mask


def sample(shape: tuple[int, ...], kind: str, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape)
    return {
        "random": x,
        "relu": np.maximum(x, 0),
        "tied": np.round(x),
        "zero": np.zeros(shape),
        "negative": -np.abs(x),
        "constant": np.full(shape, -1.5),
        "signed zeros": np.where(x > 0, 0.0, -0.0),
        "wide": x * 10.0 ** rng.integers(-4, 5, shape),
    }[kind].astype(np.float32)


KINDS = ("random", "relu", "tied", "zero", "negative", "constant", "signed zeros", "wide")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
@pytest.mark.parametrize(
    ("shape", "fraction"),
    [((9, 7, 3), f) for f in (0.001, 0.05, 0.3, 0.5, 0.999, 1.0)] + [((1, 1, 4), 0.3), ((1, 5, 1), 0.5)],
)
def test_equals_oracle(shape: tuple[int, ...], fraction: float, dtype: jnp.dtype, method: str) -> None:
    x = jnp.asarray(np.concatenate([sample((2, *shape), kind) for kind in KINDS]), dtype)
    mask = oracle_mask(np.asarray(x, np.float32), fraction)

    @jax.jit
    def kept(x: jax.Array) -> dict[str, tuple[jax.Array, jax.Array]]:
        # The gradient of the sum is the mask itself, zeros included.
        def value_and_mask(keep: str) -> tuple[jax.Array, jax.Array]:
            out, pullback = jax.vjp(lambda x: keep_top_k(x, fraction, keep=keep, method=method), x)
            return out, pullback(jnp.ones_like(out))[0]

        return {keep: value_and_mask(keep) for keep in ("top", "rest", "all")}

    expected = {"top": mask, "rest": ~mask, "all": np.ones_like(mask)}
    for keep, (value, gradient) in kept(x).items():
        assert value.dtype == dtype
        np.testing.assert_array_equal(np.asarray(gradient, np.float32), expected[keep], err_msg=keep)
        np.testing.assert_array_equal(np.asarray(value), np.where(expected[keep], np.asarray(x), 0), err_msg=keep)


@pytest.mark.parametrize("scope", ["spatial", "channel", "volume"])
@pytest.mark.parametrize("method", METHODS)
def test_equals_oracle_property(scope: str, method: str) -> None:
    @jax.jit
    def mask(x: jax.Array, fraction: jax.Array) -> jax.Array:
        return jax.grad(lambda x: keep_top_k(x, fraction, scope=scope, method=method).sum())(x)

    elements = st.floats(-(2.0**100), 2.0**100, width=32) | st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0**-140])

    @settings(max_examples=60, deadline=None)
    @given(hnp.arrays(np.float32, (2, 4, 3, 5), elements=elements), st.integers(1, 64))
    def check(x: np.ndarray, sixty_fourths: int) -> None:
        fraction = sixty_fourths / 64  # exact in float32
        np.testing.assert_array_equal(mask(x, jnp.float32(fraction)), oracle_mask(x, fraction, scope))

    check()


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.9])
def test_methods_agree_bit_for_bit_on_larger_maps(fraction: float, dtype: jnp.dtype) -> None:
    x = jnp.asarray(np.concatenate([sample((1, 56, 50, 5), kind, seed=3) for kind in KINDS]), dtype)
    a, b = (jax.jit(partial(keep_top_k, fraction=fraction, method=method))(x) for method in METHODS)
    assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_methods_agree_on_maps_that_are_searched_in_blocks() -> None:
    x = jnp.asarray(np.concatenate([sample((3, 100, 90, 32), kind) for kind in ("relu", "tied", "wide")]))
    assert x[:4].nbytes < _CACHED < x.nbytes  # three blocks of three images
    a, b = (jax.jit(partial(keep_top_k, fraction=0.1, method=method))(x) for method in METHODS)
    assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
def test_search_of_a_fixed_length_agrees(kind: str, dtype: jnp.dtype) -> None:
    """What accelerators run, which ask no one whether they may stop."""
    x = jnp.asarray(sample((2, 9, 7, 3), kind), dtype)
    search = jax.jit(partial(_mask_by_threshold, k=kept(x.shape, 0.3), scope="spatial", stop_early=False))
    np.testing.assert_array_equal(search(jnp.abs(x)), oracle_mask(np.asarray(x, np.float32), 0.3))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["small", "relu", "wide"])
@pytest.mark.parametrize("fraction", ["0.05", "0.1", "0.2", "0.5"])
def test_matches_reference(reference_data: Path, fraction: str, name: str, method: str) -> None:
    golden = np.load(reference_data / "goldens" / "topk_reference.npz")
    x, cotangent = jnp.asarray(golden[f"{name}.x"]), jnp.asarray(golden[f"{name}.cotangent"])
    top_k = partial(keep_top_k, fraction=float(fraction), method=method)

    @jax.jit
    def ours(x: jax.Array, cotangent: jax.Array) -> tuple[dict[str, tuple[jax.Array, jax.Array]], jax.Array, jax.Array]:
        def value_and_gradient(keep: str) -> tuple[jax.Array, jax.Array]:
            out, pullback = jax.vjp(partial(top_k, keep=keep), x)
            return out, pullback(cotangent)[0]

        kept = {keep: value_and_gradient(keep) for keep in ("top", "rest")}
        return kept, top_k(x, mean_replace=True), top_k(x, blend=0.5)

    kept, mean_replaced, blended = ours(x, cotangent)
    nonzero = np.asarray(x) != 0  # which zeros survive is arbitrary in torch
    for keep, (out, gradient) in kept.items():
        np.testing.assert_array_equal(out, golden[f"{name}.{keep}.{fraction}"])
        np.testing.assert_array_equal(gradient[nonzero], golden[f"{name}.{keep}.{fraction}.grad"][nonzero])
    expected = golden[f"{name}.mean_replace.{fraction}"]
    np.testing.assert_allclose(mean_replaced[nonzero], expected[nonzero], rtol=2e-6)
    np.testing.assert_allclose(mean_replaced.sum((1, 2)), expected.sum((1, 2)), rtol=2e-5)
    np.testing.assert_allclose(blended, golden[f"{name}.tau0.5.{fraction}"], rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_mean_replace_value_and_gradient(method: str) -> None:
    x = sample((2, 4, 5, 3), "random")
    mask = oracle_mask(x, 0.3, signed=True)
    k = mask[0, :, :, 0].sum()
    mean = np.where(mask, x, 0).sum((1, 2), keepdims=True) / k
    got, pullback = jax.vjp(lambda x: keep_top_k(x, 0.3, mean_replace=True, method=method), jnp.asarray(x))
    np.testing.assert_allclose(got, mask * mean, rtol=1e-5)
    cotangent = sample(x.shape, "random", seed=1)
    expected = mask * (mask * cotangent).sum((1, 2), keepdims=True) / k
    np.testing.assert_allclose(pullback(jnp.asarray(cotangent))[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_transformations(method: str) -> None:
    x = jnp.asarray(sample((4, 6, 5, 3), "relu"))
    expected = np.asarray(x) * oracle_mask(np.asarray(x), 0.25)

    def top(x: jax.Array) -> jax.Array:
        return keep_top_k(x, 0.25, method=method)

    devices = jax.devices()[:1]
    mesh = Mesh(np.array(devices), ("batch",))
    sharded = jax.shard_map(top, mesh=mesh, in_specs=PartitionSpec("batch"), out_specs=PartitionSpec("batch"))
    for name, got in {
        "jit": jax.jit(top)(x),
        "vmap over images": jax.vmap(top)(x),
        "vmap over an extra axis": jax.vmap(top)(x[None])[0],
        "pmap": jax.pmap(top, devices=devices)(x[None])[0],
        "shard_map": jax.jit(sharded)(x),
        "jvp": jax.jvp(top, (x,), (x,))[1],
        "scan": jax.lax.scan(lambda _, row: (None, top(row)), None, x)[1],
    }.items():
        np.testing.assert_array_equal(got, expected, err_msg=name)


@pytest.mark.parametrize("method", METHODS)
def test_traced_fraction_compiles_once_and_agrees_with_static(method: str) -> None:
    x = jnp.asarray(sample((2, 8, 8, 3), "relu"))

    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def traced(x: jax.Array, fraction: jax.Array) -> jax.Array:
        return keep_top_k(x, fraction, method=method)

    for fraction in (1 / 64, 0.125, 0.25, 0.5, 0.75, 1.0):  # exact in float32, so that k is the same
        np.testing.assert_array_equal(traced(x, jnp.float32(fraction)), keep_top_k(x, fraction, method=method))


@pytest.mark.parametrize("fraction", [0, -0.1, 1.5, float("nan"), float("inf")])
def test_refuses_fractions(fraction: float) -> None:
    with pytest.raises(InputError, match=r"keep fraction is .* \(0, 1\]"):
        keep_top_k(jnp.ones((1, 2, 2, 1)), fraction)
    with pytest.raises(InputError, match=r"keep fraction is .* \(0, 1\]"):
        TopK(fraction)


def test_refuses_what_it_does_not_know() -> None:
    x = jnp.ones((1, 2, 2, 1))
    for options, message in [
        ({"keep": "most"}, "top, rest, all"),
        ({"scope": "image"}, "spatial, channel, volume"),
        ({"method": "sort"}, "top_k, threshold, auto"),
        ({"keep": "rest", "mean_replace": True}, "mean_replace"),
    ]:
        with pytest.raises(InputError, match=message):
            keep_top_k(x, 0.5, **options)
        with pytest.raises(InputError, match=message):
            TopK(0.5, **options)
    with pytest.raises(InputError, match="blend"):
        TopK(blend=2)
    with pytest.raises(InputError, match="int32"):
        keep_top_k(jnp.ones((1, 2, 2, 1), jnp.int32), 0.5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scope", ["spatial", "channel", "volume"])
def test_k_gives_what_the_fraction_gives(scope: str, method: str) -> None:
    x = jnp.asarray(np.concatenate([sample((1, 6, 5, 10), kind) for kind in ("random", "relu", "tied")]))

    def all_of_it(x: jax.Array, **amount: Any) -> list[jax.Array]:
        found = []
        for options in ({}, {"keep": "rest"}, {"mean_replace": True}):
            top_k = partial(keep_top_k, scope=scope, method=method, **options, **amount)
            out, pullback = jax.vjp(top_k, x)
            found += [out, pullback(jnp.ones_like(out))[0]]
        return found

    traced = jax.jit(lambda x, k: all_of_it(x, k=k))
    for fraction in (0.05, 0.3):
        k = kept(x.shape, fraction, scope)
        expected = jax.jit(partial(all_of_it, fraction=fraction))(x)
        for found in (jax.jit(partial(all_of_it, k=k))(x), traced(x, np.int32(k))):
            for ours, other in zip(found, expected, strict=True):
                assert np.asarray(ours).tobytes() == np.asarray(other).tobytes()


def test_kept_counts_what_survives() -> None:
    x = jnp.asarray(sample((2, 7, 9, 5), "random"))
    for scope, axes in (("spatial", (1, 2)), ("channel", (3,)), ("volume", (1, 2, 3))):
        for fraction in (0.001, 0.29, 1.0):
            survivors = np.sum(np.asarray(keep_top_k(x, fraction, scope=scope, method="top_k")) != 0, axis=axes)
            assert (survivors == kept(x.shape, fraction, scope)).all()
    # 0.29 · 100 is a little less than 29 in floating point; the reference counts the same way.
    assert kept((1, 10, 10, 3), 0.29) == int(0.29 * 100) == 28
    assert kept((10, 10, 3), 0.29) == 28
    with pytest.raises(InputError, match="keep fraction is 0"):
        kept(x.shape, 0)
    with pytest.raises(InputError, match="spatial, channel, volume"):
        kept(x.shape, 0.5, "image")
    with pytest.raises(InputError, match=r"\[4, 4\]; it must be \(…, H, W, C\)"):
        kept((4, 4), 0.5)


def test_refuses_what_k_cannot_be() -> None:
    x = jnp.ones((1, 2, 3, 5))
    for arguments in ({}, {"fraction": 0.5, "k": 3}):
        with pytest.raises(InputError, match="either a keep fraction or k"):
            keep_top_k(x, **arguments)
    for scope, most in (("spatial", 6), ("channel", 5), ("volume", 30)):
        for k in (0, -1, most + 1, np.int32(most + 1)):
            with pytest.raises(InputError, match=f"k is {k}; it must be from 1 to the {most} positions"):
                keep_top_k(x, k=k, scope=scope)
        np.testing.assert_array_equal(keep_top_k(x, k=most, scope=scope), x)
    with pytest.raises(InputError, match=r"k is 2\.5; it must be an integer"):
        keep_top_k(x, k=2.5)


def test_half_precision_is_averaged_in_float32() -> None:
    """Sums in bfloat16 would stop growing at 256."""
    x = jnp.ones((1, 32, 32, 1), jnp.bfloat16)
    np.testing.assert_array_equal(np.asarray(keep_top_k(x, 1.0, mean_replace=True), np.float32), 1)
