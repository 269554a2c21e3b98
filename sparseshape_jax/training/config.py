"""Settings that all trainings share. Imports no JAX."""

import math
from dataclasses import dataclass
from typing import Literal

from sparseshape_jax.checks import check_ranges
from sparseshape_jax.errors import InputError


@dataclass(frozen=True)
class OptimizerConfig:
    """How the parameters follow their gradients.

    Raises:
        InputError: a number out of range.
    """

    name: Literal["sgd", "adamw"] = "sgd"
    """SGD as in torch (weight decay is added to the gradient), or AdamW (weight decay is separate)."""
    learning_rate: float = 0.1
    """The highest learning rate; the schedule scales it."""
    momentum: float = 0.9
    """SGD's momentum."""
    nesterov: bool = False
    """Use Nesterov's momentum; for SGD."""
    beta2: float = 0.999
    """AdamW's decay of the squared gradient; its beta1 is momentum."""
    weight_decay: float = 5e-4
    """Strength of weight decay."""
    decay_norm_and_bias: bool = True
    """Also decay biases and the parameters of batch normalization, as torch does by default."""
    clip_norm: float | None = None
    """Scale gradients down to this global norm."""

    def __post_init__(self) -> None:
        check_ranges("optimizer.", self, learning_rate=(0, math.inf), weight_decay=(0, math.inf))
        check_ranges("optimizer.", self, momentum=(0, 1), beta2=(0, 1), clip_norm=(0, math.inf))


@dataclass(frozen=True)
class ScheduleConfig:
    """How the learning rate changes.

    Raises:
        InputError: a number out of range, or steps without milestones.
    """

    kind: Literal["cosine", "step", "inverse", "constant", "plateau"] = "cosine"
    """A half cosine from the highest rate down to final_factor; steps by gamma at milestones; the highest rate divided
    by 1 + decay·step (inverse); constant; or plateau: multiplied by factor whenever the loss on val has not improved
    for more than patience epochs."""
    warmup_epochs: float = 0.0
    """Epochs in which the rate rises linearly from 0."""
    milestones: tuple[float, ...] = ()
    """Epochs at which "step" multiplies the rate by gamma."""
    gamma: float = 0.1
    """Factor of "step"."""
    factor: float = 0.1
    """Factor of "plateau"."""
    patience: int = 10
    """How many epochs in a row without an improvement "plateau" lets pass."""
    threshold: float = 1e-4
    """What "plateau" counts as an improvement: a loss lower than the lowest so far by this share of it."""
    decay: float = 0.0
    """How fast "inverse" falls."""
    final_factor: float = 0.0
    """Where "cosine" ends, as a share of the highest rate."""
    per_epoch: bool = False
    """Change the rate between epochs only, as torch's schedulers are mostly used, instead of at every step."""

    def __post_init__(self) -> None:
        check_ranges("schedule.", self, warmup_epochs=(0, math.inf), gamma=(0, 1), final_factor=(0, 1))
        check_ranges("schedule.", self, factor=(0, 1), patience=(0, 1_000_000), threshold=(0, 1))
        check_ranges("schedule.", self, decay=(0, math.inf))
        if self.kind == "step" and not self.milestones:
            raise InputError("schedule.kind is step without milestones; give epochs: --schedule.milestones [30,60]")


@dataclass(frozen=True)
class DistributedConfig:
    """Training in several processes. All of them get the same settings and have the same number of devices."""

    enabled: bool = False
    """Join the processes that Slurm, Open MPI or a TPU pod started; their environment names the addresses."""
    coordinator: str | None = None
    """HOST:PORT of process 0, if the environment does not name it."""
    processes: int | None = None
    """Number of processes."""
    process: int | None = None
    """Number of this process, from 0."""

    @property
    def wanted(self) -> bool:
        """Whether there are several processes."""
        return self.enabled or self.coordinator is not None
