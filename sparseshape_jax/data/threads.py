"""Decoding ahead of the caller, by threads."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import grain

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(
    function: Callable[[Item], Result], items: Sequence[Item], *, ahead: int | None = None
) -> Iterator[Result]:
    """The function's results in the order of the items, computed a little ahead by as many threads as there are cores.

    Args:
        function: of one item; what it raises is raised when its result is asked for.
        items: may be empty.
        ahead: how many results may wait; by default four for each thread.
    """
    if not items:
        return iter(())
    threads = os.cpu_count() or 1
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead or 4 * threads)
    return iter(grain.MapDataset.source(items).map(function).to_iter_dataset(options))
