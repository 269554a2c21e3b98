"""Stylizers by name."""

from pathlib import Path

from sparseshape_jax.errors import InputError
from sparseshape_jax.stylize.adain import AdaIN
from sparseshape_jax.stylize.magenta import Magenta
from sparseshape_jax.stylize.stylizer import Stylizer


def load_stylizer(source: str | Path = "adain", *, vgg: str | None = None, decoder: str | None = None) -> Stylizer:
    """A stylizer with its weights.

    Args:
        source: `adain`, with the decoder that comes with this package; `magenta`; or the folder of a `train.py adain`
            run, or its decoder.
        vgg: with `decoder`, pytorch-AdaIN's own files in place of ours: the encoder, `vgg_normalised.pth`.
        decoder: the decoder, `decoder.pth`.

    Raises:
        InputError: another name, a package that is not installed, or files that are missing, damaged or others.
    """
    if (vgg is None) != (decoder is None):
        raise InputError("vgg and decoder belong together; give both files of pytorch-AdaIN, or none")
    if vgg is not None and decoder is not None:
        return AdaIN.reference(vgg, decoder)
    if source == "adain":
        return AdaIN.shipped()
    if source == "magenta":
        return Magenta()
    if Path(source).exists():
        return AdaIN.trained(source)
    raise InputError(f"there is no stylizer {str(source)!r}; there are adain, magenta, and folders of train.py adain")
