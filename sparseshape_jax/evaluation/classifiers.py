"""From pixels to logits: one of our networks at some sparsity, or the user's own model."""

import importlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from sparseshape_jax.data.folders import wordnet_ids
from sparseshape_jax.data.images import LabeledImages
from sparseshape_jax.data.open import open_labeled
from sparseshape_jax.errors import InputError
from sparseshape_jax.evaluation.config import (
    DEFAULT_MODEL,
    ClassificationConfig,
    NetworkConfig,
    PreprocessingChanges,
    merged,
    suffix_for,
)
from sparseshape_jax.predictor import Logits, Predictor
from sparseshape_jax.preprocessing import TORCHVISION, Preprocessing
from sparseshape_jax.top_k.placement import merge_placement, place
from sparseshape_jax.top_k.spec import TopK
from sparseshape_jax.weights.load import Loaded, load


@dataclass(frozen=True)
class Classifier:
    """A model at one sparsity."""

    name: str
    """The model's name, as given."""
    specs: tuple[TopK, ...]
    """The Top-K inside, as asked for."""
    top_k: tuple[TopK, ...]
    """The Top-K inside, as placed; empty if the model is dense."""
    suffix: str
    """Tells apart settings that share fraction and keep."""
    function: Logits = field(repr=False)
    loaded: Loaded | None = field(repr=False)
    """Network and weights. None for a user's own model, of which nothing more is known."""
    trained: bool = False
    """Whether the weights were trained with this Top-K."""
    own: Callable[[Any], Any] | None = field(default=None, repr=False)
    """A user's own model, from images (N, H, W, 3) in [0, 1] to logits."""

    @property
    def spec(self) -> TopK:
        """The Top-K; the first one if there are several, each in its place."""
        return self.specs[0]

    @property
    def preprocessing(self) -> Preprocessing:
        """How the model wants its pixels; torchvision's size and crop for a user's own, which does the rest itself."""
        return self.loaded.preprocessing if self.loaded else TORCHVISION

    @property
    def num_classes(self) -> int:
        """How many logits there are; a user's own model has ImageNet's."""
        return self.loaded.num_classes if self.loaded else len(wordnet_ids())

    @property
    def classes(self) -> tuple[str, ...] | None:
        """What the logits stand for, if the weights say it; else they are ImageNet's."""
        return self.loaded.classes if self.loaded else None

    def logits(self, images: UInt8[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "n classes"]:
        """The (N, num_classes) logits, as float32.

        Raises:
            InputError: a model of the user's own returns another shape.
        """
        logits = np.asarray(self.function(images))
        if logits.shape != (len(images), self.num_classes):
            raise InputError(
                f"{self.name} returned an array of shape {logits.shape} for {len(images)} images;"
                f" it must return ImageNet logits of shape ({len(images)}, {self.num_classes})"
            )
        return logits.astype(np.float32)

    def entries(self) -> dict[str, Any]:
        """What a row of results says of the model: model, fraction, keep, top_k, trained, weights."""
        return {
            "model": self.name + self.suffix,
            "fraction": self.spec.fraction,
            "keep": self.spec.keep,
            "trained": self.trained,
            "top_k": [spec.to_config() for spec in self.top_k],
            "weights": None if self.loaded is None else {"source": self.loaded.source, "sha256": self.loaded.sha256},
        }

    def provenance(self, compute_dtype: str) -> dict[str, Any] | None:
        """All that decides what a row says of given pixels; None if it cannot be known, as for a user's own model."""
        if self.loaded is None:
            return None
        return {
            **{name: self.entries()[name] for name in ("model", "fraction", "keep")},
            "weights": self.loaded.sha256,
            "preprocessing": repr(self.loaded.preprocessing),
            "top_k": [spec.to_config() for spec in self.top_k],
            "compute_dtype": compute_dtype,
        }


def build_classifiers(config: ClassificationConfig) -> list[Classifier]:
    """One classifier per sparsity in `config`, sharing the weights.

    Raises:
        InputError: an unknown model, weights that do not fit or cannot be read, an unknown activation, or sparsities
            asked of a model that has no Top-K.
    """
    if config.model is not None and ":" in config.model:
        return _own_model(config.model, config)
    return _at_sparsities(load_network(config), config)


def build_classifier(config: NetworkConfig, fraction: float | None) -> Classifier:
    """The network of `config` at one sparsity.

    Args:
        config: which network, and what Top-K keeps, but for the fraction.
        fraction: of Top-K; 1 means none. None means the Top-K that the weights were trained with, if any.

    Raises:
        InputError: as `build_classifiers`.
    """
    settings = {each.name: getattr(config, each.name) for each in fields(NetworkConfig)}
    if config.model is not None and ":" in config.model:
        return _own_model(config.model, ClassificationConfig(**settings, fractions=(fraction or 1.0,)))[0]
    loaded = load_network(config)
    chosen: Any = fraction or ("trained" if place(merged(loaded.top_k), loaded.network) else 1.0)
    return _at_sparsities(loaded, ClassificationConfig(**settings, fractions=(chosen,)))[0]


def _at_sparsities(loaded: Loaded, config: ClassificationConfig) -> list[Classifier]:
    predictor = Predictor(loaded.network, loaded.preprocessing)
    trained = place(loaded.top_k, loaded.network)
    placements = config.sparsities(loaded.top_k)
    classifiers = []
    for index, specs in enumerate(placements):
        # What is dense needs no preset.
        at = place([spec for spec in specs if spec.after is not None or not spec.is_identity], loaded.network)
        classifiers.append(
            Classifier(
                name=loaded.name,
                specs=specs,
                top_k=merge_placement(at),
                suffix=suffix_for(placements, index),
                function=predictor.logits(at),
                loaded=loaded,
                trained=bool(trained) and specs == merged(loaded.top_k),
            )
        )
    return classifiers


def load_network(config: NetworkConfig) -> Loaded:
    """The network of `config`, with its classifier.

    Raises:
        InputError: as `load`.
    """
    name = config.model if config.model or config.weights else DEFAULT_MODEL
    loaded = load(name, weights=config.weights, trunk_only=False, dtype=jnp.dtype(config.compute_dtype))
    return replace(loaded, preprocessing=config.preprocessing.apply(loaded.preprocessing))


def require_imagenet(model: Classifier | Loaded) -> None:
    """Raise `InputError` unless the logits are the 1000 ImageNet classes that the 16 categories are built from."""
    if model.num_classes != len(wordnet_ids()) or model.classes not in (None, wordnet_ids()):
        raise InputError(
            f"the 16 categories are built from the 1000 ImageNet classes, and {model.name} has {model.num_classes}"
            + (f" classes ({', '.join(model.classes[:3])}, …)" if model.classes else " classes")
            + "; give a network for ImageNet"
        )


def open_for(model: Classifier | Loaded, source: str) -> LabeledImages:
    """The images in a folder or a tfds split, labeled by the positions of their classes among the model's logits.

    The classes are those that the weights name, else ImageNet's.

    Raises:
        InputError: a missing or empty source, images of other classes, or weights that have other than 1000 classes and
            do not name them.
    """
    names = model.classes or wordnet_ids()
    if len(names) != model.num_classes:
        raise InputError(
            f"these weights have {model.num_classes} classes, without their names, so no labels can be read from"
            f" {source}; give a training run's file, which has them, or a network for ImageNet's {len(names)}"
        )
    return open_labeled(source, classes=names, allow_missing=True, only_these=True)


def _own_model(name: str, config: ClassificationConfig) -> list[Classifier]:
    make = _import(name)
    placements = config.sparsities()
    takes_top_k = "top_k" in inspect.signature(make).parameters
    if not takes_top_k and config.fractions is None:
        placements = [specs for specs in placements if specs[0].is_identity]  # the default sweep was not asked for
    if not takes_top_k and any(not specs[0].is_identity for specs in placements):
        raise InputError(
            f"{name} has no parameter called top_k, so it can be evaluated at --fractions [1.0] only;"
            " let it take the Top-K, and apply it to the activations"
        )
    if config.weights is not None:
        raise InputError(f"--weights belongs to the networks of the catalog; let {name} read its own")
    if config.preprocessing != PreprocessingChanges():
        raise InputError(f"--preprocessing belongs to the networks of the catalog; let {name} normalize its images")

    def own_logits(model: Callable[[Any], Any]) -> Logits:
        if not callable(model):
            raise InputError(f"{name} returned {type(model).__name__}; it must return a callable from images to logits")
        return lambda images: np.asarray(model(images.astype(np.float32) / 255))

    models = [make(top_k=specs[0]) if takes_top_k else make() for specs in placements]
    return [
        Classifier(
            name=name.replace(":", "_"),
            specs=specs,
            top_k=() if specs[0].is_identity else specs,
            suffix=suffix_for(placements, index),
            function=own_logits(model),
            loaded=None,
            own=model,
        )
        for index, (specs, model) in enumerate(zip(placements, models, strict=True))
    ]


def _import(name: str) -> Callable[..., Any]:
    module_name, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), attribute)):
        raise InputError(f"--model {name} is neither a name of the catalog nor module:function")
    working_folder = str(Path.cwd())
    if working_folder not in sys.path:
        sys.path.insert(0, working_folder)  # a file in the user's folder, as `python -m` would find it
    try:
        function = getattr(importlib.import_module(module_name), attribute)
    except ModuleNotFoundError as error:
        raise InputError(
            f"--model {name}: there is no module {error.name!r};"
            " write module:function, with the module importable from here"
        ) from None
    except AttributeError:
        raise InputError(f"--model {name}: module {module_name} has no {attribute!r}") from None
    if not callable(function):
        raise InputError(f"--model {name}: {attribute} is {type(function).__name__}, not a function")
    return function
