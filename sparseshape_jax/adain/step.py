"""One step of training a decoder, as a pure function of its state.

The encoder's weights are constants of the programs. The decoder takes features divided by the layer's scale while it is
trained; `decoder` returns it for features as they are.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Int

from sparseshape_jax.adain.losses import Statistics, content_loss, style_loss
from sparseshape_jax.models.adain import Decoder
from sparseshape_jax.parallel import mean_over_devices
from sparseshape_jax.stylize.adain import LoadedEncoder
from sparseshape_jax.stylize.statistics import Features, channel_statistics, with_statistics

Encoded = Mapping[str, Array]
"""What the encoder makes of crops: `features`, of a content; `relu1_1 mean`, `relu1_1 deviation`, …, of a style."""


class DecoderState(NamedTuple):
    """Everything that training carries from one step to the next."""

    step: Int[Array, ""]
    params: Any
    optimizer: optax.OptState


class TermWeights(NamedTuple):
    """Of the terms of the loss."""

    content: float
    style: float
    pixels: float


class DecoderStep:
    """The functions that train one decoder, to be compiled with `parallel.data_parallel`.

    Args:
        loaded: the encoder.
        decoder: with its first weights.
        style_layers: where styles are compared.
        scales: of each of these layers, and of the one that is decoded.
        weights: of the loss.
        optimizers: from gradients to updates; of auto-encoding, and of steps with styles.
    """

    def __init__(
        self,
        loaded: LoadedEncoder,
        decoder: Decoder,
        style_layers: tuple[str, ...],
        scales: Mapping[str, float],
        weights: TermWeights,
        optimizers: tuple[optax.GradientTransformation, optax.GradientTransformation],
    ) -> None:
        self.loaded, self.layer, self.style_layers = loaded, loaded.encoder.names[-1], style_layers
        self.scales, self.weights, self.optimizers = dict(scales), weights, optimizers
        self._graphdef, self._first = nnx.split(decoder)

    def start(self) -> DecoderState:
        """The state before the first step."""
        return DecoderState(jnp.zeros((), jnp.int32), self._first, self.optimizers[0].init(self._first))

    def begin_styles(self, state: DecoderState) -> DecoderState:
        """The state before the first step with styles, with an optimizer that has seen nothing.

        Gradients are then hundreds of times as large. Adam's averages of the small ones would let the first steps be
        so large that units die, and colors with them.
        """
        return state._replace(optimizer=self.optimizers[1].init(state.params))

    def decoder(self, params: Any) -> Decoder:
        """The decoder with these weights, for features as they are: the first kernel is divided by the scale."""
        decoder = nnx.merge(self._graphdef, params, copy=True)
        kernel = decoder.first.kernel
        kernel.set_value(kernel.get_value() / self.scales[self.layer])
        return decoder

    def decode(self, params: Any, features: Features) -> Float[Array, "n h w 3"]:
        """Images, of features as they are."""
        return nnx.merge(self._graphdef, params, copy=True)(features / self.scales[self.layer])

    def train(self, *, styles: bool, pixels: bool) -> Callable[..., tuple[DecoderState, dict[str, Array]]]:
        """The function `(state, batch, None) -> (state, metrics)`.

        The batch holds crops as `content` and `style`, each a dict of `pixels` (bytes) and of what is kept of them.

        Args:
            styles: with the content and the style loss.
            pixels: with the auto-encoding loss.

        Metrics are those of the whole batch before the step: `loss` and the terms, and `change`, the global norm of the
        parameters' change, which is finite only if the step was sound.
        """

        def loss_of(params: Any, batch: Any) -> tuple[Array, dict[str, Array]]:
            features = encode_content(self.loaded, batch["content"])
            loss, terms = jnp.zeros(()), {}
            if styles:
                targets = encode_style(self.loaded, self.style_layers, batch["style"])
                target = with_statistics(features, *targets[self.layer])
                found = activations(self.loaded, self.decode(params, target), self.style_layers)
                terms["content"] = content_loss(found[self.layer], target, self.scales[self.layer])
                terms["style"] = style_loss(found, targets, self.scales)
                terms["pixels"] = jnp.zeros(())  # the loop adds up the same terms at every step
                loss += self.weights.content * terms["content"] + self.weights.style * terms["style"]
            if pixels:
                images = from_bytes(batch["content"]["pixels"])
                terms["pixels"] = jnp.mean(jnp.square(self.decode(params, features) - images))
                loss += (self.weights.pixels if styles else 1) * terms["pixels"]
            return loss, {"loss": loss, **terms}

        def step(state: DecoderState, batch: Any, _: Any) -> tuple[DecoderState, dict[str, Array]]:
            gradient, metrics = jax.grad(loss_of, has_aux=True)(state.params, batch)
            gradient, metrics = mean_over_devices((gradient, metrics))
            with jax.numpy_dtype_promotion("standard"):  # optax raises a float to the power of an integer
                updates, optimizer = self.optimizers[styles].update(gradient, state.optimizer, state.params)
            params = optax.apply_updates(state.params, updates)
            return DecoderState(state.step + 1, params, optimizer), metrics | {"change": optax.tree.norm(updates)}

        return step


def from_bytes(pixels: Array) -> Float[Array, "n h w 3"]:
    """RGB in [0, 1]."""
    return pixels.astype(jnp.float32) / 255


def activations(loaded: LoadedEncoder, images: Float[Array, "n h w 3"], layers: tuple[str, ...]) -> dict[str, Features]:
    """Activations of RGB images in [0, 1]."""
    x = images if loaded.preprocessing is None else loaded.preprocessing.normalize(images)
    return loaded.encoder.activations(x, layers)


def encode_content(loaded: LoadedEncoder, crops: Encoded) -> Features:
    """The features that are decoded, unless they are kept."""
    layer = loaded.encoder.names[-1]
    if "features" in crops:
        return crops["features"]
    return activations(loaded, from_bytes(crops["pixels"]), (layer,))[layer]


def encode_style(loaded: LoadedEncoder, layers: tuple[str, ...], crops: Encoded) -> dict[str, Statistics]:
    """Means and deviations by layer, unless they are kept."""
    if f"{layers[0]} mean" in crops:
        return {layer: (crops[f"{layer} mean"], crops[f"{layer} deviation"]) for layer in layers}
    found = activations(loaded, from_bytes(crops["pixels"]), layers)
    return {layer: channel_statistics(found[layer]) for layer in layers}
