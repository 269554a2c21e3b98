"""Callables from pixels to logits: one of our networks at some sparsity, or a model of the user's own."""

import importlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8

from sparseshape_jax.classification.config import DEFAULT_MODEL, Classification, label
from sparseshape_jax.data.preprocessing import TORCHVISION, Preprocessing
from sparseshape_jax.errors import InputError
from sparseshape_jax.placement import TopK, place
from sparseshape_jax.weights.load import load

CLASSES = 1000


@dataclass(frozen=True)
class Classifier:
    """A model at one sparsity."""

    model: str
    """The model's name, as given."""
    spec: TopK
    suffix: str
    """Tells apart settings that share fraction and keep."""
    preprocessing: Preprocessing
    provenance: dict[str, str] = field(repr=False)
    """Where the weights come from. Empty for a user's own model, which cannot be traced."""
    _logits: Callable[[Any], Any] = field(repr=False)

    def logits(self, images: UInt8[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "n 1000"]:
        """The (N, 1000) ImageNet logits, as float32.

        Raises:
            InputError: a model of the user's own returns another shape.
        """
        logits = np.asarray(self._logits(images))
        if logits.shape != (len(images), CLASSES):
            raise InputError(
                f"{self.model} returned an array of shape {logits.shape} for {len(images)} images;"
                f" it must return ImageNet logits of shape ({len(images)}, {CLASSES})"
            )
        return logits.astype(np.float32)


def build_classifiers(config: Classification) -> list[Classifier]:
    """One classifier per sparsity in `config`, sharing the weights.

    Raises:
        InputError: an unknown model, weights that do not fit or cannot be read, an unknown activation, or sparsities
            asked of a model that has no Top-K.
    """
    name = config.model or DEFAULT_MODEL
    return _own_model(name, config) if ":" in name else _network(name, config)


def _network(name: str, config: Classification) -> list[Classifier]:
    loaded = load(name, weights=config.weights, trunk_only=False, dtype=jnp.dtype(config.compute_dtype))
    graphdef, state = nnx.split(loaded.model)
    preprocessing = loaded.preprocessing

    def forward(at: dict[str, TopK], state: Any, images: UInt8[Array, "n h w 3"]) -> Float[Array, "n 1000"]:
        network = nnx.merge(graphdef, state, copy=True)
        normalised = preprocessing.normalise(images.astype(jnp.float32) / 255)
        return network(normalised, at=at).astype(jnp.float32)

    specs = config.sparsities()
    classifiers = []
    for index, spec in enumerate(specs):
        compiled = jax.jit(partial(forward, place(spec, loaded.model)))
        classifiers.append(
            Classifier(
                model=name,
                spec=spec,
                suffix=label(specs, index),
                preprocessing=preprocessing,
                provenance={"source": loaded.source, "sha256": loaded.sha256},
                _logits=partial(compiled, state),
            )
        )
    return classifiers


def _own_model(name: str, config: Classification) -> list[Classifier]:
    make = _import(name)
    specs = config.sparsities()
    takes_top_k = "top_k" in inspect.signature(make).parameters
    if not takes_top_k and config.fractions == Classification.fractions:
        specs = [spec for spec in specs if spec.is_identity]  # the default sweep was not asked for
    if not takes_top_k and any(not spec.is_identity for spec in specs):
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
            spec=spec,
            suffix=label(specs, index),
            preprocessing=TORCHVISION,
            provenance={},
            _logits=own_logits(make(top_k=spec) if takes_top_k else make()),
        )
        for index, spec in enumerate(specs)
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
