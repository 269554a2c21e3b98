"""The set `shuffled`: images with their local colors exchanged.

In every block of the given side (the condition, in pixels) the three color channels are permuted at random. Color
textures, and the colors that objects are known by, are lost; the lines and contours that differ in brightness mostly
stay. Every pixel keeps its three values, so an image keeps the statistics of all its channels taken together.

This is ours, a test of texture reliance that needs no other images and no network; the paper uses images restyled as
paintings. What it does not do: it gives no image the texture of another one, it leaves gray images and the structure of
textures within a block as they are, it keeps one block in six by chance, and it draws a grid where blocks meet, since
channels differ in brightness.
"""

import re

import numpy as np
from jaxtyping import UInt8

from sparseshape_jax.errors import InputError
from sparseshape_jax.stimuli.stimulus_set import StimulusSet


class Shuffled(StimulusSet):
    """Images with their local colors exchanged; a condition is the side of the blocks in pixels."""

    conditions = ("4",)

    def check(self, condition: str) -> None:
        if not re.fullmatch(r"[1-9][0-9]*", condition):
            raise InputError(f"the set shuffled has no condition {condition!r}; give the side of its blocks in pixels")

    def make(
        self, image: UInt8[np.ndarray, "h w 3"], condition: str, rng: np.random.Generator
    ) -> UInt8[np.ndarray, "h w 3"]:
        return shuffle_channels(image, int(condition), rng)


def shuffle_channels(
    image: UInt8[np.ndarray, "h w 3"], side: int, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """Permute the channels of every side×side block, independently; blocks at the right and lower edge may be cut."""
    height, width, channels = image.shape
    blocks = np.broadcast_to(np.arange(channels), (-(-height // side), -(-width // side), channels))
    order = rng.permuted(blocks, axis=-1).repeat(side, axis=0).repeat(side, axis=1)
    return np.take_along_axis(image, order[:height, :width], axis=-1)
