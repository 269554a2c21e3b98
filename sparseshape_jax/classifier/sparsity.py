"""How sparse the activations are as training goes on: dense, annealed, or at the fraction asked for."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from jaxtyping import Array, Float

from sparseshape_jax.classifier.config import SparsityConfig, TrainClassifierConfig
from sparseshape_jax.models import Network, Operator
from sparseshape_jax.top_k.placement import parse, place
from sparseshape_jax.top_k.spec import TopK

Operators = Callable[[Float[Array, ""]], Mapping[str, Operator]]
"""From the (traced) annealing progress to the operators that a network takes as `at`."""


def annealing_progress(sparsity: SparsityConfig, epoch: float) -> float:
    """The annealing progress at a (fractional) epoch: 0 is dense, 1 the fraction asked for."""
    if sparsity.schedule == "constant":
        return 1.0
    if sparsity.schedule == "from_epoch":
        return float(epoch >= sparsity.epochs)
    return min(1.0, epoch / sparsity.epochs)


def top_k_specs(config: TrainClassifierConfig, network: Network) -> tuple[TopK, ...]:
    """The Top-K to place in a network: `topk`, or what `sparsity.placement` makes of it.

    Raises:
        InputError: a placement, for an architecture whose places have no numbers.
    """
    if config.sparsity.placement is None:
        return (config.topk,)
    return parse(config.sparsity.placement, network, template=config.topk)


def train_operators(config: TrainClassifierConfig, network: Network, progress: float) -> Operators:
    """The operators of a training step at an annealing progress.

    Dense (0) and at the fraction asked for (1), the fraction is a constant of the program, the fast case. In between it
    is computed from the traced progress, 1 - progress + fraction · progress, so that one program serves all steps.
    """
    at = place(top_k_specs(config, network), network) if progress else {}
    return (lambda _: at) if progress in (0, 1) else annealed(at)


def annealed(at: Mapping[str, TopK]) -> Operators:
    """Each Top-K at a traced progress from 0 (dense) to 1 (its own fraction)."""

    def operator(spec: TopK, progress: Float[Array, ""]) -> Operator:
        return lambda x: spec(x, fraction=1 - progress + spec.fraction * progress)

    return lambda progress: {name: operator(spec, progress) for name, spec in at.items()}


def eval_placement(config: TrainClassifierConfig, network: Network, progress: float) -> dict[str, TopK]:
    """Which Top-K follows which activation in evaluation: at `sparsity.eval_fraction`, or as far as training is."""
    specs, fraction = top_k_specs(config, network), config.sparsity.eval_fraction
    if fraction is not None:
        return place((replace(spec, fraction=fraction) for spec in specs), network)
    if progress == 0:
        return {}
    return {name: replace(spec, fraction=keep_at(spec, progress)) for name, spec in place(specs, network).items()}


def keep_at(spec: TopK, progress: float) -> float:
    """The keep fraction of a Top-K at an annealing progress."""
    return 1 - progress + spec.fraction * progress
