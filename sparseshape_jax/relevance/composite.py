"""Which rule each layer of a network follows when relevance goes back through it. Imports no JAX."""

import re
from dataclasses import dataclass, field

from sparseshape_jax.errors import InputError

EPSILON = 1e-6
"""The stabilizer of denominators."""


@dataclass(frozen=True)
class Rule:
    """How a layer's relevance goes to its inputs.

    Raises:
        InputError: an unknown rule, or a parameter outside its range.
    """

    kind: str
    """One of RULES."""
    parameter: float = 0.0
    """epsilon's ε, or gamma's γ."""

    def __post_init__(self) -> None:
        if self.kind not in RULES:
            raise InputError(f"there is no relevance rule {self.kind!r}; there are {', '.join(RULES)}")
        if not 0 <= self.parameter < float("inf"):
            raise InputError(
                f"the relevance rule {self.kind} has the parameter {self.parameter}; it must be at least 0"
            )

    @property
    def first_only(self) -> bool:
        """Whether it is meant for the layer that reads the pixels, and for no other."""
        return self.kind in ("flat", "wsquare", "zbox")


RULES = {
    "epsilon": EPSILON,
    "zplus": None,
    "alphabeta": None,
    "gamma": 0.25,
    "flat": None,
    "wsquare": None,
    "zbox": None,
}
"""The rules, and the parameter that each has unless told otherwise: epsilon:0.1, gamma:0.5; alphabeta is α 2, β 1."""

ROLES = ("first", "convolution", "dense", "head")
_COMPOSITES = {  # first, convolution, dense
    "epsilon_gamma_box": ("zbox", "gamma", "epsilon"),
    "epsilon_plus": ("zplus", "zplus", "epsilon"),
    "epsilon_plus_flat": ("flat", "zplus", "epsilon"),
    "epsilon_alpha2_beta1": ("alphabeta", "alphabeta", "epsilon"),
    "epsilon_alpha2_beta1_flat": ("flat", "alphabeta", "epsilon"),
    "epsilon": ("epsilon", "epsilon", "epsilon"),
    "thesis": ("flat", "zplus", "epsilon:0.1"),
}
COMPOSITES = tuple(_COMPOSITES)
DEFAULT = "epsilon_gamma_box"


@dataclass(frozen=True)
class Composite:
    """A rule for every layer: a composite by its name, with changes.

    Rules are zplus, alphabeta, gamma[:γ], epsilon[:ε], and for the first convolution only flat, wsquare and zbox. The
    composites are zennit's, but for `head`: SqueezeNet's last convolution is treated as the classifier that it is,
    unless head is convolution.

    Raises:
        InputError: an unknown composite or rule.
    """

    name: str = DEFAULT
    """epsilon_gamma_box, epsilon_plus, epsilon_plus_flat, epsilon_alpha2_beta1, epsilon_alpha2_beta1_flat, epsilon, or
    thesis (epsilon_plus_flat with ε 0.1)."""
    first: str | None = None
    """The rule of the first convolution, in place of the composite's."""
    convolution: str | None = None
    """The rule of the other convolutions, those of shortcuts too."""
    dense: str | None = None
    """The rule of dense layers."""
    head: str | None = None
    """The rule of the layers of the network's classifier; or dense (default) or convolution, for the rule of these."""
    layers: dict[str, str] = field(default_factory=dict)
    """The rules of single layers, by their names: conv10, layer1_0.conv2, …"""

    def __post_init__(self) -> None:
        if self.name not in _COMPOSITES:
            raise InputError(f"there is no composite {self.name!r}; there are {', '.join(COMPOSITES)}")
        for role in ROLES:
            rule = getattr(self, role)
            if rule is not None and not (role == "head" and rule in ("dense", "convolution")):
                read_rule(rule)
        for rule in self.layers.values():
            read_rule(rule)

    def rule(self, layer: str, kind: str, *, first: bool, head: bool) -> Rule:
        """The rule of a layer.

        Args:
            layer: its name.
            kind: "convolution" or "dense".
            first: whether it reads the pixels.
            head: whether it belongs to the classifier.

        Raises:
            InputError: a rule for the first layer in another one.
        """
        usual = dict(zip(ROLES, _COMPOSITES[self.name], strict=False))
        roles = {role: getattr(self, role) or usual.get(role, "dense") for role in ROLES}
        role = "first" if first else "head" if head else kind
        spelling = self.layers.get(layer, roles[role])
        rule = read_rule(roles.get(spelling, spelling))
        if rule.first_only and not first:
            raise InputError(
                f"the relevance rule {rule.kind} is for the first convolution only, not for {layer};"
                " it would give relevance to inputs that are 0"
            )
        return rule


def read_rule(spelling: str) -> Rule:
    """A rule from its name, with a parameter after a colon where it has one: zplus, epsilon:0.1.

    Raises:
        InputError: an unknown rule, or a parameter that it does not have or that is not a number from 0.
    """
    kind, colon, parameter = spelling.partition(":")
    usual = RULES.get(kind)
    if not colon:
        return Rule(kind, usual or 0.0)
    if kind in RULES and (usual is None or not re.fullmatch(r"[0-9.]+(e-?[0-9]+)?", parameter)):
        raise InputError(f"the relevance rule {spelling!r} is not one; write zplus, epsilon:0.1 or gamma:0.5")
    try:
        return Rule(kind, float(parameter) if kind in RULES else 0.0)
    except ValueError:
        raise InputError(f"{parameter!r} in the relevance rule {spelling!r} is not a number") from None
