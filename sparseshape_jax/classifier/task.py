"""Training a classifier as a task of `training.task`: data, network, compiled steps, evaluation after each epoch."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sparseshape_jax import parallel
from sparseshape_jax.classifier.config import TrainClassifierConfig
from sparseshape_jax.classifier.network import build, save_weights
from sparseshape_jax.classifier.sparsity import (
    annealing_progress,
    eval_placement,
    keep_at,
    top_k_specs,
    train_operators,
)
from sparseshape_jax.classifier.step import ClassifierState, ClassifierStep
from sparseshape_jax.data.images import LabeledImages
from sparseshape_jax.data.loader import Loader
from sparseshape_jax.data.open import open_labeled
from sparseshape_jax.data.train_batches import TrainBatches
from sparseshape_jax.errors import InputError
from sparseshape_jax.evaluation.metrics import Tally
from sparseshape_jax.models import Network
from sparseshape_jax.predictor import Predictor
from sparseshape_jax.top_k.spec import TopK
from sparseshape_jax.training.log import Row
from sparseshape_jax.training.optimizers import build_optimizer
from sparseshape_jax.training.schedules import Plateau, learning_rate
from sparseshape_jax.training.task import Epoch, Metrics, Report


class ClassifierTask:
    """What one run trains, from its settings.

    Raises:
        InputError: bad settings, data or weights. Nothing is written then.
    """

    def __init__(self, config: TrainClassifierConfig) -> None:
        self.config = config
        self.part = parallel.this_process()
        devices = parallel.device_count()
        if config.batch_size % devices:
            raise InputError(
                f"batch_size is {config.batch_size}, which does not divide over {devices} devices;"
                f" give a multiple of {devices}"
            )
        train = open_labeled(config.data.path, config.data.train, config.data.classes)
        self.classes = train.classes
        self.data = TrainBatches(
            train,
            config.data.augment,
            image_size=config.data.image_size,
            resize=config.data.short_side,
            batch_size=config.batch_size,
            seed=config.seed,
            threads=config.data.threads,
            skip_bad=config.data.skip_bad,
            process=self.part,
        )
        self.steps_per_epoch = self.data.steps_per_epoch
        self.sets: dict[str, LabeledImages] = {"val": open_labeled(config.data.path, config.data.val, self.classes)}
        for name, source in config.eval.items():
            self.sets[name] = open_labeled(source, None, self.classes, allow_missing=True)
        self.network, self.preprocessing, self.init_sha256 = build(config, len(self.classes))
        self.rate = learning_rate(config.schedule, config.optimizer.learning_rate, config.epochs, self.steps_per_epoch)
        self.stepper = ClassifierStep(
            self.network,
            self.preprocessing,
            build_optimizer(config.optimizer, self.rate),
            label_smoothing=config.label_smoothing,
            average=config.average,
            seed=config.seed,
            plateau=config.schedule.kind == "plateau",
        )
        self.bad: dict[str, str] = {}
        """Images of evaluation sets that could not be decoded, and why."""
        self._steps: dict[float, Any] = {}
        self._predictors: dict[bool, Predictor] = {}

    def start(self) -> ClassifierState:
        """The state before the first step."""
        return self.stepper.start()

    def batches(self, step: int) -> Iterator[Any]:
        """This process's part of each batch: pixels and labels."""
        return self.data.batches(step)

    def progress(self, step: int) -> float:
        """The annealing progress before `step`: 0 is dense, 1 the keep fraction asked for."""
        return annealing_progress(self.config.sparsity, step / self.steps_per_epoch)

    def step(self, state: ClassifierState, batch: Any, step: int) -> tuple[ClassifierState, Metrics]:
        """One step; dense, annealing and at the fraction asked for, it is one compiled program each."""
        progress = self.progress(step)
        stage = progress if progress in (0, 1) else 0.5
        if stage not in self._steps:
            operators = train_operators(self.config, self.network, stage)
            self._steps[stage] = parallel.data_parallel(self.stepper.train(operators), donate=True)
        return self._steps[stage](state, batch, np.float32(progress))

    def end_epoch(self, state: ClassifierState, epoch: Epoch) -> Report:
        """Evaluate the network, or its average, on every set; the loss on val may lower the learning rate."""
        progress = self.progress(epoch.step - 1)
        specs = top_k_specs(self.config, self.network)
        plateau = None if state.plateau is None else Plateau(*parallel.unreplicate(state.plateau))
        rate = float(self.rate(epoch.step - 1)) * (1.0 if plateau is None else float(plateau.scale))
        train: Row = {
            "kind": "train",
            "epoch": epoch.number,
            "step": epoch.step,
            "loss": epoch.means["loss"],
            "accuracy": epoch.means["accuracy"],
            "learning_rate": rate,
            "keep": [keep_at(spec, progress) for spec in specs if not spec.is_identity] or [1],
            "images_per_second": epoch.rate,
        }
        network = self.stepper.network(parallel.unreplicate(state.evaluated))
        rows = self._evaluate_all(network, epoch.step)
        if plateau is not None:
            plateau = plateau.after(rows[0]["loss"], self.config.schedule)
            state = state._replace(plateau=parallel.replicate(plateau))
        scores = [f"{row['set']} {row['top1']:.3f}" for row in rows]
        message = f"epoch {epoch.number}: loss {train['loss']:.3f}, top-1 of training {train['accuracy']:.3f}"
        return Report(
            rows=[train, *rows],
            message=", ".join((message, *scores)),
            score=rows[0]["top1"],
            write=partial(self._write, network),
            state=state,
        )

    def measure(self, state: ClassifierState, step: int) -> list[Row]:
        """Evaluate the network, or its average, on every set in the middle of an epoch, after `step` steps."""
        return self._evaluate_all(self.stepper.network(parallel.unreplicate(state.evaluated)), step)

    def _evaluate_all(self, network: Network, step: int) -> list[Row]:
        """The rows of all sets after `step` steps; the epoch is a whole number where one ends."""
        whole, rest = divmod(step, self.steps_per_epoch)
        epoch = step / self.steps_per_epoch if rest else whole
        return [
            {"kind": "eval", "epoch": epoch, "step": step, "set": name}
            | self.evaluate(network, images, self.progress(step - 1))
            for name, images in self.sets.items()
        ]

    def placement(self, progress: float) -> dict[str, TopK]:
        """Which Top-K follows which activation in evaluation."""
        return eval_placement(self.config, self.network, progress)

    def evaluate(self, network: Network, images: LabeledImages, progress: float = 1.0) -> dict[str, Any]:
        """The entries of a network's row for a whole set.

        They are `n`, `loss` (without label smoothing), `top1`, `top5`, and by the names of classes `per_class` (top-1)
        and `f1`.

        Each process evaluates its own part of the set on its own devices.

        Raises:
            InputError: an image that cannot be decoded (unless they are to be skipped), or not one that can.
        """
        config, labels, tally = self.config, images.labels, Tally(self.classes)
        logits = self._predictor(network, progress).logits(self.placement(progress))
        loader = Loader(
            images,
            self.preprocessing,
            config.batch_size // self.part[1],
            skip_bad=config.data.skip_bad,
            part=self.part,
            threads=config.data.threads,
        )
        for batch in loader:
            tally.add(logits(batch.images)[: len(batch.indices)], labels[batch.indices])
        self.bad |= {images.describe(index): message for index, message in loader.bad.items()}
        tally.counts = parallel.sum_over_processes(tally.counts)
        if not tally.counts[0].any():
            raise InputError(f"none of the {len(images)} images of {images.name} can be decoded")
        row = tally.row()
        return {name: row[name] for name in ("n", "loss", "top1", "top5", "per_class")} | {"f1": tally.f1()}

    def _predictor(self, network: Network, progress: float) -> Predictor:
        """A predictor with the weights of `network`. While annealing, one program serves all fractions."""
        traced = parallel.on_cpu() or 0 < progress < 1
        if traced not in self._predictors:
            self._predictors = {traced: Predictor(network, self.preprocessing, traced=traced)}
        self._predictors[traced].update(network)
        return self._predictors[traced]

    def _write(self, network: Network, name: str) -> None:
        path = Path(self.config.out) / f"{name}.safetensors"
        save_weights(path, network, self.config, self.classes, self.preprocessing)
