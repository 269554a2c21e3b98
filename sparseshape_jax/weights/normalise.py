"""VGG with every channel's mean activation at 1, so that all layers and channels weigh alike in textures.

Source: Gatys, Ecker & Bethge, "Image Style Transfer Using Convolutional Neural Networks" (CVPR 2016), section 2: each
filter is scaled so that its mean activation over images and positions is 1. ReLU and both kinds of pooling commute with
positive factors, so the function stays the same up to one such factor per channel. Their file may not be passed on;
this makes one like it from any VGG.

Departures: the mean is over the photographs given, at the weights' crop size; and a channel that none of them activates
keeps its scale.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float
from tqdm import tqdm

from sparseshape_jax.data.folders import image_files
from sparseshape_jax.data.loader import Loader
from sparseshape_jax.data.preprocessing import Preprocessing
from sparseshape_jax.errors import InputError
from sparseshape_jax.models import VGG
from sparseshape_jax.output import prepare_folder
from sparseshape_jax.weights import keys
from sparseshape_jax.weights.assign import save_safetensors
from sparseshape_jax.weights.catalogue import CATALOGUE
from sparseshape_jax.weights.load import Loaded, load
from sparseshape_jax.weights.read import read_arrays

Pooling = Literal["average", "max"]

BATCH = 8
"""Images in the network at a time."""


def normalise(source: str, images: Path, out: Path, *, pooling: Pooling = "average") -> None:
    """Write normalised weights, up to the last pool, to a safetensors file that `load` reads.

    Args:
        source: a name of the catalogue, or a file; of a VGG without batch normalisation.
        images: a folder of photographs.
        out: where to; the name ends in .safetensors.
        pooling: the pools that the weights will be used with.

    Raises:
        InputError: other weights, no images, a damaged one, or a file that cannot be written.
    """
    if out.suffix != ".safetensors":
        raise InputError(f"{out} does not end in .safetensors, the format that normalised weights are written in")
    paths = image_files(images)
    loaded = _load(source, pooling)
    assert isinstance(loaded.model, VGG)
    prepare_folder(out.parent)
    means = mean_activations(loaded.model, loaded.preprocessing, paths)
    dead = rescale(loaded.model, means)
    facts = {
        "normalised": f"mean activation 1 after each ReLU, over {len(paths)} images, {pooling} pooling",
        "normalised_from": loaded.entry.name if loaded.entry else Path(source).name,
        "normalised_from_sha256": loaded.sha256,
    }
    if loaded.entry:
        facts["licence"] = loaded.entry.licence
    save_safetensors(loaded.model, out, facts, preprocessing=loaded.preprocessing)
    if dead:
        print(f"{dead} channels are 0 on all {len(paths)} images and keep their scale; more images may wake them")
    print(f"{out}: use it with  synthesize.py … --model {loaded.model.architecture} --weights {out}")


def _load(source: str, pooling: Pooling) -> Loaded:
    """The trunk of a VGG with its weights."""
    if source in CATALOGUE:
        architecture = CATALOGUE[source].architecture
    else:
        table = keys.detect(read_arrays(source))
        architecture = table.architecture if table else "unknown"
    if not architecture.startswith("vgg") or architecture.endswith("_bn"):
        raise InputError(
            f"the weights {source} are of the architecture {architecture};"
            " only VGGs without batch normalisation are normalised"
        )
    if source in CATALOGUE:
        return load(source, trunk_only=True, pooling=pooling)
    return load(architecture, weights=source, trunk_only=True, pooling=pooling)


def mean_activations(
    model: VGG, preprocessing: Preprocessing, paths: Sequence[Path]
) -> dict[str, Float[np.ndarray, " c"]]:
    """Each channel's mean over images and positions after each ReLU, by the name of the convolution before it."""
    names = [name for name in model.names if name.startswith("relu")]
    graphdef, state = nnx.split(model)

    @jax.jit
    def batch_means(state: nnx.State, pixels: Array) -> dict[str, Float[Array, "n c"]]:
        network = nnx.merge(graphdef, state, copy=True)
        activations = network.activations(preprocessing.normalise(pixels.astype(jnp.float32) / 255), names)
        return {name.replace("relu", "conv"): jnp.mean(x, axis=(1, 2)) for name, x in activations.items()}

    sums: dict[str, np.ndarray] = {}
    with tqdm(total=len(paths), unit="image", file=sys.stderr) as progress:
        for batch in Loader(paths, preprocessing, BATCH):
            valid = len(batch.indices)
            for name, means in batch_means(state, jnp.asarray(batch.images)).items():
                sums[name] = sums.get(name, 0) + np.asarray(means[:valid], np.float64).sum(axis=0)
            progress.update(valid)
    return {name: total / len(paths) for name, total in sums.items()}


def rescale(model: VGG, means: Mapping[str, Float[np.ndarray, " c"]]) -> int:
    """Divide each convolution's channels by their `means` and make up for it in the next one; in place.

    Returns the number of channels whose mean is 0, which stay as they are.
    """
    before, dead = np.ones(3), 0
    for name in [name for name in model.names if name in means]:
        convolution = getattr(model, name)
        scale = np.where(means[name] > 0, means[name], 1)
        kernel = np.asarray(convolution.kernel.get_value(), np.float64) * before[:, None] / scale
        bias = np.asarray(convolution.bias.get_value(), np.float64) / scale
        convolution.kernel.set_value(jnp.asarray(kernel, jnp.float32))
        convolution.bias.set_value(jnp.asarray(bias, jnp.float32))
        before = scale
        dead += int(np.sum(means[name] == 0))
    return dead
