"""What a kind of training brings to the loop: a classifier's, a GAN's, …."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from jaxtyping import Array, Float

from sparseshape_jax.training.log import Row

Metrics = Mapping[str, Float[Array, " devices"]]
"""What a step measures, by name. All must be finite; one of them should tell whether the new state is sound."""


@dataclass(frozen=True)
class Epoch:
    """An epoch that has ended."""

    number: int
    """From 1."""
    step: int
    """How many steps are done."""
    means: Mapping[str, float]
    """Each metric's mean over the steps of the epoch."""
    rate: float | None
    """Images per second, if known."""


@dataclass(frozen=True)
class Report:
    """What a task finds at the end of an epoch."""

    rows: Sequence[Row]
    """For the log."""
    message: str
    """Printed above the progress bar."""
    score: float
    """Chooses the best epoch; higher is better."""
    write: Callable[[str], None]
    """Writes the weights of this epoch to the output folder, under a name: `last` or `best`."""
    state: Any = None
    """The state to go on with, replicated, if the evaluation changes it."""
    from_best: Callable[[Any], Any] | None = None
    """Go back: from the state with the best score so far, an earlier epoch's, to the state to go on with; both
    replicated. The number of steps done stays as it is."""


class Task(Protocol):
    """What a kind of training brings.

    The state is a pytree of arrays. `step` and `end_epoch` receive it replicated (`parallel.replicate`), as the
    functions that `parallel.data_parallel` compiles take and return it. Everything must depend on the settings, the
    state and the step alone: then a run that was stopped ends with the same bits as one that was not.
    """

    def start(self) -> Any:
        """The state before the first step."""

    def batches(self, step: int) -> Iterator[Any]:
        """This process's part of each batch, endlessly, starting with that of `step`."""

    def step(self, state: Any, batch: Any, step: int) -> tuple[Any, Metrics]:
        """The state after a step, and what was measured. Nothing should wait for the devices here."""

    def end_epoch(self, state: Any, epoch: Epoch) -> Report:
        """Evaluate; called in every process, also after the last epoch. Only process 0 uses the rows and writes."""
