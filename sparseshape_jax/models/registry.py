"""One record for each architecture, with all that jobs must know of it; and building networks by name.

Each module of this package registers its own. To use another architecture in every job, register it:

    register("my_net", Architecture(MyNet, options=frozenset({"num_classes"}), top_k_after=("pool1",)))
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from flax import nnx

from sparseshape_jax.errors import InputError
from sparseshape_jax.models.network import Network


@dataclass(frozen=True)
class Architecture:
    """One architecture: how to build it, and the defaults that jobs use with it."""

    build: Callable[..., Network]
    """Takes `rngs`, `dtype`, `trunk_only` and the options, as keywords; sets the network's `architecture` to the name
    that this record is registered under."""
    options: frozenset[str] = frozenset()
    """Further keywords that `build` takes: `num_classes`, `width`, `pooling`, …"""
    head: tuple[str, ...] = ()
    """The layers that make up the classifier, which a trunk lacks."""
    top_k_after: tuple[str, ...] = ()
    """The activations that Top-K follows unless told otherwise; empty if there is no such preset."""
    place_name: str | None = None
    """The name of a numbered place in the paper's spelling, such as `layer{}`; None if places have no numbers."""
    match: tuple[str, ...] = ()
    """The activations that synthesis matches unless told otherwise."""
    pooling: Literal["max", "average"] | None = None
    """The pools that synthesis builds the network with unless told otherwise, if there is a choice."""
    torch_layers: Mapping[str, str] = field(default_factory=dict)
    """torchvision's names of the layers to ours, in the network's order. For an architecture that torchvision does not
    have: any names, by which its weights are stored; if there are none, our own."""
    groups: int = 1
    """Of the convolutions `layer…_….conv2`: tells apart ResNets and ResNeXts, whose layers have the same names."""
    flattened: Mapping[str, str] = field(default_factory=dict)
    """Our linear layers that read a flattened image, to the convolution whose channels it has.

    torch flattens (C, H, W) and we flatten (H, W, C), so the rows of these kernels are permuted.
    """


_ARCHITECTURES: dict[str, Architecture] = {}


def register(name: str, architecture: Architecture) -> None:
    """Make an architecture known to every job under `name`. It replaces an earlier one of that name."""
    _ARCHITECTURES[name] = architecture


def architectures() -> tuple[str, ...]:
    """The names of all architectures."""
    return tuple(_ARCHITECTURES)


def architecture(name: str) -> Architecture:
    """The record of an architecture.

    Raises:
        InputError: an unknown name; the message lists the known ones.
    """
    if name not in _ARCHITECTURES:
        raise InputError(f"there is no architecture {name!r}; there are {', '.join(_ARCHITECTURES)}")
    return _ARCHITECTURES[name]


def architecture_of(network: Network) -> Architecture:
    """The record of a network's architecture; raises as `architecture` does."""
    return architecture(network.architecture)


def build(name: str, *, rngs: nnx.Rngs, **options: Any) -> Network:
    """A network with random weights, in train mode.

    Args:
        name: of an architecture.
        rngs: the source of the weights (stream `params`) and dropout masks (stream `dropout`).
        options: `trunk_only` (no classifier), `dtype` (of the computation), and the architecture's own.

    Raises:
        InputError: an unknown architecture, an option that it does not have, or a value that the option cannot have.
    """
    record = architecture(name)
    allowed = record.options | {"trunk_only", "dtype"}
    if unknown := sorted(options.keys() - allowed):
        raise InputError(f"{name} has no option {', '.join(unknown)}; it has {', '.join(sorted(allowed))}")
    try:
        return record.build(rngs=rngs, **options)
    except TypeError as error:  # a value of another type, such as a width that is a word
        raise InputError(f"{name} cannot be built with {', '.join(options)}: {error}") from error
