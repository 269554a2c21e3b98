"""Reading and writing the networks of adaptive instance normalization.

Decoders have the names and layout of pytorch-AdaIN's `decoder.pth` in every file: the index of each layer in torch's
sequence. Ours are safetensors, whose metadata name the encoder.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from sparseshape_jax.errors import InputError
from sparseshape_jax.models.adain import Decoder, Encoder, vgg_position
from sparseshape_jax.weights import torch_format
from sparseshape_jax.weights.assign import assign, export, write_safetensors
from sparseshape_jax.weights.catalog import CATALOG
from sparseshape_jax.weights.keys import TORCHVISION_NAMES, KeyTable
from sparseshape_jax.weights.read import read_arrays, read_metadata

DECODER = "decoder.safetensors"
"""The file in the folder of a training run."""


@dataclass(frozen=True)
class DecoderFacts:
    """What a decoder's file says of it, in its metadata."""

    encoder: str
    """The encoder's weights: a name of the catalog, or a file."""
    encoder_sha256: str
    """Of the encoder's file."""
    depth: int
    """Of the encoder, a VGG."""
    layer: str
    """The activation that is decoded."""
    width: float
    """Of the decoder, as in `models.adain.mirror`."""


def key_table(network: Encoder | Decoder) -> KeyTable:
    """The layers of a network in pytorch-AdaIN's files."""
    return KeyTable(network.architecture, TORCHVISION_NAMES, network.layers)


def abstract_decoder(facts: DecoderFacts) -> Decoder:
    """A decoder whose weights are only shapes."""
    return nnx.eval_shape(lambda: Decoder(facts.depth, facts.layer, facts.width, rngs=nnx.Rngs(0)))


def read_decoder(path: str | os.PathLike[str]) -> tuple[Decoder, DecoderFacts]:
    """A decoder of ours, with what its file says of it.

    Raises:
        InputError: no such file, damaged, or without these facts; arrays of other names or shapes, all listed.
    """
    metadata = read_metadata(path)
    if "decoder" not in metadata:
        raise InputError(
            f"{path} is not a decoder that train.py adain wrote: its metadata do not describe one; give"
            f" {DECODER} of a run, or a decoder of pytorch-AdaIN together with its encoder: --vgg FILE --decoder FILE"
        )
    try:
        facts = DecoderFacts(**json.loads(metadata["decoder"]))
        vgg_position(facts.layer, facts.depth)
        decoder = abstract_decoder(facts)
    except (ValueError, TypeError):
        raise InputError(f"{path} has an unreadable description of its decoder ({metadata['decoder'][:200]})") from None
    assign(decoder, _floats(read_arrays(path)), table=key_table(decoder), source=f"the weights {path}")
    return decoder, facts


def _floats(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def write_decoder(
    decoder: Decoder,
    path: str | os.PathLike[str],
    facts: DecoderFacts,
    *,
    dtype: Any = np.float32,
    more: Mapping[str, str] | None = None,
) -> None:
    """Write a safetensors file that `read_decoder` reads.

    Args:
        decoder: takes features as they are.
        path: the file.
        facts: of the decoder.
        dtype: of the arrays.
        more: further metadata, such as a license.

    Raises:
        InputError: the path cannot be written.
    """
    arrays = {name: array.astype(dtype) for name, array in export(decoder, key_table(decoder)).items()}
    write_safetensors(arrays, path, {**(more or {}), "decoder": json.dumps(asdict(facts))})


def write_torch_decoder(decoder: Decoder, path: str | os.PathLike[str]) -> None:
    """Write a decoder as pytorch-AdaIN's `decoder.pth`, which `torch.load(path, weights_only=True)` reads.

    Raises:
        InputError: the path cannot be written.
    """
    torch_format.write_zip(export(decoder, key_table(decoder)), path)


def read_reference(vgg: str | os.PathLike[str], decoder: str | os.PathLike[str]) -> tuple[Encoder, Decoder]:
    """pytorch-AdaIN's own networks, from `vgg_normalised.pth` and `decoder.pth` (or one of its training checkpoints).

    Raises:
        InputError: a missing or damaged file; one in place of the other; arrays of other names or shapes, all listed.
    """
    arrays = read_arrays(decoder)
    if arrays.keys() == _keys(_reference_encoder()):
        raise InputError(
            f"--decoder {decoder} holds the encoder of pytorch-AdaIN, vgg_normalised.pth: give it as --vgg, and"
            " decoder.pth as --decoder"
        )
    network = nnx.eval_shape(lambda: Decoder(19, "relu4_1", rngs=nnx.Rngs(0)))
    assign(network, _floats(arrays), table=key_table(network), source=f"the weights {decoder}")
    return read_reference_encoder(vgg), network


def read_reference_encoder(vgg: str | os.PathLike[str], layer: str = "relu4_1") -> Encoder:
    """pytorch-AdaIN's encoder up to `layer`, from `vgg_normalised.pth`, which has all of VGG19's convolutions.

    Raises:
        InputError: as `read_reference`.
    """
    arrays, network = read_arrays(vgg), _reference_encoder()
    if arrays.keys() == _keys(nnx.eval_shape(lambda: Decoder(19, "relu4_1", rngs=nnx.Rngs(0)))):
        raise InputError(
            f"--vgg {vgg} holds a decoder of pytorch-AdaIN: give it as --decoder, and the encoder vgg_normalised.pth as"
            " --vgg"
        )
    assign(network, _floats(arrays), table=key_table(network), source=f"the weights {vgg}")
    return _start(network, nnx.eval_shape(lambda: Encoder(19, layer, rgb=True, rngs=nnx.Rngs(0))))


def is_reference_encoder(path: str | os.PathLike[str]) -> bool:
    """Whether a file has the names of pytorch-AdaIN's encoder; raises as `read_arrays`."""
    return read_arrays(path).keys() == _keys(_reference_encoder())


def _reference_encoder() -> Encoder:
    return nnx.eval_shape(lambda: Encoder(19, "relu5_4", rgb=True, rngs=nnx.Rngs(0)))


def _keys(network: Encoder | Decoder) -> set[str]:
    return {f"{index}.{array}" for index in network.layers for array in ("weight", "bias")}


def encoder_of(network: Any, layer: str) -> Encoder:
    """The start of a VGG, padded by reflection, with the weights of `network`, which is padded by zeros.

    Raises:
        InputError: not a VGG, one with batch normalization, or no such layer.
    """
    depth = getattr(network, "depth", None)
    if depth is None or getattr(network, "batch_norm", True):
        raise InputError(
            f"the encoder is {network.architecture}; a decoder can mirror a VGG without batch normalization only, such"
            f" as {', '.join(name for name, entry in CATALOG.items() if entry.architecture in ('vgg16', 'vgg19'))}"
        )
    return _start(network, nnx.eval_shape(lambda: Encoder(depth, layer, rngs=nnx.Rngs(0))))


def _start(network: Any, encoder: Encoder) -> Encoder:
    """Fill `encoder` with the weights that `network` has by the same names."""
    state = nnx.state(encoder, nnx.Param)
    given = dict(nnx.to_flat_state(nnx.state(network, nnx.Param)))
    for path, variable in nnx.to_flat_state(state):
        variable.set_value(jnp.asarray(given[path].get_value()))
    nnx.update(encoder, state)
    return encoder
