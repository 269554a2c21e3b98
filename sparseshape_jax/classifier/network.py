"""The network to train: built for the data's classes, started at random or from weights, and written at the end."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import nnx

from sparseshape_jax import models
from sparseshape_jax.classifier.config import DataConfig, TrainClassifierConfig
from sparseshape_jax.classifier.sparsity import top_k_specs
from sparseshape_jax.errors import InputError
from sparseshape_jax.parallel import AXIS
from sparseshape_jax.preprocessing import TORCHVISION, Preprocessing
from sparseshape_jax.top_k.placement import merge_placement, place
from sparseshape_jax.weights.assign import save_safetensors
from sparseshape_jax.weights.catalog import CATALOG
from sparseshape_jax.weights.load import Loaded, load


class Untrained(NamedTuple):
    """A network before its first step."""

    network: models.Network
    preprocessing: Preprocessing
    """How it wants its images."""
    sha256: str | None
    """Of the file of weights that it starts from, if any."""


def build(config: TrainClassifierConfig, classes: int) -> Untrained:
    """The network to train, with `classes` classes.

    Raises:
        InputError: an unknown architecture, an option that it does not have, an activation for Top-K that it does not
            have, or weights that do not fit.
    """
    arguments = build_options(config, classes) | {"dtype": jnp.dtype(config.compute_dtype)}
    if "axis_name" in models.architecture(config.model).options:
        arguments["axis_name"] = AXIS if config.batch_statistics == "global" else None

    def drawn() -> models.Network:
        return models.build(config.model, rngs=nnx.Rngs(config.seed), **arguments)

    abstract = nnx.eval_shape(drawn)
    place(top_k_specs(config, abstract), abstract)  # refuses names that the network does not have
    loaded = None if config.init_from is None else _load(config.init_from, config)
    # Compiled, because drawing the weights one by one takes long.
    network = nnx.jit(drawn)()
    if loaded is not None:
        _initialize(network, loaded, config)
    preprocessing = _preprocessing(config.data, TORCHVISION if loaded is None else loaded.preprocessing)
    return Untrained(network, preprocessing, None if loaded is None else loaded.sha256)


def build_options(config: TrainClassifierConfig, classes: int) -> dict[str, Any]:
    """The options with which `models.build` builds this network again.

    Raises:
        InputError: an unknown architecture.
    """
    options: dict[str, Any] = {"num_classes": classes}
    if "image_size" in models.architecture(config.model).options:
        options["image_size"] = config.data.image_size
    # An option that the architecture does not have is refused by `models.build`.
    given = {"width": config.width, "dropout": config.dropout}
    return options | {name: value for name, value in given.items() if value is not None}


def _preprocessing(data: DataConfig, base: Preprocessing) -> Preprocessing:
    """The preprocessing of the weights that training starts from, with what the settings say instead."""
    return replace(
        base,
        mean=base.mean if data.mean is None else data.mean,
        std=base.std if data.std is None else data.std,
        resize=data.short_side,
        crop=data.image_size,
    )


def _load(source: str, config: TrainClassifierConfig) -> Loaded:
    """The network to start from: in a file, the folder of a run, or the catalog."""
    if Path(source).exists():
        options = build_options(config, 0)
        del options["num_classes"]  # the file's
        loaded = load(config.model, weights=source, **options)
    elif source in CATALOG:
        loaded = load(source)
    else:
        raise InputError(
            f"init_from is {source!r}, neither a file or folder nor a name of the catalog: {', '.join(CATALOG)}"
        )
    if loaded.network.architecture != config.model:
        raise InputError(f"init_from {source} holds {loaded.network.architecture}, but the model is {config.model}")
    return loaded


def _initialize(network: models.Network, loaded: Loaded, config: TrainClassifierConfig) -> None:
    """Copy the loaded weights into `network`, except for a classifier of another shape."""
    head = models.architecture(config.model).head
    state = nnx.state(network, (nnx.Param, nnx.BatchStat))
    given = dict(nnx.to_flat_state(nnx.state(loaded.network, (nnx.Param, nnx.BatchStat))))
    for path, variable in nnx.to_flat_state(state):
        value = given[path].get_value() if path in given else None
        if value is not None and value.shape == variable.get_value().shape:
            variable.set_value(value)
        elif path[0] not in head:
            raise InputError(
                f"init_from {config.init_from} has no {'.'.join(map(str, path))} of the shape that {config.model} wants"
            )
    nnx.update(network, state)


def save_weights(
    path: Path,
    network: models.Network,
    config: TrainClassifierConfig,
    classes: tuple[str, ...],
    preprocessing: Preprocessing,
) -> None:
    """Write a safetensors file that describes itself, for `--weights` of `evaluate.py` and `synthesize.py`.

    Raises:
        InputError: the path cannot be written.
    """
    top_k = merge_placement(place(top_k_specs(config, network), network))
    metadata = {
        "options": json.dumps(build_options(config, len(classes))),
        "classes": json.dumps(classes),
        "topk": json.dumps([spec.to_config() for spec in top_k]),
    }
    save_safetensors(network, path, metadata, preprocessing=preprocessing)
