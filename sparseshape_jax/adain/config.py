"""Settings of `train.py adain`. Imports no JAX.

The defaults start the decoder as an auto-encoder and divide features by one scale for each layer, so that minutes are
enough on a CPU. The recipe of Huang & Belongie (2017) is in configs/adain/reference.yaml.
"""

import math
import os
from dataclasses import dataclass, field
from typing import Literal

from sparseshape_jax.checks import check_ranges
from sparseshape_jax.data.config import AugmentConfig
from sparseshape_jax.errors import InputError
from sparseshape_jax.training.config import OptimizerConfig, ScheduleConfig


@dataclass(frozen=True)
class CropsConfig:
    """How crops are made from the pictures.

    Raises:
        InputError: a number out of range.
    """

    size: int = 64
    """Side in pixels."""
    contents: int = 512
    """How many content crops are drawn in all; 0 draws new ones for every step."""
    styles: int = 512
    """How many style crops are drawn in all; 0 draws new ones for every step."""
    augment: AugmentConfig = field(default_factory=lambda: AugmentConfig(scale=(0.2, 1.0)))
    """Which parts of the pictures they are."""
    color_variation: float = 0.0
    """From 0 to 1: how far hues, saturation and tint are changed at random, so that few pictures show many colors."""
    cache_mb: int = 1024
    """Keep the features of content crops, and the statistics of style crops, if they fit into as many megabytes; else
    each step computes its own."""
    threads: int = os.cpu_count() or 1
    """Number of threads that decode. The crops do not depend on it."""

    def __post_init__(self) -> None:
        check_ranges("crops.", self, size=(16, 1024), contents=(0, 10**6), styles=(0, 10**6), color_variation=(0, 1))
        check_ranges("crops.", self, cache_mb=(0, 10**6), threads=(0, 1024))


@dataclass(frozen=True)
class SheetConfig:
    """The pictures that are restyled after every epoch, always the same, to look at.

    Raises:
        InputError: a number out of range.
    """

    content: str | None = None
    """A folder, or another source as for content; by default what is trained on."""
    style: str | None = None
    """As content, for styles."""
    contents: int = 4
    """How many photographs, spread over the source."""
    styles: int = 5
    """How many styles, spread over the source."""
    size: int = 128
    """Side of the pictures in pixels."""

    def __post_init__(self) -> None:
        check_ranges("sheet.", self, contents=(1, 32), styles=(1, 32), size=(32, 1024))


@dataclass(frozen=True)
class TrainAdaINConfig:
    """Train the decoder of adaptive instance normalization. An interrupted run resumes: repeat the same command.

    First the decoder learns to give back a picture from its features (pixel_steps), then to do so from features with
    the statistics of a style (steps).

    Raises:
        InputError: a number out of range, steps that are not whole epochs, or an export that the layout cannot hold.
    """

    content: tuple[str, ...] = ("photos",)
    """Pictures to restyle: folders, tfds:NAME/split, scikit-image (the photographs in the public domain that come with
    it) or procedural (computed textures; procedural:96 takes 96). Several get equal shares."""
    style: tuple[str, ...] = ("procedural",)
    """Pictures to take styles from; as content."""
    encoder: str = "vgg16_lpips"
    """A VGG without batch normalization: a name of the catalog, a file of weights, or pytorch-AdaIN's
    vgg_normalised.pth."""
    layer: str = "relu3_1"
    """The activation whose statistics are exchanged and which is decoded. relu4_1, which pytorch-AdaIN uses, needs far
    longer training. Styles are compared at the first ReLU of each block up to there."""
    width: float = 0.5
    """Features of the decoder, relative to the encoder's."""
    pixel_steps: int = 500
    """Steps of training as an auto-encoder: mean squared difference of pixels."""
    steps: int = 1200
    """Steps with styles after that."""
    epoch: int = 100
    """Steps to an epoch; after each one the sheet is drawn and the state saved."""
    batch_size: int = 4
    """Content crops, and style crops, per step, over all devices."""
    content_weight: float = 1.0
    """Weight of the content loss."""
    style_weight: float = 3.0
    """Weight of the style loss."""
    pixel_weight: float = 10.0
    """Weight of the auto-encoding term in steps with styles."""
    pixels_every: int = 4
    """Which of these steps have that term: every fourth; 0 for none."""
    normalize: bool = True
    """Divide the features of each layer by their root mean square over content crops, so that layers share the work."""
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(name="adamw", learning_rate=1e-3, weight_decay=0)
    )
    """adamw without weight decay is Adam."""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    """How the learning rate changes; its epochs are these."""
    warmup: int = 100
    """Steps at the start of each of the two parts in which the learning rate rises linearly. Without, the first steps
    leave most of the decoder's units at 0 for good, and few colors with the others."""
    crops: CropsConfig = field(default_factory=CropsConfig)
    """The crops to train on."""
    sheet: SheetConfig = field(default_factory=SheetConfig)
    """The pictures to look at."""
    seed: int = 0
    """Seed of the first weights, the crops and their order."""
    checkpoint_every: int = 0
    """Also save the state every this many steps, not only after each epoch."""
    tensorboard: bool = False
    """Write TensorBoard event files too (pip install "sparseshape-jax[tensorboard]")."""
    precision: Literal["float32", "float16"] = "float32"
    """Of the weights in decoder.safetensors; training uses float32."""
    export: str | None = None
    """Also write the decoder to this file, in pytorch-AdaIN's layout; for layer relu4_1 of a VGG19 and width 1."""
    out: str = "results/adain"
    """Folder for decoder.safetensors, sheets, checkpoints, metrics.jsonl, config.yaml, results.json and figures."""

    def __post_init__(self) -> None:
        check_ranges("", self, width=(1 / 64, 4), pixel_steps=(0, 10**7), steps=(0, 10**7), epoch=(1, 10**6))
        check_ranges("", self, warmup=(0, 10**6))
        check_ranges("", self, batch_size=(1, 4096), pixels_every=(0, 10**6), checkpoint_every=(0, 10**9))
        check_ranges("", self, content_weight=(0, math.inf), style_weight=(0, math.inf), pixel_weight=(0, math.inf))
        check_ranges("", self, seed=(0, 2**32 - 1))
        if not self.content or not self.style:
            raise InputError("content and style each need a folder; give --content DIR --style DIR")
        for name in ("pixel_steps", "steps"):
            if getattr(self, name) % self.epoch:
                raise InputError(f"{name} is {getattr(self, name)}; it must be a multiple of epoch, {self.epoch}")
        if not self.pixel_steps + self.steps:
            raise InputError("pixel_steps and steps are both 0; give at least one epoch of either")
        if self.export is not None and (self.layer, self.width) != ("relu4_1", 1):
            raise InputError(
                f"export writes pytorch-AdaIN's decoder, which mirrors relu4_1 at width 1, not {self.layer} at width"
                f" {self.width:g}; give --layer relu4_1 --width 1, or leave out --export"
            )

    @property
    def epochs(self) -> int:
        """How many epochs there are."""
        return (self.pixel_steps + self.steps) // self.epoch


MAY_CHANGE = ("out", "tensorboard", "checkpoint_every", "export", "crops.threads")
"""Settings that do not affect what is learned, so that they may change when a run resumes."""
