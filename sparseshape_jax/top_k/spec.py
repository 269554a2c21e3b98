"""The specification of a Top-K, as configs and result files hold it, and the paper's spelling of placements.

Source: Li et al., "Emergence of Shape Bias in Convolutional Neural Networks through Activation Sparsity", NeurIPS 2023.
Settings are made of this module, so it imports no JAX; the operator is `top_k.operator.keep_top_k`.
"""

import re
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, get_args

from sparseshape_jax.errors import InputError
from sparseshape_jax.top_k.options import Keep, Method, Scope, check_fraction

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int


@dataclass(frozen=True)
class TopK:
    """A Top-K and the activations that it follows. Calling it applies it to an NHWC array of any float dtype.

    Raises:
        InputError: on construction, for a value outside those listed or an activation that is named twice.
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
    """Names of activations; None means the architecture's preset."""

    def __post_init__(self) -> None:
        check_fraction(self.fraction)
        for name, allowed in (("keep", Keep), ("scope", Scope), ("method", Method)):
            if getattr(self, name) not in get_args(allowed):
                raise InputError(f"Top-K: {name} is {getattr(self, name)!r}; it can be {', '.join(get_args(allowed))}")
        if not 0 <= self.blend <= 1:
            raise InputError(f"Top-K: blend is {self.blend}; it must be in [0, 1]")
        if self.mean_replace and self.keep != "top":
            raise InputError(f"Top-K: mean_replace replaces the survivors of keep=top, but keep is {self.keep!r}")
        if self.after is not None:
            object.__setattr__(self, "after", tuple(self.after))  # configs give lists
            if repeated := sorted({name for name in self.after if self.after.count(name) > 1}):
                raise InputError(f"Top-K: after names {', '.join(repeated)} twice; name each activation once")

    def __call__(
        self,
        x: "Float[Array, '*n h w c']",
        *,
        fraction: "Float[Array, ''] | None" = None,
        k: "int | Int[Array, ''] | None" = None,
    ) -> "Float[Array, '*n h w c']":
        """Apply to (…, H, W, C); a (traced) `fraction` or `k` takes the place of this one's. See `keep_top_k`."""
        # Settings must import without JAX, and this is the one method of a settings class that computes.
        from sparseshape_jax.top_k.operator import keep_top_k

        return keep_top_k(
            x,
            (self.fraction if fraction is None else fraction) if k is None else None,
            k=k,
            keep=self.keep,
            scope=self.scope,
            blend=self.blend,
            mean_replace=self.mean_replace,
            method=self.method,
        )

    @property
    def is_identity(self) -> bool:
        """Whether it leaves activations as they are."""
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


@dataclass(frozen=True)
class TopKChanges:
    """How Top-K differs from what the weights were trained with, or else from the defaults; empty settings do not."""

    keep: Keep | None = None
    """"top" keeps the k largest magnitudes, "rest" exactly the others, "all" everything (no Top-K)."""
    scope: Scope | None = None
    """What competes: the H·W positions of each channel, the channels at each position, or the whole volume."""
    blend: float | None = None
    """blend · sparse + (1 - blend) · dense, in [0, 1]; the reference's tau."""
    mean_replace: bool | None = None
    """Choose the k largest signed values instead, and replace each by their mean."""
    method: Method | None = None
    """How the k are found; every method gives the same result, bit for bit."""
    after: tuple[str, ...] | None = None
    """Names of activations."""

    def __post_init__(self) -> None:
        if self.after is not None:
            object.__setattr__(self, "after", tuple(self.after))  # configs give lists
        self.apply(TopK(mean_replace=False, keep=self.keep or "top"))  # refuses what a Top-K cannot have

    def apply(self, spec: TopK) -> TopK:
        """`spec` with these changes."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        changes = {name: value for name, value in given.items() if value is not None}
        if changes.get("keep", "top") != "top":
            changes.setdefault("mean_replace", False)  # there are no survivors of "top" whose mean could replace them
        return replace(spec, **changes)


_SPELLING = re.compile(r"(\d+(?:-\d+)*)_(\d+(?:\.\d+)?(?:-\d+(?:\.\d+)?)*)")


def read_spelling(spelling: str) -> dict[int, float]:
    """The keep fraction at each place of a placement in the paper's spelling: places, an underscore, percentages.

    "2_20" is 20 % at place 2; "16-32_10-5" is 10 % at place 16 and 5 % at place 32. One percentage serves all places.
    What a place is called depends on the architecture: see `placement.parse`.

    Raises:
        InputError: another spelling, a place that is named twice, or a percentage outside (0, 100].
    """
    match = _SPELLING.fullmatch(spelling)
    if match is None:
        raise InputError(f"{spelling!r} is not a Top-K placement; write places_percentages, such as 2_20 or 16-32_10-5")
    places = [int(text) for text in match[1].split("-")]
    percentages = [float(text) for text in match[2].split("-")]
    if len(percentages) == 1:
        percentages *= len(places)
    if len(places) != len(percentages):
        raise InputError(f"{spelling!r} names {len(places)} places but {len(percentages)} percentages; give one each")
    if len(set(places)) < len(places):
        raise InputError(f"{spelling!r} names a place twice; give each place one percentage")
    for percentage in percentages:
        check_fraction(percentage / 100)
    return {place: percentage / 100 for place, percentage in zip(places, percentages, strict=True)}
