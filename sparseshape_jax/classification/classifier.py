"""Callables from pixels to logits: one of our networks at some sparsity, or a model of the user's own."""

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8

from sparseshape_jax import models
from sparseshape_jax.classification.config import DEFAULT_MODEL, Classification, Network, label, merged
from sparseshape_jax.data.folders import wordnet_ids
from sparseshape_jax.data.preprocessing import TORCHVISION, Preprocessing
from sparseshape_jax.errors import InputError
from sparseshape_jax.placement import TopK, place
from sparseshape_jax.weights.load import Loaded, load


@dataclass(frozen=True)
class Classifier:
    """A model at one sparsity."""

    model: str
    """The model's name, as given."""
    specs: tuple[TopK, ...]
    """The Top-K inside."""
    suffix: str
    """Tells apart settings that share fraction and keep."""
    preprocessing: Preprocessing
    provenance: dict[str, str] = field(repr=False)
    """Where the weights come from. Empty for a user's own model, which cannot be traced."""
    _logits: Callable[[Any], Any] = field(repr=False)
    num_classes: int = 1000
    classes: tuple[str, ...] | None = None
    """What the logits stand for, if the weights say it; else they are ImageNet's."""
    trained: bool = False
    """Whether the weights were trained with this Top-K."""

    @property
    def spec(self) -> TopK:
        """The Top-K; the first one if there are several, each in its place."""
        return self.specs[0]

    def logits(self, images: UInt8[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "n classes"]:
        """The (N, num_classes) logits, as float32.

        Raises:
            InputError: a model of the user's own returns another shape.
        """
        logits = np.asarray(self._logits(images))
        if logits.shape != (len(images), self.num_classes):
            raise InputError(
                f"{self.model} returned an array of shape {logits.shape} for {len(images)} images;"
                f" it must return ImageNet logits of shape ({len(images)}, {self.num_classes})"
            )
        return logits.astype(np.float32)


def build_classifiers(config: Classification) -> list[Classifier]:
    """One classifier per sparsity in `config`, sharing the weights.

    Raises:
        InputError: an unknown model, weights that do not fit or cannot be read, an unknown activation, or sparsities
            asked of a model that has no Top-K.
    """
    if config.model is not None and ":" in config.model:
        return _own_model(config.model, config)
    loaded = load_network(config)
    graphdef, state = nnx.split(loaded.model)

    def forward(at: dict[str, TopK], state: Any, images: UInt8[Array, "n h w 3"]) -> Float[Array, "n classes"]:
        return logits_of(nnx.merge(graphdef, state, copy=True), loaded.preprocessing, at, images)

    placements = config.sparsities(loaded.top_k)
    classifiers = []
    for index, specs in enumerate(placements):
        compiled = jax.jit(partial(forward, place(specs, loaded.model)))
        classifiers.append(
            Classifier(
                model=loaded.name,
                specs=specs,
                suffix=label(placements, index),
                preprocessing=loaded.preprocessing,
                provenance={"source": loaded.source, "sha256": loaded.sha256},
                _logits=partial(compiled, state),
                num_classes=loaded.num_classes,
                classes=loaded.classes,
                trained=specs == merged(loaded.top_k),
            )
        )
    return classifiers


def load_network(config: Network) -> Loaded:
    """The network of `config`, with its classifier.

    Raises:
        InputError: as `load`.
    """
    name = config.model if config.model or config.weights else DEFAULT_MODEL
    return load(name, weights=config.weights, trunk_only=False, dtype=jnp.dtype(config.compute_dtype))


def logits_of(
    network: models.Network, preprocessing: Preprocessing, at: Mapping[str, models.Operator], images: Array
) -> Float[Array, "n classes"]:
    """The float32 logits for images of 8 bits a channel, (N, H, W, 3)."""
    normalised = preprocessing.normalise(images.astype(jnp.float32) / 255)
    return network(normalised, at=at).astype(jnp.float32)


def require_imagenet(model: Classifier | Loaded) -> None:
    """Raise `InputError` unless the logits are ImageNet's 1000, of which the 16 categories consist."""
    if model.num_classes != len(wordnet_ids()) or model.classes not in (None, wordnet_ids()):
        name = model.name if isinstance(model, Loaded) else model.model
        raise InputError(
            f"shape bias is counted with the 1000 ImageNet classes, and {name} has {model.num_classes} classes"
            + (f" ({', '.join(model.classes[:3])}, …)" if model.classes else "")
            + "; give a network for ImageNet"
        )


def _own_model(name: str, config: Classification) -> list[Classifier]:
    make = _import(name)
    placements = config.sparsities()
    takes_top_k = "top_k" in inspect.signature(make).parameters
    if not takes_top_k and config.fractions == Classification.fractions:
        placements = [specs for specs in placements if specs[0].is_identity]  # the default sweep was not asked for
    if not takes_top_k and any(not specs[0].is_identity for specs in placements):
        raise InputError(
            f"{name} has no parameter called top_k, so it can be evaluated at --fractions [1.0] only;"
            " let it take the Top-K, and apply it to the activations"
        )
    if config.weights is not None:
        raise InputError(f"--weights belongs to the networks of the catalogue; let {name} read its own")

    def own_logits(model: Callable[[Any], Any]) -> Callable[[Any], Any]:
        if not callable(model):
            raise InputError(f"{name} returned {type(model).__name__}; it must return a callable from images to logits")
        return lambda images: model(images.astype(np.float32) / 255)

    return [
        Classifier(
            model=name.replace(":", "_"),
            specs=specs,
            suffix=label(placements, index),
            preprocessing=TORCHVISION,
            provenance={},
            _logits=own_logits(make(top_k=specs[0]) if takes_top_k else make()),
        )
        for index, specs in enumerate(placements)
    ]


def _import(name: str) -> Callable[..., Any]:
    module_name, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), attribute)):
        raise InputError(f"--model {name} is neither a name of the catalogue nor module:function")
    working_folder = str(Path.cwd())
    if working_folder not in sys.path:
        sys.path.insert(0, working_folder)  # a file beside the user, as `python -m` would find it
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
