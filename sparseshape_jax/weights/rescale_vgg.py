"""VGG with every channel's mean activation at 1, so that all layers and channels have the same weight in textures.

Source: Gatys, Ecker & Bethge, "Image Style Transfer Using Convolutional Neural Networks" (CVPR 2016), section 2: each
filter is scaled so that its mean activation over images and positions is 1. ReLU and both kinds of pooling commute with
positive factors, so the function stays the same up to one such factor per channel. Their file may not be redistributed;
this job makes a similar one from any VGG.

Departures: the mean is over the photographs given, at the weights' crop size. A channel that none of them activates
keeps its scale.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from tqdm import tqdm

from sparseshape_jax import models
from sparseshape_jax.data.images import Images
from sparseshape_jax.data.loader import Batch, Loader
from sparseshape_jax.data.open import open_images
from sparseshape_jax.errors import InputError
from sparseshape_jax.output import prepare_folder
from sparseshape_jax.predictor import Predictor
from sparseshape_jax.weights import keys
from sparseshape_jax.weights.assign import save_safetensors
from sparseshape_jax.weights.catalog import CATALOG
from sparseshape_jax.weights.config import NormalizeConfig
from sparseshape_jax.weights.load import Loaded, load
from sparseshape_jax.weights.read import read_arrays

BATCH = 8
"""Images in the network at a time."""


def run(config: NormalizeConfig) -> None:
    """Write rescaled weights, up to the last pool, to a safetensors file that `load` reads.

    Raises:
        InputError: other weights, no images, a damaged one, or a file that cannot be written.
    """
    images, out = open_images(config.images), Path(config.out)
    loaded = _load(config)
    prepare_folder(out.parent)
    dead = rescale(loaded.network, mean_activations(loaded, images))
    facts = {
        "normalized": f"mean activation 1 after each ReLU, over {len(images)} images, {config.pooling} pooling",
        "normalized_from": loaded.entry.name if loaded.entry else Path(config.source).name,
        "normalized_from_sha256": loaded.sha256,
    }
    if loaded.entry:
        facts["license"] = loaded.entry.license
    save_safetensors(loaded.network, out, facts, preprocessing=loaded.preprocessing)
    if dead:
        print(f"{dead} channels are 0 on all {len(images)} images and keep their scale; more images may activate them")
    print(f"{out}: use it with  synthesize.py … --model {loaded.network.architecture} --weights {out}")


def _load(config: NormalizeConfig) -> Loaded:
    """The trunk of a VGG with its weights."""
    source, published = config.source, CATALOG.get(config.source)
    if published:
        architecture = published.architecture
    else:
        table = keys.detect(read_arrays(source))
        architecture = table.architecture if table else "unknown"
    if not _is_plain_vgg(architecture):
        raise InputError(
            f"the weights {source} are of the architecture {architecture};"
            " only VGGs without batch normalization are normalized"
        )
    if published:
        return load(source, trunk_only=True, pooling=config.pooling)
    return load(architecture, weights=source, trunk_only=True, pooling=config.pooling)


def _is_plain_vgg(name: str) -> bool:
    """Whether an architecture has a choice of pools, and only convolutions before its classifier."""
    if name not in models.architectures():
        return False
    record = models.architecture(name)
    trunk = [layer for layer in record.torch_layers.values() if layer not in record.head]
    return record.pooling is not None and all(layer.startswith("conv") for layer in trunk)


def mean_activations(loaded: Loaded, images: Images) -> dict[str, Float[np.ndarray, " c"]]:
    """Each channel's mean over images and positions after each ReLU, by the name of the convolution before it."""
    names = [name for name in loaded.network.names if name.startswith("relu")]
    predictor = Predictor(loaded.network, loaded.preprocessing)
    means = predictor.mean_activations(_watched(images, loaded), names, reduce=_mean_over_positions)
    return {name.replace("relu", "conv"): mean for name, mean in means.items()}


def _watched(images: Images, loaded: Loaded) -> Iterator[Batch]:
    with tqdm(total=len(images), unit="image", file=sys.stderr) as progress:
        for batch in Loader(images, loaded.preprocessing, BATCH):
            yield batch
            progress.update(len(batch.indices))


def _mean_over_positions(x: Float[Array, "n h w c"]) -> Float[Array, "n c"]:
    return x.mean(axis=(1, 2))


def rescale(network: models.Network, means: Mapping[str, Float[np.ndarray, " c"]]) -> int:
    """Divide each convolution's channels by their `means` and multiply the next one's inputs by them; in place.

    Returns the number of channels whose mean is 0, which stay as they are.
    """
    before, dead = np.ones(3), 0
    for name in [name for name in network.names if name in means]:
        convolution = getattr(network, name)
        scale = np.where(means[name] > 0, means[name], 1)
        kernel = np.asarray(convolution.kernel.get_value(), np.float64) * before[:, None] / scale
        bias = np.asarray(convolution.bias.get_value(), np.float64) / scale
        convolution.kernel.set_value(jnp.asarray(kernel, jnp.float32))
        convolution.bias.set_value(jnp.asarray(bias, jnp.float32))
        before = scale
        dead += int(np.sum(means[name] == 0))
    return dead
