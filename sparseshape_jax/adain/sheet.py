"""The fixed pictures that a decoder restyles after every epoch, and its losses on them."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from sparseshape_jax import parallel
from sparseshape_jax.adain.config import TrainAdaINConfig
from sparseshape_jax.adain.images import Joined, open_source
from sparseshape_jax.adain.losses import content_loss, style_loss
from sparseshape_jax.adain.step import DecoderStep, activations, from_bytes
from sparseshape_jax.data.decoding import prepare
from sparseshape_jax.preprocessing import Preprocessing
from sparseshape_jax.stylize.statistics import channel_statistics, with_statistics

ALPHAS = (0.5, 1.0)
GAP = 4
"""Pixels between pictures."""


class Sheet:
    """Photographs, styles, and what a decoder makes of them.

    Raises:
        InputError: missing or empty sources, or a picture that cannot be decoded.
    """

    def __init__(self, config: TrainAdaINConfig, stepper: DecoderStep) -> None:
        self.stepper = stepper
        settings = config.sheet
        contents = (settings.content,) if settings.content else config.content
        styles = (settings.style,) if settings.style else config.style
        self.contents = _pictures(contents, settings.contents, settings.size)
        self.styles = _pictures(styles, settings.styles, settings.size)
        self._restyle = parallel.map_batch(self._pair, shared=(0,))

    def restyle(self, params: Any) -> tuple[dict[str, Float[np.ndarray, "c s ..."]], dict[str, float]]:
        """What the decoder with these weights makes of every pair.

        Returns images (contents, styles, H, W, 3) by name, `alpha 0.0`, …; and the mean losses: `content` and `style`
        at α 1, and `pixels`, of the photographs auto-encoded.
        """
        pairs = [(content, style) for content in self.contents for style in self.styles]
        found = [self._restyle(params, content[None], style[None]) for content, style in pairs]
        stacked = {name: np.stack([np.asarray(each[name][0]) for each in found]) for name in found[0]}
        shape = (len(self.contents), len(self.styles))
        images = {
            name: array.reshape(*shape, *array.shape[1:]) for name, array in stacked.items() if name.startswith("alpha")
        }
        losses = {name: float(array.mean()) for name, array in stacked.items() if not name.startswith("alpha")}
        return images, losses

    def _pair(self, params: Any, content: Any, style: Any) -> dict[str, Any]:
        stepper = self.stepper
        layer, layers = stepper.layer, stepper.style_layers
        features = activations(stepper.loaded, from_bytes(content), (layer,))[layer]
        targets = {
            name: channel_statistics(x) for name, x in activations(stepper.loaded, from_bytes(style), layers).items()
        }
        _, height, width, _ = content.shape
        result = {}
        for alpha in (0.0, *ALPHAS):
            target = with_statistics(features, *targets[layer], alpha)
            image = stepper.decode(params, target)
            result[f"alpha {alpha}"] = image[:, :height, :width]
            if alpha == 0:
                result["pixels"] = jnp.square(result["alpha 0.0"] - from_bytes(content)).mean(axis=(1, 2, 3))
            if alpha == 1:
                found = activations(stepper.loaded, image, layers)
                result["content"] = content_loss(found[layer], target, stepper.scales[layer])[None]
                result["style"] = style_loss(found, targets, stepper.scales)[None]
        return result

    def draw(self, images: dict[str, Float[np.ndarray, "c s h w 3"]]) -> Float[np.ndarray, "H W 3"]:
        """One picture: styles across the top; for each photograph a row at α 0.5 and one at α 1, with α 0 at its right.

        Columns: the photograph, α 0, then one for each style.
        """
        blank = np.ones((*self.contents.shape[1:3], 3))
        rows: list[Sequence[np.ndarray]] = [(blank, blank, *(self.styles / 255))]
        for index, content in enumerate(self.contents / 255):
            for alpha in ALPHAS:
                left = (content, images["alpha 0.0"][index, 0]) if alpha == ALPHAS[0] else (blank, blank)
                rows.append((*left, *images[f"alpha {alpha}"][index]))
        pad = ((0, GAP), (0, GAP), (0, 0))
        return np.concatenate(
            [
                np.concatenate([np.pad(np.clip(cell, 0, 1), pad, constant_values=1) for cell in row], axis=1)
                for row in rows
            ]
        )


def _pictures(sources: tuple[str, ...], count: int, size: int) -> UInt8[np.ndarray, "n size size 3"]:
    """Pictures spread over the sources, cut to squares."""
    images = Joined([open_source(source) for source in sources])
    chosen = [len(images) * index // min(count, len(images)) for index in range(min(count, len(images)))]
    square = Preprocessing(resize=size, crop=size)
    return np.stack([prepare(images.image(index), square) for index in chosen])
