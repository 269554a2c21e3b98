"""Settings of `python -m sparseshape_jax.weights`. Imports no JAX or NumPy."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sparseshape_jax.errors import InputError

TORCH = (".pth", ".pt")
SAFETENSORS = ".safetensors"


@dataclass(frozen=True)
class ListConfig:
    """List the published weights: accuracy, source, license, and whether they are here already."""


@dataclass(frozen=True)
class FetchConfig:
    """Download published weights into the cache, and check them."""

    names: tuple[str, ...]
    """Names that `list` prints."""


@dataclass(frozen=True)
class ConvertConfig:
    """Write weights as .safetensors or .pth, with torchvision's names."""

    source: str
    """A file of weights, or a name that `list` prints."""
    destination: str
    """File to write; its name ends in .safetensors, .pth or .pt."""

    def __post_init__(self) -> None:
        if Path(self.destination).suffix not in (SAFETENSORS, *TORCH):
            raise InputError(
                f"cannot tell the format of {self.destination}; let its name end in .safetensors, .pth or .pt"
            )


@dataclass(frozen=True)
class NormalizeConfig:
    """Rescale a VGG so that every channel's mean activation is 1, for textures and reconstructions."""

    source: str
    """VGG weights: a file, or a name that `list` prints."""
    images: str = field(kw_only=True)
    """Folder of photographs to take the mean over; a few hundred are enough."""
    out: str = field(kw_only=True)
    """File to write; its name ends in .safetensors."""
    pooling: Literal["average", "max"] = "average"
    """The pools that the weights will be used with; average is the default of `synthesize.py`."""

    def __post_init__(self) -> None:
        if Path(self.out).suffix != SAFETENSORS:
            raise InputError(
                f"{self.out} does not end in .safetensors, the format that normalized weights are written in"
            )


@dataclass(frozen=True)
class InspectConfig:
    """Print the network, the arrays and the number of parameters in a file."""

    source: str
    """A file of weights, or a name that `list` prints."""
