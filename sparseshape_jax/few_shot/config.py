"""Settings of `train.py few-shot` and `synthesize.py sample`. Imports no JAX, NumPy or PIL.

The defaults are those of the code of Li et al. (2023), section 4.4, which is FastGAN (Liu et al., 2021) with Top-K in
the generator: 256 px, batch 8, Adam 2e-4, 100,000 iterations, Top-K 5 % on the 32×32 maps.
"""

import math
import os
from dataclasses import dataclass, field
from typing import Literal

from sparseshape_jax.checks import check_ranges
from sparseshape_jax.errors import InputError
from sparseshape_jax.few_shot.options import AugmentPolicy, check_policy
from sparseshape_jax.fid.config import FidConfig
from sparseshape_jax.top_k.spec import TopK, read_spelling
from sparseshape_jax.training.config import DistributedConfig


@dataclass(frozen=True)
class PicturesConfig:
    """Where the pictures are, and how the networks see them.

    Raises:
        InputError: a number out of range.
    """

    path: str = "jeep"
    """A folder of pictures, at any depth, or tfds:NAME/split."""
    size: int = 256
    """Side in pixels that pictures are squashed to, and that are generated: 64, 128, 256, 512 or 1024."""
    flip: bool = True
    """Mirror every other picture, at random."""
    threads: int = os.cpu_count() or 1
    """Number of threads that decode. The batches do not depend on it."""
    skip_bad: bool = False
    """Leave out pictures that cannot be decoded, and list them at the end, instead of stopping."""

    def __post_init__(self) -> None:
        check_ranges("data.", self, threads=(0, 1024))


@dataclass(frozen=True)
class NetworksConfig:
    """The widths and options of both networks.

    Raises:
        InputError: a number out of range.
    """

    nz: int = 256
    """Numbers in a latent."""
    ngf: int = 64
    """Width of the generator."""
    ndf: int = 64
    """Width of the discriminator."""
    decoder_width: int = 32
    """Width of the discriminator's three decoders; the authors' are 32 whatever ndf is."""
    noise: Literal["none", "learned"] = "none"
    """Noise added to the generator's maps, with a learned weight: FastGAN has it, the authors' code switches it off."""
    excitation: Literal["linear", "sigmoid"] = "linear"
    """The last step of skip-layer excitations: FastGAN's sigmoid, or none, as in the authors' code."""

    def __post_init__(self) -> None:
        check_ranges("networks.", self, **dict.fromkeys(("nz", "ngf", "ndf", "decoder_width"), (1, 4096)))


@dataclass(frozen=True)
class EvaluationConfig:
    """How the average generator is measured during training, and what follows from it.

    Raises:
        InputError: a number out of range, or settings that exclude each other.
    """

    every: int = 1000
    """Iterations between two evaluations. After each, pictures are drawn and everything is saved."""
    samples: int = 1000
    """Pictures that are generated and compared with all real ones."""
    patience: int = 10
    """After as many evaluations in a row without a new best, training goes back to the best; 0: never."""
    noise: float = 1e-4
    """Then every parameter of the generator moves by uniform noise in ±noise; the average stays."""
    features: Literal["auto", "inception", "vgg16"] = "auto"
    """inception gives FID and KID; vgg16 a substitute that needs no download and is no FID. auto: inception if its
    weights are here."""
    inception: str | None = None
    """File of FID's Inception weights. Default: the one in the cache."""
    protocol: Literal["clean", "tf", "pytorch-fid", "paper"] = "clean"
    """How pictures are prepared (evaluate.py fid); paper also samples as the authors do, with the statistics of each
    batch of eight, three times, and takes the smallest distance."""
    standing_batches: int = 64
    """Batches that the statistics of the generator are averaged over before it is measured or written."""

    def __post_init__(self) -> None:
        check_ranges("evaluation.", self, every=(1, 10**9), samples=(2, 10**6), patience=(0, 10**6))
        check_ranges("evaluation.", self, noise=(0, math.inf), standing_batches=(1, 10**5))
        if self.features == "vgg16" and self.inception is not None:
            raise InputError("evaluation.inception is a file for features inception; leave one of the two out")
        if self.features != "inception" and self.protocol not in ("clean", "paper"):
            raise InputError(
                f"evaluation.protocol {self.protocol} says how Inception's input is resized; choose clean or paper, or"
                " --evaluation.features inception"
            )


@dataclass(frozen=True)
class TrainFewShotConfig:
    """Train a FastGAN with Top-K inside on a few pictures. An interrupted run resumes: repeat the same command.

    Raises:
        InputError: a number out of range, or an unknown augmentation.
    """

    data: PicturesConfig = field(default_factory=PicturesConfig)
    """Pictures."""
    networks: NetworksConfig = field(default_factory=NetworksConfig)
    """Generator and discriminator."""
    topk: TopK = field(default_factory=lambda: TopK(0.05, after=("feat_32",)))
    """The Top-K inside the generator: its fraction, which activations it follows (feat_4 to feat_256, …).
    --topk.fraction 1 trains a dense one."""
    sparsity: str | None = None
    """The paper's spelling of topk.after and topk.fraction, in their place: 32_5 is 5 % after feat_32, 16-32_10-5 two
    places."""
    iterations: int = 100_000
    """Iterations that are run in all, those before a return to the best included."""
    batch_size: int = 8
    """Real pictures, and generated ones, per iteration, over all devices and processes."""
    learning_rate: float = 2e-4
    """Of Adam (0.5, 0.999), for both networks."""
    augment: tuple[AugmentPolicy, ...] = ("color", "translation")
    """Differentiable augmentation of all that the discriminator sees: color, translation, cutout; [] for none."""
    reconstruction_weight: float | None = None
    """Weight of the mean LPIPS over pictures of each of the three reconstructions. Default: batch_size, which is the
    sum over the batch, as in the authors' code."""
    average: float = 0.999
    """Decay per iteration of the moving average of the generator's parameters, which is measured and written."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """Measuring, and going back."""
    pictures: int = 25
    """Fixed latents whose pictures are drawn at each evaluation."""
    seed: int = 0
    """Seed of the first weights, the order of pictures, and everything that is drawn."""
    log_every: int = 100
    """Iterations whose mean losses make one row of metrics.jsonl; evaluation.every is a multiple of it."""
    checkpoint_every: int = 0
    """Also save the state every this many iterations, not only after each evaluation."""
    tensorboard: bool = False
    """Write TensorBoard event files too (pip install "sparseshape-jax[tensorboard]")."""
    distributed: DistributedConfig = field(default_factory=DistributedConfig)
    """Several processes."""
    dry_run: bool = False
    """Print what would be trained, draw the first batch, and stop."""
    out: str = "results/few-shot"
    """Folder for weights, samples, reconstructions, checkpoints, metrics.jsonl, config.yaml, results.json, figures."""

    def __post_init__(self) -> None:
        check_ranges("", self, iterations=(1, 10**9), learning_rate=(0, math.inf), average=(0, 1))
        check_ranges("", self, reconstruction_weight=(0, math.inf), pictures=(1, 1024), seed=(0, 2**32 - 1))
        check_ranges("", self, log_every=(1, 10**9), checkpoint_every=(0, 10**9))
        if self.batch_size < 2:
            raise InputError(f"batch_size is {self.batch_size}; batch statistics need at least 2 pictures")
        _check_multiple("iterations", self.iterations, "evaluation.every", self.evaluation.every)
        _check_multiple("evaluation.every", self.evaluation.every, "log_every", self.log_every)
        check_policy(self.augment)
        if self.sparsity is not None:
            read_spelling(self.sparsity)


MAY_CHANGE = ("out", "dry_run", "distributed", "tensorboard", "checkpoint_every", "data.threads", "iterations")
"""Settings that may change when a run resumes: they do not affect what is learned, or only for how long."""


@dataclass(frozen=True)
class GeneratorFidConfig(FidConfig):
    """Measure how far sets of images are from real ones: FID and KID, with everything that decides them.

    A set may be a generator: the folder of a run of train.py few-shot, its .safetensors, or a .pth of the code of Li et
    al. or of FastGAN.
    """

    sparsity: str | None = None
    """Top-K of generators in the paper's spelling, such as 32_5. Default: what they were trained with; of a .pth, what
    the args.txt beside it says."""
    excitation: Literal["linear", "sigmoid"] = "linear"
    """Of a .pth: sigmoid for files of the original FastGAN, which do not say so themselves."""
    noise: Literal["none", "learned"] = "none"
    """Of a .pth: learned for files of the original FastGAN; the code of Li et al. adds none."""
    standing_batches: int = 64
    """Of a .pth: batches that standing statistics are averaged over. Protocol paper takes none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges("", self, standing_batches=(1, 10**5))
        if self.sparsity is not None:
            read_spelling(self.sparsity)


@dataclass(frozen=True)
class SampleConfig:
    """Make pictures with a trained generator. A picture depends on the weights, the seed and its number only.

    Raises:
        InputError: a number out of range, or settings that exclude each other.
    """

    weights: str = field(kw_only=True)
    """The folder of a run (its best.safetensors), a file of one, or a .pth of the authors' code or of FastGAN."""
    count: int = 64
    """How many pictures."""
    seed: int = 0
    """Of the latents."""
    statistics: Literal["standing", "batch"] = "standing"
    """standing: those in the file, so that a picture is a function of its latent. batch: those of each batch of
    eight, as the authors sample."""
    truncation: float = 1.0
    """Latents are multiplied by it; less than 1 gives pictures that are more alike."""
    interpolate: int = 0
    """Instead of separate pictures: a walk through as many latents, and back to the first, as a strip and a GIF."""
    frames: int = 30
    """Pictures from one latent to the next."""
    nearest: str | None = None
    """A folder of pictures: beside each sample, the nearest of them by VGG16's features and how far away it is."""
    select: float | None = None
    """Keep this fraction of the samples: those nearest to a picture of `nearest`, as the authors choose theirs. They
    are marked as a selection."""
    sparsity: str | None = None
    """Top-K in the paper's spelling, such as 32_5. Default: what the weights were trained with; of a .pth, what the
    args.txt beside it says."""
    excitation: Literal["linear", "sigmoid"] = "linear"
    """Of a .pth: sigmoid for files of the original FastGAN, which do not say so themselves."""
    noise: Literal["none", "learned"] = "none"
    """Of a .pth: learned for files of the original FastGAN; the code of Li et al. adds none."""
    standing_batches: int = 64
    """Of a .pth: batches that standing statistics are averaged over. A run's file has them."""
    batch_size: int = 8
    """Pictures at a time; they do not depend on it."""
    out: str = "results/sample"
    """Folder for images/, grid.png, samples.json, results.json and figures."""

    def __post_init__(self) -> None:
        check_ranges("", self, count=(1, 10**7), seed=(0, 2**32 - 1), truncation=(0, 10), frames=(1, 10**4))
        check_ranges("", self, interpolate=(0, 10**4), batch_size=(1, 4096), standing_batches=(1, 10**5))
        if self.interpolate == 1:
            raise InputError("interpolate is 1; a walk needs at least 2 latents")
        if self.select is not None and not 0 < self.select <= 1:
            raise InputError(f"select is {self.select}; it must be in (0, 1], for example 0.1 for the nearest tenth")
        if self.select is not None and self.nearest is None:
            raise InputError("select chooses by the distance to real pictures; give them with --nearest DIR")
        if self.interpolate and self.nearest is not None:
            raise InputError("interpolate and nearest exclude each other; run the command twice")
        if self.interpolate and self.statistics == "batch":
            raise InputError("interpolate needs statistics standing, with which a picture is a function of its latent")
        if self.sparsity is not None:
            read_spelling(self.sparsity)


def _check_multiple(name: str, value: int, of: str, unit: int) -> None:
    if value % unit:
        raise InputError(f"{name} is {value}; it must be a multiple of {of}, {unit}")
