"""What a run of `synthesize.py stylize` leaves."""

import csv
from pathlib import Path

from sparseshape_jax.downloads import sha256
from support.commands import files


def manifest(out: Path) -> list[dict[str, str]]:
    with (out / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def tree(out: Path) -> dict[str, str]:
    """Everything in a folder but the figures' and settings' paths, with hashes."""
    return {name: sha256(out / name) for name in files(out) if name.startswith(("images/", "manifest", "failed"))}
