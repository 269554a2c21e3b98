"""What `train.py classifier` can be told. No JAX is needed to read it.

The defaults are those of the code of Li et al. (2023), section 4.3: SGD, momentum 0.9, weight decay 5e-4, learning rate
0.1 on a cosine, batch 32, 50 epochs.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sparseshape_jax.data.augment import Augment
from sparseshape_jax.data.preprocessing import TORCHVISION
from sparseshape_jax.errors import InputError
from sparseshape_jax.placement import TopK, check_fraction, parse


def _in_range(where: str, settings: Any, **allowed: tuple[float, float]) -> None:
    for name, (low, high) in allowed.items():
        value = getattr(settings, name)
        if value is not None and not low <= value <= high:
            bound = f"at least {low}" if high == math.inf else f"from {low} to {high}"
            raise InputError(f"{where}{name} is {value}; it must be {bound}")


@dataclass(frozen=True)
class Data:
    """Where the images are and how they are fed."""

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
    """Short side, in pixels, to which images are resized before image_size is cut from them: from the centre in
    evaluation. Default: 8/7 of image_size (256 for 224), or with augment.crop padded image_size itself."""
    mean: tuple[float, float, float] = TORCHVISION.mean
    """Of the RGB values in [0, 1], to subtract; ImageNet's."""
    std: tuple[float, float, float] = TORCHVISION.std
    """To divide by."""
    augment: Augment = field(default_factory=Augment)
    """What happens to training images."""
    threads: int = os.cpu_count() or 1
    """Threads that decode. The batches do not depend on their number."""
    skip_bad: bool = False
    """Replace images that cannot be decoded by the next one, and list them at the end, instead of stopping."""

    def __post_init__(self) -> None:
        _in_range("data.", self, image_size=(8, 4096), resize=(self.image_size, 8192), threads=(0, 1024))

    @property
    def short_side(self) -> int:
        """`resize`, or its default."""
        if self.resize is not None:
            return self.resize
        return self.image_size if self.augment.crop == "padded" else round(self.image_size * 8 / 7)


@dataclass(frozen=True)
class Optimiser:
    """How the parameters follow their gradients."""

    name: Literal["sgd", "adamw"] = "sgd"
    """SGD as torch has it (weight decay is added to the gradient), or AdamW (weight decay is apart)."""
    learning_rate: float = 0.1
    """At its highest."""
    momentum: float = 0.9
    """Of SGD."""
    nesterov: bool = False
    """Nesterov's momentum, for SGD."""
    beta2: float = 0.999
    """AdamW's decay of the squared gradient; its beta1 is momentum."""
    weight_decay: float = 5e-4
    """Strength of weight decay."""
    decay_norm_and_bias: bool = True
    """Decay biases and batch normalisation's parameters too, as torch does unless told otherwise."""
    clip_norm: float | None = None
    """Scale gradients down to this global norm."""

    def __post_init__(self) -> None:
        _in_range("optimiser.", self, learning_rate=(0, math.inf), weight_decay=(0, math.inf))
        _in_range("optimiser.", self, momentum=(0, 1), beta2=(0, 1), clip_norm=(0, math.inf))


@dataclass(frozen=True)
class Schedule:
    """How the learning rate changes."""

    kind: Literal["cosine", "step", "constant"] = "cosine"
    """From its highest to final_factor on a half cosine; times gamma at milestones; or constant."""
    warmup_epochs: float = 0.0
    """Epochs in which it rises linearly from 0."""
    milestones: tuple[float, ...] = ()
    """Epochs at which "step" multiplies it by gamma."""
    gamma: float = 0.1
    """Factor of "step"."""
    final_factor: float = 0.0
    """Where "cosine" ends, as a share of the highest."""
    per_epoch: bool = False
    """Change it between epochs only, as torch's schedulers are mostly used, instead of at every step."""

    def __post_init__(self) -> None:
        _in_range("schedule.", self, warmup_epochs=(0, math.inf), gamma=(0, 1), final_factor=(0, 1))
        if self.kind == "step" and not self.milestones:
            raise InputError("schedule.kind is step without milestones; give epochs: --schedule.milestones [30,60]")


@dataclass(frozen=True)
class Sparsity:
    """When and how strongly Top-K acts; where and how is in topk."""

    placement: str | None = None
    """The paper's spelling, in place of topk.after and topk.fraction: 2_20 is 20 % after layer2, 2-3_20-10 two
    places."""
    schedule: Literal["constant", "anneal", "from_epoch"] = "constant"
    """All the time; annealed, from dense to the fraction, linearly over the first epochs; or dense before them and at
    the fraction after."""
    epochs: float = 0.0
    """How many epochs that takes."""
    eval_fraction: float | None = None
    """Keep fraction when evaluating. Default: that of the moment in training."""

    def __post_init__(self) -> None:
        _in_range("sparsity.", self, epochs=(0, math.inf))
        if self.eval_fraction is not None:
            check_fraction(self.eval_fraction)
        if self.schedule != "constant" and self.epochs == 0:
            raise InputError(f"sparsity.schedule is {self.schedule} over 0 epochs; give --sparsity.epochs")


@dataclass(frozen=True)
class Distributed:
    """Training in several processes. Every one is given the same settings, and runs the same number of devices."""

    enabled: bool = False
    """Join the processes that Slurm, Open MPI or a TPU pod started; their environment names the addresses."""
    coordinator: str | None = None
    """HOST:PORT of process 0, where no environment says it."""
    processes: int | None = None
    """How many there are."""
    process: int | None = None
    """Which one this is, from 0."""

    @property
    def wanted(self) -> bool:
        """Whether there are several processes."""
        return self.enabled or self.coordinator is not None


@dataclass(frozen=True)
class Classifier:
    """Train a classifier with Top-K inside. A run that was stopped goes on when the same command is given again."""

    model: str = "resnet18"
    """The architecture: alexnet, vgg11 to vgg19 (and _bn), resnet18 to resnet152, resnet18_code_spec, squeezenet1_1."""
    width: float | None = None
    """Multiplies the features of a ResNet's layers."""
    dropout: float | None = None
    """Of the networks that have it (AlexNet, VGG, SqueezeNet); default: torchvision's."""
    init_from: str | None = None
    """Start from these weights: a file (.safetensors, .pth), the folder of another run, or a catalogue name. The
    classifier is new where the number of classes differs."""
    topk: TopK = field(default_factory=TopK)
    """The Top-K inside: fraction, where (after), what it keeps, …. --topk.fraction 1 trains a dense network."""
    sparsity: Sparsity = field(default_factory=Sparsity)
    """Its schedule."""
    data: Data = field(default_factory=Data)
    """Images."""
    eval: dict[str, str] = field(default_factory=dict)
    """Further folders (<class>/…) or tfds:NAME/split to evaluate after every epoch, by name: --eval.stylised DIR."""
    optimiser: Optimiser = field(default_factory=Optimiser)
    """SGD or AdamW."""
    schedule: Schedule = field(default_factory=Schedule)
    """Of the learning rate."""
    epochs: int = 50
    """Passes over the training images; the last incomplete batch of each is left out."""
    batch_size: int = 32
    """Images per step, over all devices and processes."""
    label_smoothing: float = 0.0
    """Share of the target that is spread over all classes."""
    average: float = 0.0
    """Decay per step of the exponential moving average of parameters and statistics, for example 0.9999; evaluation
    and the weights written then use the average. 0: none."""
    batch_statistics: Literal["global", "device"] = "global"
    """Batch normalisation over the whole batch, or over each device's part (as torch's DistributedDataParallel)."""
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the network's arithmetic; parameters, statistics and the loss stay float32."""
    seed: int = 0
    """Of the initial weights, the order of images, augmentation and dropout."""
    checkpoint_every: int = 0
    """Also save the state every this many steps, not only after each epoch."""
    tensorboard: bool = False
    """Write TensorBoard event files too (pip install "sparseshape-jax[tensorboard]")."""
    distributed: Distributed = field(default_factory=Distributed)
    """Several processes."""
    dry_run: bool = False
    """Say what would be trained, draw the first batch, and stop."""
    out: str = "results/classifier"
    """Folder for checkpoints, weights, metrics.jsonl, the learning curves and config.yaml."""

    def __post_init__(self) -> None:
        _in_range("", self, epochs=(1, 100_000), batch_size=(1, 2**20), checkpoint_every=(0, 2**40))
        _in_range("", self, seed=(0, 2**32 - 1), label_smoothing=(0, 1), average=(0, 1))
        if bad := sorted(name for name in self.eval if name in ("train", "val")):
            raise InputError(f"eval.{bad[0]} is taken by the data's own splits; give it another name")

    @property
    def top_ks(self) -> tuple[TopK, ...]:
        """The Top-K to place: `topk`, or what `sparsity.placement` makes of it."""
        if self.sparsity.placement is None:
            return (self.topk,)
        return parse(self.sparsity.placement, template=self.topk)

    def at_fraction(self, fraction: float | None) -> tuple[TopK, ...]:
        """The same with another keep fraction; None changes nothing."""
        specs: Sequence[TopK] = self.top_ks
        return tuple(specs if fraction is None else (replace(spec, fraction=fraction) for spec in specs))


RESULT_FREE = ("out", "dry_run", "distributed", "tensorboard", "checkpoint_every", "data.threads")
"""Settings that do not touch what is learned, and may change between a run and its continuation."""


def differences(one: Mapping[str, Any], other: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The dotted names of settings that differ between two configurations as plain dicts, but for `RESULT_FREE`."""
    found = []
    for key in dict.fromkeys((*one, *other)):
        name = f"{prefix}{key}"
        first, second = one.get(key), other.get(key)
        if name in RESULT_FREE or first == second:
            continue
        if isinstance(first, Mapping) and isinstance(second, Mapping):
            found += differences(first, second, f"{name}.")
        else:
            found.append(name)
    return found
