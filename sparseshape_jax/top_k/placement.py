"""Which Top-K follows which activation of a network: presets, names, and the paper's spelling."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from sparseshape_jax.errors import InputError
from sparseshape_jax.models.network import Network
from sparseshape_jax.models.registry import architecture_of
from sparseshape_jax.top_k.spec import TopK, read_spelling


def place(specs: TopK | Iterable[TopK], network: Network) -> dict[str, TopK]:
    """The mapping from names to Top-K that `network(images, at=…)` takes.

    Args:
        specs: one Top-K, or several that follow different activations. Those that change nothing are left out.
        network: has the activations, and an architecture with a preset.

    Raises:
        InputError: an unknown activation, one that two Top-K follow, or no preset for the architecture.
    """
    at: dict[str, TopK] = {}
    for spec in (specs,) if isinstance(specs, TopK) else specs:
        names = spec.after if spec.after is not None else preset(network)
        network.check_names(names)
        if taken := [name for name in names if name in at]:
            raise InputError(f"two Top-K follow {', '.join(taken)}; give each activation one")
        at.update(dict.fromkeys(names, spec))
    return {name: spec for name, spec in at.items() if not spec.is_identity}


def merge_placement(at: Mapping[str, TopK]) -> tuple[TopK, ...]:
    """A placement as few Top-K, each with the names that it follows, for files of weights and results."""
    names: dict[TopK, list[str]] = {}
    for name, spec in at.items():
        names.setdefault(replace(spec, after=None), []).append(name)
    return tuple(replace(spec, after=tuple(after)) for spec, after in names.items())


def preset(network: Network) -> tuple[str, ...]:
    """The activations that Top-K follows in this architecture unless told otherwise.

    Raises:
        InputError: the architecture has no preset.
    """
    names = architecture_of(network).top_k_after
    if not names:
        raise InputError(
            f"there is no Top-K preset for {network.architecture};"
            f" name activations with --topk.after, among {', '.join(network.names)}"
        )
    return names


def parse(spelling: str, network: Network, *, template: TopK | None = None) -> tuple[TopK, ...]:
    """Read the paper's spelling of a placement for one network.

    "2_20" is 20 % after `layer2` of a ResNet; for a generator whose places are map sizes, "16-32_10-5" is 10 % after
    `feat_16` and 5 % after `feat_32`. The architecture says what a place is called.

    Args:
        spelling: as `read_spelling` reads it.
        network: the network that the places are in.
        template: where the other settings come from.

    Raises:
        InputError: another spelling, or an architecture whose places have no numbers.
    """
    pattern = architecture_of(network).place_name
    if pattern is None:
        raise InputError(
            f"{network.architecture} has no numbered places, so {spelling!r} means nothing there;"
            " give --topk.after and --topk.fraction"
        )
    return tuple(
        replace(template or TopK(), fraction=fraction, after=(pattern.format(number),))
        for number, fraction in read_spelling(spelling).items()
    )
