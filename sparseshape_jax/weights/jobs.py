"""The jobs that only need the catalog: `list` and `fetch`. Imports no JAX."""

from sparseshape_jax.errors import InputError
from sparseshape_jax.weights.catalog import CATALOG, STYLIZERS
from sparseshape_jax.weights.config import FetchConfig, ListConfig
from sparseshape_jax.weights.locate import cached, locate

PUBLISHED = CATALOG | STYLIZERS


def print_catalog(_: ListConfig) -> None:
    """Print the catalog as a table."""
    rows: list[tuple[str, ...]] = [("name", "architecture", "top-1", "top-5", "here", "source", "license", "notes")]
    for entry in PUBLISHED.values():
        accuracies = [f"{value:.2f}" if value is not None else "-" for value in (entry.top1, entry.top5)]
        here = "yes" if cached(entry) else "no"
        rows.append((entry.name, entry.architecture, *accuracies, here, entry.source, entry.license, entry.notes))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def fetch(config: FetchConfig) -> None:
    """Download published weights that are not here yet, and print where they are.

    Raises:
        InputError: an unknown name (nothing is downloaded then), or a download that failed.
    """
    if unknown := [name for name in config.names if name not in PUBLISHED]:
        raise InputError(f"the catalog has no {', '.join(map(repr, unknown))}; it has {', '.join(PUBLISHED)}")
    for name in config.names:
        print(locate(PUBLISHED[name], option="`--weights FILE` where it is used"))
