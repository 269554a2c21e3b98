"""The twin of a network: the same values, other derivatives.

Its normalizations are folded into the convolutions before them, and every layer with weights, every average and every
sum has the VJP of a rule. The VJP of the whole, at one-hot · logit, is then relevance: JAX adds it up where activations
fan out, splits it where they were concatenated, and routes it through ReLU, max-pools and Top-K, whose own VJPs are
their rules. So there is no second description of any architecture, and names and `at` work as they do in the network.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from sparseshape_jax.errors import InputError
from sparseshape_jax.models import Network
from sparseshape_jax.models.layers import (
    AdaptiveAveragePool,
    Add,
    AveragePool,
    GlobalAverage,
    Linear,
    SqueezeExcitation,
)
from sparseshape_jax.models.registry import architecture_of
from sparseshape_jax.relevance.composite import Composite
from sparseshape_jax.relevance.rules import ACCOUNT, Convolution, Dense, Settings, propagate, scaled, share_out
from sparseshape_jax.top_k.spec import TopK

SHARED = (Add, AveragePool, AdaptiveAveragePool, GlobalAverage)
"""What shares its relevance out as it is, without a choice."""
OURS = "sparseshape_jax.models."
"""Networks from here have no negative activations but in front of a ReLU, at the end of a branch, and at their end."""


class Account(nnx.Variable):
    """Zeros (N, 6) whose cotangent is a layer's account; see `rules.ACCOUNT`."""


class Layer(nnx.Module):
    """A layer with weights whose VJP is a rule."""

    def __init__(self, settings: Settings, kernel: Any, bias: Any) -> None:
        self.settings = settings
        self.kernel, self.bias = nnx.Param(kernel), nnx.Param(bias)
        self.account = Account(jnp.zeros((1, len(ACCOUNT))))
        self.in_features = kernel.shape[-2]

    def __call__(self, x: Array) -> Array:
        return propagate(self.settings, self.kernel[...], self.bias[...], self.account[...], x)


class Shared(nnx.Module):
    """An average or a sum whose VJP shares relevance out."""

    def __init__(self, function: Callable[..., Array]) -> None:
        self.function = function
        self.account = Account(jnp.zeros((1, len(ACCOUNT))))

    def __call__(self, *inputs: Array) -> Array:
        return share_out(self.function, self.account[...], *inputs)


class Gated(nnx.Module):
    """A gate, which is a constant: all relevance goes to the signal that passes through it, and none into it."""

    def __init__(self, gate: SqueezeExcitation) -> None:
        self.gate = gate

    def __call__(self, x: Array) -> Array:
        return scaled(x, jax.lax.stop_gradient(self.gate(x)))


class Folded(nnx.Module):
    """In place of a normalization that is part of the convolution before it."""

    def __call__(self, x: Array) -> Array:
        return x


def make_twin(
    network: Network,
    image: Sequence[int],
    composite: Composite,
    *,
    low: Sequence[float],
    high: Sequence[float],
    nonnegative: bool | None = None,
) -> Network:
    """The twin of a network in eval mode.

    Args:
        network: whose layers are nnx.Conv, nnx.Linear, BatchNorm, Dropout and those of `models.layers`.
        image: the shape (H, W, 3) of an image.
        composite: says which rule each layer follows.
        low: the network's input for black, by channel.
        high: the network's input for white.
        nonnegative: whether only the first layer has negative inputs, which halves the work; by default for the
            package's own networks.

    Raises:
        InputError: a layer that has no rule, a normalization without a convolution, a rule in a place where it cannot
            be, or rules for layers that are not there.
    """
    order = call_order(network, image)
    if nonnegative is None:
        nonnegative = type(network).__module__.startswith(OURS)
    twin = nnx.clone(network)
    modules = dict(nnx.iter_modules(twin))
    names = {path: ".".join(map(str, path)) for path in modules}
    gates = [path for path, module in modules.items() if isinstance(module, SqueezeExcitation)]
    modules = {path: module for path, module in modules.items() if not any(path[:-1] == gate for gate in gates)}
    layers = [path for path in order if isinstance(modules.get(path), nnx.Conv | nnx.Linear)]
    if strange := sorted(set(composite.layers) - {names[path] for path in layers}):
        raise InputError(
            f"{network.architecture} has no layer {', '.join(strange)} with a relevance rule;"
            f" it has {', '.join(names[path] for path in layers)}"
        )
    head = architecture_of(network).head if _is_registered(network) else ()
    first = next((path for path in layers if isinstance(modules[path], nnx.Conv)), None)
    folded: dict[Any, nnx.BatchNorm] = {}
    for path, module in modules.items():
        if isinstance(module, nnx.BatchNorm):
            folded[_convolution_of(path, modules, names)] = module
    for path, module in modules.items():
        name = names[path]
        replacement: nnx.Module
        if isinstance(module, nnx.Conv | nnx.Linear):
            if path not in order:
                continue
            kind = "dense" if isinstance(module, nnx.Linear) else "convolution"
            rule = composite.rule(name, kind, first=path == first, head=name in head)
            settings = Settings(
                _linear(module),
                rule,
                nonnegative and path != first,
                tuple(low) if rule.kind == "zbox" else (),
                tuple(high) if rule.kind == "zbox" else (),
            )
            replacement = Layer(settings, *_weights(module, folded.get(path)))
        elif isinstance(module, SHARED):
            replacement = Shared(module)
        elif isinstance(module, SqueezeExcitation):
            replacement = Gated(module)
        elif isinstance(module, nnx.BatchNorm):
            replacement = Folded()
        else:
            _refuse_unknown(module, name, network)
            continue
        parent = modules[path[:-1]]
        setattr(parent, str(path[-1]), replacement)
    return twin


def operator(spec: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """What is applied at a name, with a relevance VJP: Top-K gives relevance to survivors, but shares out a mean."""
    if isinstance(spec, TopK) and (spec.mean_replace or spec.blend != 1):
        return lambda x: share_out(spec, jnp.zeros((len(x), len(ACCOUNT)), x.dtype), x)
    return spec


def folded_names(network: Network) -> dict[str, str]:
    """The activations that the twin lacks, since a normalization follows them, and that normalization's."""
    names = network.names
    return {
        name: following
        for name, following in pairwise(names)
        if isinstance(getattr(network, following, None), nnx.BatchNorm)
    }


def call_order(network: Network, image: Sequence[int]) -> list[tuple[Any, ...]]:
    """The paths of the modules without modules in them, in the order in which the network calls them."""
    probe = nnx.clone(network)
    modules = dict(nnx.iter_modules(probe))
    order: dict[tuple[Any, ...], None] = {}

    def recorded(path: tuple[Any, ...], module: Any) -> Callable[..., Array]:
        def call(*inputs: Array) -> Array:
            order[path] = None
            return module(*inputs)

        call.in_features = getattr(module, "in_features", None)  # type: ignore[attr-defined]
        return call

    leaves = {path for path in modules if path and not any(other[:-1] == path for other in modules if other)}
    for path in leaves:
        setattr(modules[path[:-1]], str(path[-1]), recorded(path, modules[path]))
    jax.eval_shape(probe, jax.ShapeDtypeStruct((1, *image), jnp.result_type(float)))
    return list(order)


def _convolution_of(path: tuple[Any, ...], modules: Mapping[Any, Any], names: Mapping[Any, str]) -> tuple[Any, ...]:
    found = (*path[:-1], str(path[-1]).replace("bn", "conv"))
    if found == path or not isinstance(modules.get(found), nnx.Conv):
        raise InputError(
            f"the normalization {names[path]} belongs to no convolution (bn1 belongs to conv1), so it has no relevance"
            " rule; name them alike, or use a gradient"
        )
    return found


def _weights(module: nnx.Conv | nnx.Linear, norm: nnx.BatchNorm | None) -> tuple[Any, Any]:
    """Kernel and bias, with a normalization folded in."""
    kernel = module.kernel[...]
    if isinstance(module, Linear):
        kernel = kernel.T
    bias = jnp.zeros(kernel.shape[-1], kernel.dtype) if module.bias is None else module.bias[...]
    if norm is None:
        return kernel, bias
    # Small, and worth the double precision.
    mean, variance = (np.asarray(value[...], np.float64) for value in (norm.mean, norm.var))
    scale = np.ones_like(mean) if norm.scale is None else np.asarray(norm.scale[...], np.float64)
    shift = np.zeros_like(mean) if norm.bias is None else np.asarray(norm.bias[...], np.float64)
    factor = scale / np.sqrt(variance + norm.epsilon)
    new = (np.asarray(kernel, np.float64) * factor, (np.asarray(bias, np.float64) - mean) * factor + shift)
    return jnp.asarray(new[0], kernel.dtype), jnp.asarray(new[1], kernel.dtype)


def _linear(module: nnx.Conv | nnx.Linear) -> Convolution | Dense:
    if isinstance(module, nnx.Linear):
        return Dense()
    strides, dilation = _both(module.strides), _both(module.kernel_dilation)
    padding: Any = module.padding
    if isinstance(padding, int):
        padding = ((padding, padding), (padding, padding))
    elif not isinstance(padding, str):
        padding = tuple((side, side) if isinstance(side, int) else tuple(side) for side in padding)
    return Convolution(strides, padding, module.feature_group_count, dilation)


def _both(value: Any) -> tuple[int, int]:
    """A number for rows and columns, from one or two."""
    if value is None or isinstance(value, int):
        return value or 1, value or 1
    rows, columns = value
    return rows, columns


def _is_registered(network: Network) -> bool:
    try:
        architecture_of(network)
    except InputError:
        return False
    return True


def _refuse_unknown(module: nnx.Module, name: str, network: Network) -> None:
    """Raise unless `module` has no weights of its own, or keeps relevance as it is."""
    own = [value for value in vars(module).values() if isinstance(value, nnx.Param)]
    if own or isinstance(module, nnx.LayerNorm | nnx.GroupNorm | nnx.InstanceNorm | nnx.RMSNorm):
        raise InputError(
            f"{name or network.architecture} is a {type(module).__name__}, for which there is no relevance rule;"
            " use a gradient instead"
        )
