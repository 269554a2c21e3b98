"""The rules of layer-wise relevance propagation, as derivatives of layers (Bach et al. 2015; Montavon et al. 2019).

A layer is linear in its input: z_k = Σ_j w_jk x_j + b_k. Its relevance R_k goes to its inputs in shares:

    R_j = Σ x'_j · [W'ᵀ (R / stab(z))]_j     over terms (x', W'), z being the sum of their outputs and of a bias

that is, the ordinary VJP of the layer with another kernel at another input. stab(z) = z + ε·s(z), with s(z) = 1 for
z ≥ 0 and −1 for z < 0. x⁺ = max(x, 0), x⁻ = min(x, 0), likewise W and b:

    epsilon    (x, W), b
    zplus      (x⁺, W⁺), (x⁻, W⁻), b⁺
    alphabeta  2 × zplus − 1 × [(x⁺, W⁻), (x⁻, W⁺), b⁻]
    gamma      zplus's terms with W + γW^± and b + γb^± where the output is above 0; the opposite where it is below
    flat       every input in the picture gets the same
    wsquare    as flat, with w² in place of 1
    zbox       (x, W), −(low, W⁺), −(high, W⁻)

Each layer also keeps an account, so that nothing is lost unseen: Σ R_j + what the bias, the stabilizer and neurons with
an empty denominator took = Σ R_k.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from sparseshape_jax.relevance.composite import EPSILON, Rule

Linear = Callable[[Array, Array], Array]
"""From a kernel and an input (N, …) to the output (N, …), without bias."""
ACCOUNT = ("out", "in", "bias", "stabilizer", "empty", "absolute")
"""What a layer's account has for each image: Σ R of its outputs and of its inputs, what was lost to what, and the
larger Σ |R| of outputs and inputs, by which to judge how well the account balances."""


@dataclass(frozen=True)
class Convolution:
    """An NHWC convolution without bias."""

    strides: tuple[int, int]
    padding: Any
    groups: int = 1
    dilation: tuple[int, int] = (1, 1)

    def __call__(self, kernel: Float[Array, "h w i o"], x: Float[Array, "n h w c"]) -> Float[Array, "n h w o"]:
        return lax.conv_general_dilated(
            x,
            kernel,
            self.strides,
            self.padding,
            rhs_dilation=self.dilation,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=self.groups,
            precision=lax.Precision.HIGHEST,
        )


@dataclass(frozen=True)
class Dense:
    """A matrix product."""

    def __call__(self, kernel: Float[Array, "i o"], x: Float[Array, "n i"]) -> Float[Array, "n o"]:
        return jnp.matmul(x, kernel, precision=lax.Precision.HIGHEST)


@dataclass(frozen=True)
class Settings:
    """What decides how relevance goes through one layer, apart from its weights and its input."""

    linear: Linear
    rule: Rule
    nonnegative: bool
    """Whether no input is below 0, as after a ReLU: terms with x⁻ are then left out."""
    low: tuple[float, ...] = ()
    """The lowest value of each input channel; for zbox."""
    high: tuple[float, ...] = ()


class Values(NamedTuple):
    """A layer in one forward pass."""

    settings: Settings
    kernel: Array
    bias: Array
    x: Array
    y: Array


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def propagate(
    settings: Settings, kernel: Array, bias: Array, account: Float[Array, "n 6"], x: Float[Array, "n ..."]
) -> Array:
    """The layer itself; its VJP maps relevance of the output to relevance of `x`, and gives `account` its entries."""
    del account
    return settings.linear(kernel, x) + _like(bias, x)


def _forward(settings: Settings, kernel: Array, bias: Array, account: Array, x: Array) -> tuple[Array, Any]:
    y = propagate(settings, kernel, bias, account, x)
    return y, (kernel, bias, x, y)


def _backward(settings: Settings, residuals: Any, relevance: Array) -> tuple[Any, Any, Array, Array]:
    found, account = _RULES[settings.rule.kind](Values(settings, *residuals), relevance)
    # The weights are nobody's input.
    return None, None, account, found


propagate.defvjp(_forward, _backward)


def _like(bias: Array, x: Array) -> Array:
    return bias.reshape((1,) * (x.ndim - 1) + (-1,))


def stabilize(z: Array, epsilon: float = EPSILON) -> Array:
    """z moved away from 0 by epsilon."""
    return z + jnp.where(z >= 0, jnp.asarray(epsilon, z.dtype), jnp.asarray(-epsilon, z.dtype))


def _sums(x: Array) -> Float[Array, " n"]:
    return x.reshape(len(x), -1).sum(axis=1)


def _settle(
    z: Array, bias: Array | None, relevance: Array, epsilon: float = EPSILON
) -> tuple[Array, Float[Array, "n 3"]]:
    """R / stab(z), and what of R goes to the bias, to the stabilizer, and is lost where z is 0."""
    share = jnp.where((z == 0) & (relevance == 0), 0, relevance / stabilize(z, epsilon))
    lost = relevance - share * z
    empty = z == 0
    to_bias = jnp.zeros_like(z) if bias is None else share * bias
    losses = (_sums(to_bias), _sums(jnp.where(empty, 0, lost)), _sums(jnp.where(empty, lost, 0)))
    return share, jnp.stack(losses, axis=1)


def _account(relevance: Array, found: Sequence[Array], losses: Float[Array, "n 3"]) -> Float[Array, "n 6"]:
    sums = jnp.stack([_sums(relevance), sum(map(_sums, found))], axis=1)
    absolute = jnp.maximum(_sums(jnp.abs(relevance)), sum(_sums(jnp.abs(one)) for one in found))
    return jnp.concatenate([sums, losses, absolute[:, None]], axis=1)


def _share(
    linear: Linear, terms: Sequence[tuple[Array, Array]], bias: Array, relevance: Array
) -> tuple[Array, Float[Array, "n 3"]]:
    """Relevance in shares of the terms (x', W')."""
    outputs = [jax.vjp(partial(linear, kernel), x) for x, kernel in terms]
    bias = _like(bias, outputs[0][0])
    share, losses = _settle(sum(z for z, _ in outputs) + bias, bias, relevance)
    return sum(x * back(share)[0] for (x, _), (_, back) in zip(terms, outputs, strict=True)), losses


def _positive(x: Array) -> Array:
    return jnp.maximum(x, 0)


def _negative(x: Array) -> Array:
    return jnp.minimum(x, 0)


def _terms(layer: Values, same: Array, opposite: Array) -> list[tuple[Array, Array]]:
    """(x⁺, same) and (x⁻, opposite)."""
    if layer.settings.nonnegative:
        return [(layer.x, same)]
    return [(_positive(layer.x), same), (_negative(layer.x), opposite)]


def _epsilon(layer: Values, relevance: Array) -> Any:
    share, losses = _settle(layer.y, _like(layer.bias, layer.x), relevance, layer.settings.rule.parameter)
    found = layer.x * jax.linear_transpose(partial(layer.settings.linear, layer.kernel), layer.x)(share)[0]
    return found, _account(relevance, [found], losses)


def _zplus(layer: Values, relevance: Array) -> Any:
    terms = _terms(layer, _positive(layer.kernel), _negative(layer.kernel))
    found, losses = _share(layer.settings.linear, terms, _positive(layer.bias), relevance)
    return found, _account(relevance, [found], losses)


def _alphabeta(layer: Values, relevance: Array) -> Any:
    linear, plus, minus = layer.settings.linear, _positive(layer.kernel), _negative(layer.kernel)
    up, losses_up = _share(linear, _terms(layer, plus, minus), _positive(layer.bias), 2 * relevance)
    down, losses_down = _share(linear, _terms(layer, minus, plus), _negative(layer.bias), relevance)
    return up - down, _account(relevance, [up - down], losses_up - losses_down)


def _gamma(layer: Values, relevance: Array) -> Any:
    linear, gamma, kernel, bias, y = layer.settings.linear, layer.settings.rule.parameter, *layer[1:3], layer.y
    plus, minus = kernel + gamma * _positive(kernel), kernel + gamma * _negative(kernel)
    above, below = jnp.where(y > 0, relevance, 0), jnp.where(y < 0, relevance, 0)
    up, losses_up = _share(linear, _terms(layer, plus, minus), bias + gamma * _positive(bias), above)
    down, losses_down = _share(linear, _terms(layer, minus, plus), bias + gamma * _negative(bias), below)
    found, losses = up + down, losses_up + losses_down
    losses = losses.at[:, 2].add(_sums(jnp.where(y == 0, relevance, 0)))
    return found, _account(relevance, [found], losses)


def _flat(layer: Values, relevance: Array) -> Any:
    return _weighted(layer, jnp.ones_like(layer.kernel), relevance)


def _wsquare(layer: Values, relevance: Array) -> Any:
    return _weighted(layer, layer.kernel**2, relevance)


def _weighted(layer: Values, weights: Array, relevance: Array) -> Any:
    """Relevance in shares of the weights, whatever the input is."""
    # The padding is 0, so it does not count.
    totals, back = jax.vjp(partial(layer.settings.linear, weights), jnp.ones_like(layer.x))
    share, losses = _settle(totals, None, relevance)
    found = back(share)[0]
    return found, _account(relevance, [found], losses)


def _zbox(layer: Values, relevance: Array) -> Any:
    settings, x = layer.settings, layer.x
    low, high = (
        jnp.broadcast_to(_like(jnp.asarray(values, x.dtype), x), x.shape) for values in (settings.low, settings.high)
    )
    terms = [(x, layer.kernel), (low, -_positive(layer.kernel)), (high, -_negative(layer.kernel))]
    found, losses = _share(settings.linear, terms, jnp.zeros_like(layer.bias), relevance)
    return found, _account(relevance, [found], losses)


_RULES: dict[str, Callable[..., Any]] = {
    "epsilon": _epsilon,
    "zplus": _zplus,
    "alphabeta": _alphabeta,
    "gamma": _gamma,
    "flat": _flat,
    "wsquare": _wsquare,
    "zbox": _zbox,
}


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def share_out(function: Callable[..., Array], account: Float[Array, "n 6"], *inputs: Array) -> Array:
    """A linear function without weights, such as a sum or a mean; its VJP gives inputs their shares of the output."""
    del account
    return function(*inputs)


def _share_forward(function: Callable[..., Array], account: Array, *inputs: Array) -> tuple[Array, Any]:
    del account
    y, back = jax.vjp(function, *inputs)
    return y, (inputs, y, back)


def _share_backward(function: Callable[..., Array], residuals: Any, relevance: Array) -> tuple[Array, ...]:
    del function
    inputs, y, back = residuals
    share, losses = _settle(y, None, relevance)
    found = [x * gradient for x, gradient in zip(inputs, back(share), strict=True)]
    return _account(relevance, found, losses), *found


share_out.defvjp(_share_forward, _share_backward)


@jax.custom_vjp
def scaled(x: Array, y: Array) -> Array:
    """y, which is x times some factors; the VJP passes y's relevance on to x as it is."""
    del x
    return y


scaled.defvjp(lambda x, y: (scaled(x, y), None), lambda _, relevance: (relevance, jnp.zeros_like(relevance)))
