"""The network to be trained: built for the data's classes, started at random or from weights, written at the end."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from flax import nnx

from sparseshape_jax import models
from sparseshape_jax.data.preprocessing import Preprocessing
from sparseshape_jax.errors import InputError
from sparseshape_jax.parallel import AXIS
from sparseshape_jax.placement import place
from sparseshape_jax.training.config import Classifier
from sparseshape_jax.weights.assign import save_safetensors
from sparseshape_jax.weights.catalogue import CATALOGUE
from sparseshape_jax.weights.load import Loaded, load


def build(config: Classifier, classes: int) -> tuple[models.Network, Preprocessing]:
    """The network before its first step, and what it wants its images to be.

    Raises:
        InputError: an unknown architecture, an option that it does not have, an activation for Top-K that it does not
            have, or weights that do not fit.
    """
    arguments = options(config, classes) | {"dtype": jnp.dtype(config.compute_dtype)}
    if config.model.startswith(("resnet", "vgg")):
        arguments["axis_name"] = AXIS if config.batch_statistics == "global" else None

    def drawn() -> models.Network:
        return models.build(config.model, rngs=nnx.Rngs(config.seed), **arguments)

    place(config.top_ks, nnx.eval_shape(drawn))  # refuses names that it does not have
    loaded = None if config.init_from is None else _load(config.init_from, config)
    # Compiled, because drawing the weights one by one takes long.
    network = nnx.jit(drawn)()
    preprocessing = Preprocessing(mean=config.data.mean, std=config.data.std)
    if loaded is not None:
        _initialise(network, loaded, config)
        preprocessing = loaded.preprocessing
    return network, replace(preprocessing, resize=config.data.short_side, crop=config.data.image_size)


def options(config: Classifier, classes: int) -> dict[str, Any]:
    """What `models.build` must be told to build this network again."""
    given = {"num_classes": classes, "width": config.width, "dropout": config.dropout}
    if config.model.endswith("_code_spec"):
        given["image_size"] = config.data.image_size
    return {name: value for name, value in given.items() if value is not None}


def _load(source: str, config: Classifier) -> Loaded:
    """The network to begin from, in a file, the folder of a run, or the catalogue."""
    if Path(source).exists():
        extra = {name: value for name, value in options(config, 0).items() if name != "num_classes"}
        loaded = load(config.model, weights=source, **extra)
    elif source in CATALOGUE:
        loaded = load(source)
    else:
        raise InputError(
            f"init_from is {source!r}, neither a file or folder nor a name of the catalogue: {', '.join(CATALOGUE)}"
        )
    if loaded.model.architecture != config.model:
        raise InputError(f"init_from {source} holds {loaded.model.architecture}, but the model is {config.model}")
    return loaded


def _initialise(network: models.Network, loaded: Loaded, config: Classifier) -> None:
    """Copy the loaded weights into `network`, but for a classifier of another shape."""
    state = nnx.state(network, (nnx.Param, nnx.BatchStat))
    given = dict(nnx.to_flat_state(nnx.state(loaded.model, (nnx.Param, nnx.BatchStat))))
    for path, variable in nnx.to_flat_state(state):
        value = given[path].get_value() if path in given else None
        if value is not None and value.shape == variable.get_value().shape:
            variable.set_value(value)
        elif path[0] not in network.head:
            raise InputError(
                f"init_from {config.init_from} has no {'.'.join(map(str, path))} of the shape that {config.model} wants"
            )
    nnx.update(network, state)


def save_weights(
    path: Path, network: models.Network, config: Classifier, classes: tuple[str, ...], preprocessing: Preprocessing
) -> None:
    """Write a safetensors file that says what it holds, for `--weights` of `evaluate.py` and `synthesize.py`."""
    specs: dict[Any, list[str]] = {}
    for name, spec in place(config.top_ks, network).items():
        specs.setdefault(spec, []).append(name)
    metadata = {
        "options": json.dumps(options(config, len(classes))),
        "classes": json.dumps(classes),
        "topk": json.dumps([replace(spec, after=tuple(names)).to_config() for spec, names in specs.items()]),
    }
    save_safetensors(network, path, metadata, preprocessing=preprocessing)
