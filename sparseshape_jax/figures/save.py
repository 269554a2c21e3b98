"""How every figure is written."""

from pathlib import Path

from matplotlib.figure import Figure

from sparseshape_jax import output


def save(figure: Figure, stem: Path, *, tight: bool = True) -> list[Path]:
    """Write a figure as PNG and PDF next to each other, all or nothing each, and return their paths.

    Args:
        figure: what to write.
        stem: the files' path without the ending.
        tight: cut the margins off; otherwise the figure keeps its size.

    Raises:
        InputError: the folder is not writable.
    """
    paths = []
    for suffix in (".png", ".pdf"):
        path = stem.with_name(stem.name + suffix)
        # Without a date the same results give the same file.
        metadata = {"CreationDate": None} if suffix == ".pdf" else None
        with output.replacing(path) as temporary:
            figure.savefig(temporary, bbox_inches="tight" if tight else None, pad_inches=0.03, metadata=metadata)
        paths.append(path)
    return paths
