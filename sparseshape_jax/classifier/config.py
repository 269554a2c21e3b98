"""Settings of `train.py classifier`. Imports no JAX.

The defaults are those of the code of Li et al. (2023), section 4.3: SGD, momentum 0.9, weight decay 5e-4, learning rate
0.1 on a cosine, batch 32, 50 epochs.
"""

import math
import os
from dataclasses import dataclass, field
from typing import Literal

from sparseshape_jax.checks import check_ranges
from sparseshape_jax.data.config import AugmentConfig
from sparseshape_jax.errors import InputError
from sparseshape_jax.top_k.options import check_fraction
from sparseshape_jax.top_k.spec import TopK, read_spelling
from sparseshape_jax.training.config import DistributedConfig, OptimizerConfig, ScheduleConfig


@dataclass(frozen=True)
class DataConfig:
    """Where the images are, and how the network sees them.

    Raises:
        InputError: a number out of range.
    """

    path: str = "imagenet"
    """A folder with <train>/<class>/… and <val>/<class>/… in it, or tfds:NAME (prepared as array_record)."""
    train: str = "train"
    """The training split: a folder in path, or a split of the TFDS data set."""
    val: str = "val"
    """The split that is evaluated after every epoch; it chooses the best checkpoint."""
    classes: tuple[str, ...] | None = None
    """Train on these classes only, in this order. Default: all, sorted by name."""
    image_size: int = 224
    """Side of the images that the network sees, in pixels."""
    resize: int | None = None
    """Short side, in pixels, to which images are resized before image_size is cut from them; evaluation cuts from the
    center. Default: 8/7 of image_size (256 for 224), or image_size itself with augment.crop padded."""
    mean: tuple[float, float, float] | None = None
    """Mean of the RGB values in [0, 1], subtracted from them. Default: that of the weights given with init_from, else
    ImageNet's. A mean given here applies to such weights too, even if they were trained with another."""
    std: tuple[float, float, float] | None = None
    """Standard deviation to divide by; the default is as for mean."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """How training images are varied."""
    threads: int = os.cpu_count() or 1
    """Number of threads that decode. The batches do not depend on it."""
    skip_bad: bool = False
    """Replace images that cannot be decoded by the next one, and list them at the end, instead of stopping."""

    def __post_init__(self) -> None:
        check_ranges("data.", self, image_size=(8, 4096), resize=(self.image_size, 8192), threads=(0, 1024))

    @property
    def short_side(self) -> int:
        """`resize`, or its default."""
        if self.resize is not None:
            return self.resize
        return self.image_size if self.augment.crop == "padded" else round(self.image_size * 8 / 7)


@dataclass(frozen=True)
class SparsityConfig:
    """When and how strongly Top-K acts; topk says where and how.

    Raises:
        InputError: a number out of range, a placement that cannot be read, or a schedule over no epochs.
    """

    placement: str | None = None
    """The paper's spelling, in place of topk.after and topk.fraction: 2_20 is 20 % after layer2, 2-3_20-10 two
    places."""
    schedule: Literal["constant", "anneal", "from_epoch"] = "constant"
    """constant: the same fraction all the time; anneal: linearly from dense to the fraction over the first epochs;
    from_epoch: dense during the first epochs, at the fraction afterwards."""
    epochs: float = 0.0
    """How many epochs that takes."""
    eval_fraction: float | None = None
    """Keep fraction in evaluation. Default: the one that training uses at that moment."""

    def __post_init__(self) -> None:
        check_ranges("sparsity.", self, epochs=(0, math.inf))
        if self.placement is not None:
            read_spelling(self.placement)
        if self.eval_fraction is not None:
            check_fraction(self.eval_fraction)
        if self.schedule != "constant" and self.epochs == 0:
            raise InputError(f"sparsity.schedule is {self.schedule} over 0 epochs; give --sparsity.epochs")


@dataclass(frozen=True)
class TrainClassifierConfig:
    """Train a classifier with Top-K inside. An interrupted run resumes: repeat the same command.

    Raises:
        InputError: a number out of range, or a name of an evaluation set that is taken.
    """

    model: str = "resnet18"
    """The architecture, such as resnet18, vgg16_bn or squeezenet1_1; an unknown name lists them all."""
    width: float | None = None
    """Multiplies the number of features of every layer, if the architecture has this option (ResNets do)."""
    dropout: float | None = None
    """Dropout rate, if the architecture has this option (AlexNet, VGG and SqueezeNet do). Default: torchvision's."""
    init_from: str | None = None
    """Start from these weights: a file (.safetensors, .pth), the folder of another run, or a catalog name. The
    classifier is new if the number of classes differs."""
    topk: TopK = field(default_factory=TopK)
    """The Top-K inside: its fraction, which activations it follows (after), what it keeps, …. --topk.fraction 1 trains
    a dense network."""
    sparsity: SparsityConfig = field(default_factory=SparsityConfig)
    """How Top-K changes during training."""
    data: DataConfig = field(default_factory=DataConfig)
    """Images."""
    eval: dict[str, str] = field(default_factory=dict)
    """More folders (<class>/…) or tfds:NAME/split to evaluate after every epoch, by name: --eval.stylized DIR.
    Li et al. evaluate on stylized images; `synthesize.py stylize` writes such a folder, its images."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """SGD or AdamW."""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    """How the learning rate changes."""
    epochs: int = 50
    """Passes over the training images; the last incomplete batch of each is left out."""
    batch_size: int = 32
    """Images per step, over all devices and processes."""
    label_smoothing: float = 0.0
    """Share of the target that is spread over all classes."""
    average: float = 0.0
    """Decay per step of the exponential moving average of parameters and statistics, for example 0.9999. Evaluation
    and the weights that are written then use the average. 0: no average."""
    batch_statistics: Literal["global", "device"] = "global"
    """Batch normalization over the whole batch, or over each device's part (as in torch's DistributedDataParallel)."""
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the network's arithmetic; parameters, statistics and the loss stay float32."""
    seed: int = 0
    """Seed of the initial weights, the order of images, augmentation and dropout."""
    eval_steps: int = 0
    """Also evaluate every this many steps, not only after each epoch: for metrics.jsonl, results.json and the curves.
    The best checkpoint and the learning rate depend on the evaluations after epochs only."""
    checkpoint_every: int = 0
    """Also save the state every this many steps, not only after each epoch."""
    tensorboard: bool = False
    """Write TensorBoard event files too (pip install "sparseshape-jax[tensorboard]")."""
    distributed: DistributedConfig = field(default_factory=DistributedConfig)
    """Several processes."""
    dry_run: bool = False
    """Print what would be trained, draw the first batch, and stop."""
    out: str = "results/classifier"
    """Folder for checkpoints, weights, metrics.jsonl, config.yaml, results.json, summary.csv and figures."""

    def __post_init__(self) -> None:
        check_ranges(
            "", self, epochs=(1, 100_000), batch_size=(1, 2**20), checkpoint_every=(0, 2**40), eval_steps=(0, 2**40)
        )
        check_ranges("", self, seed=(0, 2**32 - 1), label_smoothing=(0, 1), average=(0, 1))
        if bad := sorted(name for name in self.eval if name in ("train", "val")):
            raise InputError(f"eval.{bad[0]} is taken by the data's own splits; give it another name")


MAY_CHANGE = ("out", "dry_run", "distributed", "tensorboard", "checkpoint_every", "data.threads")
"""Settings that do not affect what is learned, so that they may change when a run resumes."""
