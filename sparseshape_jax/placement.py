"""Which Top-K goes where: the specification that configs hold, the paper's placements, and its spellings.

Source: Li et al., "Emergence of Shape Bias in Convolutional Neural Networks through Activation Sparsity", NeurIPS 2023.
The operator itself is `sparseshape_jax.top_k.keep_top_k`; this module needs no JAX until a `TopK` is called.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from sparseshape_jax.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Array

    from sparseshape_jax.models import Network

Keep = Literal["top", "rest", "all"]
Scope = Literal["spatial", "channel", "volume"]
Method = Literal["top_k", "threshold", "auto"]


@dataclass(frozen=True)
class TopK:
    """A Top-K and the activations it follows; calling it applies it to an NHWC array of any float dtype.

    Raises:
        InputError: on construction, for a value outside those listed.
    """

    fraction: float = 0.2
    """Keep fraction, in (0, 1]: k = max(1, int(fraction · positions)) survive."""
    keep: Keep = "top"
    """"top" keeps the k largest magnitudes, "rest" exactly the others, "all" everything (no Top-K)."""
    scope: Scope = "spatial"
    """What competes: the H·W positions of each channel, the channels at each position, or the whole volume."""
    blend: float = 1.0
    """blend · sparse + (1 - blend) · dense, in [0, 1]; the reference's tau."""
    mean_replace: bool = False
    """Choose the k largest signed values instead, and replace each by their mean."""
    method: Method = "auto"
    """How the k are found; every method gives the same result, bit for bit."""
    after: tuple[str, ...] | None = None
    """Names of activations; None means the architecture's preset (`PRESETS`)."""

    def __post_init__(self) -> None:
        check_fraction(self.fraction)
        for name, allowed in (("keep", Keep), ("scope", Scope), ("method", Method)):
            if getattr(self, name) not in get_args(allowed):
                raise InputError(f"Top-K: {name} is {getattr(self, name)!r}; it can be {', '.join(get_args(allowed))}")
        if not 0 <= self.blend <= 1:
            raise InputError(f"Top-K: blend is {self.blend}; it must lie in [0, 1]")
        if self.mean_replace and self.keep != "top":
            raise InputError(f"Top-K: mean_replace replaces the survivors of keep=top, but keep is {self.keep!r}")
        if self.after is not None:
            object.__setattr__(self, "after", tuple(self.after))  # configs give lists

    def __call__(self, x: "Array", fraction: "Array | None" = None) -> "Array":
        """Apply to (…, H, W, C), with another (traced) fraction if one is given; see `keep_top_k`."""
        from sparseshape_jax.top_k import keep_top_k

        return keep_top_k(
            x,
            self.fraction if fraction is None else fraction,
            keep=self.keep,
            scope=self.scope,
            blend=self.blend,
            mean_replace=self.mean_replace,
            method=self.method,
        )

    @property
    def is_identity(self) -> bool:
        """Whether nothing is changed: everything is kept as it is."""
        return (
            self.blend == 0
            or self.keep == "all"
            or (self.fraction == 1 and self.keep == "top" and not self.mean_replace)
        )

    def to_config(self) -> dict[str, Any]:
        """Plain values for YAML or JSON; `TopK(**config)` reads them back."""
        config = asdict(self)
        config["after"] = None if self.after is None else list(self.after)
        return config


def check_fraction(fraction: float) -> None:
    """Raise `InputError` unless `fraction` lies in (0, 1]."""
    if not (isinstance(fraction, int | float) and math.isfinite(fraction) and 0 < fraction <= 1):
        raise InputError(f"Top-K: the keep fraction is {fraction}; it must lie in (0, 1], for example 0.2 for 20 %")


PRESETS: Mapping[str, tuple[str, ...]] = {
    # The paper's placements (for VGG16: after torchvision's features 4, 9, 16, 23, 30).
    **{
        f"vgg{depth}{suffix}": ("pool1", "pool2", "pool3", "pool4", "pool5")
        for depth in (11, 13, 16, 19)
        for suffix in ("", "_bn")
    },
    "alexnet": ("pool1", "pool2", "relu3", "relu4", "pool5"),
    **{f"resnet{depth}": ("layer1", "layer2", "layer3", "layer4") for depth in (18, 34, 50, 101, 152)},
    "resnet18_code_spec": ("layer2",),
    # Not in the paper: our choice, by analogy with AlexNet.
    "squeezenet1_1": ("pool1", "pool3", "pool5"),
}
"""Per architecture, the activations that Top-K follows unless told otherwise."""


def place(specs: TopK | Iterable[TopK], network: "Network") -> dict[str, TopK]:
    """The mapping from names to Top-K that `network(images, at=…)` takes.

    Args:
        specs: one Top-K, or several with activations of their own.
        network: says which activations exist, and through its architecture which preset applies.

    Raises:
        InputError: an unknown activation, one that is named twice, or no preset for the architecture.
    """
    at: dict[str, TopK] = {}
    for spec in (specs,) if isinstance(specs, TopK) else specs:
        names = spec.after if spec.after is not None else PRESETS.get(network.architecture)
        if names is None:
            raise InputError(
                f"there is no Top-K preset for {network.architecture};"
                f" name activations among {', '.join(network.names)}"
            )
        network.check_names(names)
        if trunk_missing := [name for name in names if name in at]:
            raise InputError(f"two Top-K follow {', '.join(trunk_missing)}; give each activation one")
        if not spec.is_identity:
            at.update(dict.fromkeys(names, spec))
    return at


_SPELLING = re.compile(r"(\d+(?:-\d+)*)_(\d+(?:\.\d+)?(?:-\d+(?:\.\d+)?)*)")


def parse(spelling: str, *, name: str | None = None, template: TopK | None = None) -> tuple[TopK, ...]:
    """Read the paper's spelling of a placement: places, an underscore, percentages kept.

    "2_20" is 20 % after `layer2` of a ResNet; "16-32_10-5" is 10 % after the generator's 16×16 feature map (`feat_16`)
    and 5 % after the 32×32 one (`feat_32`). Places up to 5 are taken for ResNet stages, larger ones for map sizes.

    Args:
        spelling: as above. One percentage serves all places.
        name: how a place is called, for example "pool{}"; None means the rule above.
        template: where the other settings come from.

    Raises:
        InputError: anything else.
    """
    match = _SPELLING.fullmatch(spelling)
    if match is None:
        raise InputError(f"{spelling!r} is not a Top-K placement; write places_percentages, such as 2_20 or 16-32_10-5")
    places = match[1].split("-")
    percentages = [float(text) for text in match[2].split("-")]
    if len(percentages) == 1:
        percentages *= len(places)
    if len(places) != len(percentages):
        raise InputError(f"{spelling!r} names {len(places)} places but {len(percentages)} percentages; give one each")
    specs = []
    for place_, percentage in zip(places, percentages, strict=True):
        pattern = name or ("layer{}" if int(place_) <= 5 else "feat_{}")
        specs.append(replace(template or TopK(), fraction=percentage / 100, after=(pattern.format(place_),)))
    return tuple(specs)
