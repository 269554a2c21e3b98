"""How far generated pictures are from real ones, by LPIPS: does the generator only remember?"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from PIL import Image
from tqdm import tqdm

from sparseshape_jax.few_shot.lpips import LPIPS

SIDE = 128
"""Most pixels on a side of what is compared; larger pictures are made smaller by PIL's bicubic."""
FEW, MANY = 16, 64
"""Pictures of either side whose features are kept at a time."""

Bytes = UInt8[np.ndarray, "size size 3"]


def distances(pictures: Sequence[Bytes], others: Sequence[Bytes], lpips: LPIPS) -> Float[np.ndarray, "pictures others"]:
    """The LPIPS distance of every picture to every other one; all have the same size.

    Args:
        pictures: 8-bit RGB.
        others: the same.
        lpips: the distance; the features of VGG16 have unit length at each position.
    """

    def features(images: Array) -> list[Array]:
        return lpips.features(images.astype(jnp.float32) / 127.5 - 1)

    def pairs(ours: list[Array], theirs: list[Array]) -> Array:
        def to_all(other: list[Array]) -> Array:
            return lpips.compare(ours, [jnp.broadcast_to(x, y.shape) for x, y in zip(other, ours, strict=True)])

        return jax.lax.map(to_all, theirs).T

    features, pairs = jax.jit(features), jax.jit(pairs)
    one, other = ([_small(picture) for picture in each] for each in (pictures, others))
    found = np.empty((len(one), len(other)), np.float32)
    with tqdm(total=found.size, unit="pair", desc="LPIPS", leave=False) as bar:
        for right in range(0, len(other), MANY):
            theirs = features(np.stack(other[right : right + MANY]))
            for left in range(0, len(one), FEW):
                ours = features(np.stack(one[left : left + FEW]))
                found[left : left + FEW, right : right + MANY] = pairs(ours, theirs)
                bar.update(len(ours[0]) * len(theirs[0]))
    return found


def _small(picture: Bytes) -> Bytes:
    if len(picture) <= SIDE:
        return picture
    return np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
