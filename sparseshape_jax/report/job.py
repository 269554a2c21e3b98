"""The job behind `evaluate.py report`: results of any number of runs, and published numbers, on one page."""

from pathlib import Path

from sparseshape_jax import output
from sparseshape_jax.errors import InputError
from sparseshape_jax.report.config import ReportConfig
from sparseshape_jax.report.page import render
from sparseshape_jax.report.runs import read_runs
from sparseshape_jax.results import RESULTS


def run(config: ReportConfig) -> None:
    """Write report.html, report.md with its figures, and config.yaml to `config.out`.

    Raises:
        InputError: no folder has results, or the output folder cannot be written to.
    """
    found = read_runs(config.runs)
    if (Path(config.out) / RESULTS).exists():
        raise InputError(f"the output folder {config.out} holds results of a run; give another one with --out")
    out = output.prepare_folder(config.out)
    files = render(config.title, found, out, config.rows)
    figures = out / "figures"
    for name, content in files.items():
        with output.replacing(out / name) as temporary:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    for stale in set(figures.glob("*")) - {out / name for name in files}:
        stale.unlink()
    output.write_config(out / "config.yaml", config)
    for problem in found.problems:
        print(f"not shown: {problem}")
    print(f"{len(found.runs)} runs are on the page {Path(config.out) / 'report.html'}")
