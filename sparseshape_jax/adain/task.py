"""Training a decoder as a task of `training.task`: networks, crops, compiled steps, the sheet after each epoch."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from tqdm import tqdm

from sparseshape_jax import output, parallel
from sparseshape_jax.adain.config import TrainAdaINConfig
from sparseshape_jax.adain.crops import Crops, Kept
from sparseshape_jax.adain.sheet import Sheet
from sparseshape_jax.adain.step import DecoderState, DecoderStep, TermWeights, activations, encode_style, from_bytes
from sparseshape_jax.errors import InputError
from sparseshape_jax.models.adain import Decoder
from sparseshape_jax.stylize.adain import load_encoder
from sparseshape_jax.stylize.decoder_files import DECODER, write_decoder, write_torch_decoder
from sparseshape_jax.training.log import Row
from sparseshape_jax.training.optimizers import build_optimizer
from sparseshape_jax.training.schedules import learning_rate
from sparseshape_jax.training.task import Epoch, Metrics, Report

CHUNK = 32
"""Crops that are encoded at a time before training."""


class AdaINTask:
    """What one run trains, from its settings.

    Raises:
        InputError: bad settings, pictures or weights. Nothing is written then.
    """

    def __init__(self, config: TrainAdaINConfig) -> None:
        self.config = config
        devices, part = parallel.device_count(), parallel.this_process()
        if config.batch_size % devices:
            raise InputError(
                f"batch_size is {config.batch_size}, which does not divide over {devices} devices;"
                f" give a multiple of {devices}"
            )
        self.loaded = load_encoder(config.encoder, config.layer)
        if config.export is not None and self.loaded.encoder.depth != 19:
            raise InputError(
                f"export writes pytorch-AdaIN's decoder, which mirrors a VGG19, not {config.encoder}; give"
                " --encoder vgg_normalised.pth, or leave out --export"
            )
        crops, seed = config.crops, config.seed
        self.contents = Crops(config.content, crops, crops.contents, config.batch_size, seed, part)
        self.styles = Crops(config.style, crops, crops.styles, config.batch_size, (seed + 2**31) % 2**32, part)
        encoder = self.loaded.encoder
        self.style_layers = tuple(name for name in encoder.names if name.startswith("relu") and name.endswith("_1"))
        if encoder.names[-1] not in self.style_layers:
            self.style_layers += (encoder.names[-1],)
        self._encode_content = parallel.map_batch(
            lambda pixels: activations(self.loaded, from_bytes(pixels), self.style_layers)
        )
        self._encode_style = parallel.map_batch(self._statistics)
        content_pixels = self.contents.draw("content crops") if crops.contents else next(self.contents.new(0))
        self.scales = self._measured(content_pixels) if config.normalize else dict.fromkeys(self.style_layers, 1.0)
        self.kept_contents = self._keep_contents(content_pixels) if crops.contents else None
        self.kept_styles = self._keep_styles(self.styles.draw("style crops")) if crops.styles else None
        schedule = learning_rate(config.schedule, config.optimizer.learning_rate, config.epochs, config.epoch)

        def rate(first: int) -> optax.Schedule:
            """The learning rate of the part that begins at step `first`, by its own steps."""

            def after(step: Any) -> Any:
                rise = jnp.asarray(step + 1, jnp.float32) / max(config.warmup, 1)
                return jnp.minimum(rise, 1.0) * schedule(step + first)

            return after

        self.rates = rate(0), rate(config.pixel_steps)
        decoder = nnx.jit(lambda: Decoder(encoder.depth, config.layer, config.width, rngs=nnx.Rngs(config.seed)))()
        self.stepper = DecoderStep(
            self.loaded,
            decoder,
            self.style_layers,
            self.scales,
            TermWeights(config.content_weight, config.style_weight, config.pixel_weight),
            (build_optimizer(config.optimizer, self.rates[0]), build_optimizer(config.optimizer, self.rates[1])),
        )
        self.sheet = Sheet(config, self.stepper)
        self._steps: dict[tuple[bool, bool], Any] = {}

    def start(self) -> DecoderState:
        """The state before the first step."""
        return self.stepper.start()

    def batches(self, step: int) -> Iterator[Any]:
        """This process's part of each batch: crops as `content` and `style`."""
        contents = self._batches(self.contents, self.kept_contents, step)
        styles = self._batches(self.styles, self.kept_styles, step)
        for content, style in zip(contents, styles, strict=True):
            yield {"content": content, "style": style}

    def _batches(self, crops: Crops, kept: Kept | None, step: int) -> Iterator[dict[str, np.ndarray]]:
        if kept is None:
            yield from ({"pixels": pixels} for pixels in crops.new(step))
            return
        while True:
            yield kept.batch(crops.chosen(step))
            step += 1

    def step(self, state: DecoderState, batch: Any, step: int) -> tuple[DecoderState, Metrics]:
        """One step; as an auto-encoder, with styles, and with both, it is one compiled program each."""
        config = self.config
        styled = step - config.pixel_steps
        if styled == 0:
            state = parallel.replicate(self.stepper.begin_styles(parallel.unreplicate(state)))
        kind = (styled >= 0, styled < 0 or (config.pixels_every > 0 and styled % config.pixels_every == 0))
        if kind not in self._steps:
            function = self.stepper.train(styles=kind[0], pixels=kind[1])
            self._steps[kind] = parallel.data_parallel(function, donate=True)
        return self._steps[kind](state, batch)

    def end_epoch(self, state: DecoderState, epoch: Epoch) -> Report:
        """Restyle the sheet."""
        params = parallel.unreplicate(state.params)
        images, losses = self.sheet.restyle(params)
        styled = epoch.step > self.config.pixel_steps
        common: Row = {"epoch": epoch.number, "step": epoch.step}
        shown = ("content", "style", "pixels") if styled else ("pixels",)
        # Not every step has the auto-encoding term, so the mean over all steps is smaller by as much.
        share = self.config.pixels_every if styled else 1
        means = {name: epoch.means[name] * (share if name == "pixels" else 1) for name in shown if name in epoch.means}
        train: Row = {"kind": "train", **common, "phase": "styles" if styled else "pixels", "loss": epoch.means["loss"]}
        rate = self.rates[styled](epoch.step - 1 - styled * self.config.pixel_steps)
        train |= means | {"learning_rate": float(rate), "images_per_second": epoch.rate}
        sheet: Row = {"kind": "eval", **common, "set": "sheet", **losses}
        message = ", ".join(f"{name} {value:.4f}" for name, value in means.items())

        def write(name: str) -> None:
            if name == "last":  # the best is the last, since the two phases' losses cannot be compared
                self._write(params, epoch.step, images)

        return Report(rows=[train, sheet], message=f"step {epoch.step}: {message}", score=epoch.number, write=write)

    def _write(self, params: Any, step: int, images: dict[str, np.ndarray]) -> None:
        config, out = self.config, Path(self.config.out)
        decoder = self.stepper.decoder(jax.tree.map(jnp.asarray, params))
        facts = self.loaded.facts(config.width)
        write_decoder(decoder, out / DECODER, facts, dtype=np.dtype(config.precision))
        output.write_image(out / "sheets" / f"step-{step:06d}.png", self.sheet.draw(images))
        if config.export is not None and step == config.epochs * config.epoch:
            write_torch_decoder(decoder, config.export)

    def _measured(self, pixels: np.ndarray) -> dict[str, float]:
        """The root mean square of each layer's activations, over at most 256 crops."""
        squares = dict.fromkeys(self.style_layers, 0.0)
        chosen = pixels[:256]
        for start in range(0, len(chosen), CHUNK):
            found = self._encode_content(chosen[start : start + CHUNK])
            for layer in self.style_layers:
                squares[layer] += float(np.square(np.asarray(found[layer])).mean(axis=(1, 2, 3)).sum(dtype=np.float64))
        return {layer: max((total / len(chosen)) ** 0.5, 1e-6) for layer, total in squares.items()}

    def _keep_contents(self, pixels: np.ndarray) -> Kept:
        layer = self.loaded.encoder.names[-1]

        def encode(chunk: Any) -> dict[str, Any]:
            return {"features": self._encode_content(chunk)[layer]}

        return self._kept(pixels, encode, "encoding contents")

    def _keep_styles(self, pixels: np.ndarray) -> Kept:
        return self._kept(pixels, self._encode_style, "encoding styles")

    def _kept(self, pixels: np.ndarray, encode: Any, title: str) -> Kept:
        """Crops with what the encoder makes of them, if that fits into the memory that may be used."""
        shapes = jax.eval_shape(encode, jax.ShapeDtypeStruct((1, *pixels.shape[1:]), np.uint8))
        size = sum(shape.size * shape.dtype.itemsize for shape in shapes.values()) * len(pixels)
        if size > self.config.crops.cache_mb * 1e6:
            return Kept(pixels, None)
        encoded = {name: np.empty((len(pixels), *shape.shape[1:]), shape.dtype) for name, shape in shapes.items()}
        with tqdm(total=len(pixels), unit="crop", desc=title, leave=False) as bar:
            for start in range(0, len(pixels), CHUNK):
                for name, array in encode(pixels[start : start + CHUNK]).items():
                    encoded[name][start : start + CHUNK] = array
                bar.update(len(pixels[start : start + CHUNK]))
        return Kept(pixels, encoded)

    def _statistics(self, pixels: Any) -> dict[str, Any]:
        found = encode_style(self.loaded, self.style_layers, {"pixels": pixels})
        return {
            f"{layer} {name}": array
            for layer, pair in found.items()
            for name, array in zip(("mean", "deviation"), pair, strict=True)
        }
