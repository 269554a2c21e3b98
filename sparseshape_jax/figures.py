"""Writing figures, for every job that draws some."""

from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from sparseshape_jax import output


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure as PNG and PDF beside each other, all or nothing each, and return their paths.

    Raises:
        InputError: the folder is not writable.
    """
    paths = []
    for suffix in (".png", ".pdf"):
        path = stem.with_name(stem.name + suffix)
        with output.replacing(path) as temporary, rc_context({"savefig.bbox": "tight", "savefig.pad_inches": 0.03}):
            figure.savefig(temporary)
        paths.append(path)
    return paths
