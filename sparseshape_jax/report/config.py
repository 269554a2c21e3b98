"""Settings of `evaluate.py report`. Imports no JAX, NumPy or PIL."""

from dataclasses import dataclass
from pathlib import Path

from sparseshape_jax.errors import InputError


@dataclass(frozen=True)
class ReportConfig:
    """Put the results of any number of runs on one page, next to published numbers."""

    runs: tuple[str, ...]
    """Result folders, of any job of the three scripts. A folder with result folders in it stands for all of them."""
    title: str = "Shape bias and activation sparsity"
    """Heading of the page."""
    rows: int = 40
    """At most so many rows of each table; the whole tables are in the folders' summary.csv."""
    out: str = "results/report"
    """Folder for report.html, which is complete in itself, and for report.md with its figures."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise InputError("there is nothing to report; give at least one result folder: evaluate.py report results")
        if self.rows < 1:
            raise InputError(f"rows is {self.rows}; it must be at least 1")
        for run in self.runs:
            if Path(self.out).resolve() == Path(run).resolve():
                raise InputError(f"the output folder {self.out} is one of the runs; give another one with --out")
