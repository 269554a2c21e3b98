"""What is measured at every cell of a sweep, on images that are decoded once, and the network that is asked."""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8

from sparseshape_jax.classification.accuracy import Tally, find_labels
from sparseshape_jax.classification.classifier import logits_of, require_imagenet
from sparseshape_jax.classification.sweep import Sweep
from sparseshape_jax.data.loader import Batch, Loader
from sparseshape_jax.data.stimuli import find_stimuli
from sparseshape_jax.errors import InputError
from sparseshape_jax.placement import TopK
from sparseshape_jax.shape_bias.categories import CATEGORIES
from sparseshape_jax.shape_bias.decisions import decide
from sparseshape_jax.shape_bias.records import Records
from sparseshape_jax.shape_bias.scores import score
from sparseshape_jax.top_k import AXES
from sparseshape_jax.weights.load import Loaded

Logits = Callable[[UInt8[np.ndarray, "n h w 3"]], Float[np.ndarray, "n classes"]]


class Programs:
    """The network with one Top-K or another in it, compiled once for each placement."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.graphdef, self.state = nnx.split(loaded.model)
        self.compiled: dict[TopK | None, Callable[..., Array]] = {}

    def logits(self, spec: TopK | None) -> Logits:
        """The function from images to logits with `spec`, whose `after` are names, or without Top-K."""
        key = spec and replace(spec, fraction=1.0)
        if key not in self.compiled:
            self.compiled[key] = jax.jit(lambda *arguments: self._forward(key, *arguments))
        shares = self._shares(spec) if spec else {}
        return lambda images: np.asarray(self.compiled[key](shares, self.state, images))

    def _forward(
        self, spec: TopK | None, shares: Mapping[str, Array], state: Any, images: UInt8[Array, "n h w 3"]
    ) -> Float[Array, "n classes"]:
        def with_share(share: Array) -> Callable[[Array], Array]:
            assert spec is not None
            return lambda x: spec(x, share)

        network = nnx.merge(self.graphdef, state, copy=True)
        at = {name: with_share(share) for name, share in shares.items()}
        return logits_of(network, self.loaded.preprocessing, at, images)

    def _shares(self, spec: TopK) -> dict[str, np.float32]:
        """For each activation, a fraction that makes `keep_top_k` keep exactly the k of `spec`, though it is traced.

        It lies halfway between the fractions of k and of k + 1, where rounding in float32 cannot matter.
        """
        shares, shapes = {}, self._shapes
        for name in spec.after or ():
            if shapes[name].ndim != 4:
                raise InputError(f"Top-K cannot be placed after {name}, which is no feature map")
            positions = math.prod(shapes[name].shape[axis] for axis in AXES[spec.scope])
            shares[name] = np.float32((max(1, int(spec.fraction * positions)) + 0.5) / positions)
        return shares

    @cached_property
    def _shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Of all activations."""
        model, crop = self.loaded.model, self.loaded.preprocessing.crop
        image = jax.ShapeDtypeStruct((1, crop, crop, 3), np.float32)
        return jax.eval_shape(lambda images: model.activations(images, model.names), image)


class Measure(ABC):
    """Images, kept in memory, and what is counted on them."""

    what: ClassVar[str]
    """What the images are called in messages."""

    def __init__(self, paths: Sequence[Path], labels: Sequence[str], config: Sweep, loaded: Loaded) -> None:
        loader = Loader(paths, loaded.preprocessing, config.batch_size, skip_bad=config.skip_bad)
        self.batches: list[Batch] = list(loader)
        self.skipped = [str(paths[index]) for index in loader.bad]
        self.shown = [int(index) for batch in self.batches for index in batch.indices]
        if not self.shown:
            raise InputError(f"none of the {len(paths)} {self.what} can be decoded")
        digest = hashlib.sha256("\n".join(labels[index] for index in self.shown).encode())
        for batch in self.batches:
            digest.update(batch.images[: len(batch.indices)].tobytes())
        self.fingerprint = digest.hexdigest()
        """Of the pixels and labels."""

    @property
    def count(self) -> int:
        """The number of images."""
        return len(self.shown)

    @abstractmethod
    def __call__(self, logits: Logits, progress: Callable[[int], Any]) -> dict[str, Any]:
        """Count; `progress` is told the number of images of each batch."""


class OnData(Measure):
    """Accuracy."""

    what = "images"

    def __init__(self, folder: Path, config: Sweep, loaded: Loaded) -> None:
        paths, self.labels, self.names = find_labels(folder, loaded)
        super().__init__(paths, [self.names[label] for label in self.labels], config, loaded)

    def __call__(self, logits: Logits, progress: Callable[[int], Any]) -> dict[str, Any]:
        """The entries n, top1, top5, per_class."""
        tally = Tally(self.names)
        for batch in self.batches:
            tally.add(logits(batch.images)[: len(batch.indices)], self.labels[batch.indices])
            progress(len(batch.indices))
        return tally.row()


class OnStimuli(Measure):
    """Shape bias."""

    what = "stimuli"

    def __init__(self, folder: Path, config: Sweep, loaded: Loaded) -> None:
        require_imagenet(loaded)
        self.stimuli = find_stimuli(folder)
        if all(stimulus.shape == stimulus.texture for stimulus in self.stimuli):
            raise InputError(f"no stimulus in {folder} has a texture other than its shape; there is no cue conflict")
        paths = [stimulus.path for stimulus in self.stimuli]
        super().__init__(paths, [path.name for path in paths], config, loaded)

    def __call__(self, logits: Logits, progress: Callable[[int], Any]) -> dict[str, Any]:
        """The entries n_stimuli (cue conflicts), shape, texture, shape_bias, cue_accuracy, by_category."""
        responses: list[str] = []
        for batch in self.batches:
            decisions = decide(logits(batch.images)[: len(batch.indices)])
            responses += (CATEGORIES[decision] for decision in decisions)
            progress(len(batch.indices))
        shown = [self.stimuli[index] for index in self.shown]
        result = score(
            Records(
                observer="",
                images=tuple(stimulus.path.name for stimulus in shown),
                categories=tuple(stimulus.shape for stimulus in shown),
                responses=tuple(responses),
            )
        )
        return {
            "n_stimuli": result.n,
            "shape": result.shape,
            "texture": result.texture,
            "shape_bias": _number(result.shape_bias),
            "cue_accuracy": _number(result.cue_accuracy),
            "by_category": {
                category: {
                    "n": counts.n,
                    "shape": counts.shape,
                    "texture": counts.texture,
                    "shape_bias": _number(counts.shape_bias),
                }
                for category, counts in result.by_category.items()
            },
        }


def measures(config: Sweep, loaded: Loaded) -> list[Measure]:
    """What `config` asks to measure, its images decoded.

    Raises:
        InputError: bad data or stimuli, or ones that do not fit the network's classes.
    """
    wanted: list[Measure] = []
    if config.stimuli is not None:
        wanted.append(OnStimuli(Path(config.stimuli), config, loaded))
    if config.data is not None:
        wanted.append(OnData(Path(config.data), config, loaded))
    return wanted


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
