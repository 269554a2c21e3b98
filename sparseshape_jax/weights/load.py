"""From a name to a network that is ready to use: find the file, check it, build the network, fill it."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sparseshape_jax import models
from sparseshape_jax.data.preprocessing import TORCHVISION, Preprocessing
from sparseshape_jax.errors import InputError
from sparseshape_jax.weights import fetch, keys
from sparseshape_jax.weights.assign import assign
from sparseshape_jax.weights.catalogue import CATALOGUE, Entry
from sparseshape_jax.weights.read import read_arrays, read_metadata


@dataclass(frozen=True)
class Loaded:
    """A network with its weights, and where they came from."""

    model: models.Network
    """In eval mode."""
    preprocessing: Preprocessing
    """What the weights want their images to be."""
    entry: Entry | None
    """The catalogue's entry, if the file is the published one."""
    name: str
    """As asked for: a name of the catalogue, or an architecture."""
    source: str
    """The package or the file, for people to read."""
    sha256: str
    """Of the file."""


def load(
    name: str,
    *,
    weights: str | os.PathLike[str] | None = None,
    trunk_only: bool | None = None,
    dtype: Any = None,
    **build_options: Any,
) -> Loaded:
    """Load a network with published weights, or with those in a file.

    Args:
        name: a name of the catalogue (`python -m sparseshape_jax.weights list`), or with `weights` also an
            architecture.
        weights: a file that `read_arrays` reads, in place of the published one. The number of classes is the file's;
            the preprocessing is what its safetensors metadata says, else what its layers' names tell, else the
            catalogue's for `name`, else torchvision's.
        trunk_only: build the network up to its last pool, without a classifier. By default as the catalogue says.
        dtype: of the computation, for example `jax.numpy.bfloat16`; the weights stay float32.
        build_options: the architecture's own (`pooling`, `width`, …).

    Raises:
        InputError: unknown name, no weights for it, unreadable file, wrong hash, or weights of another network.
    """
    entry = CATALOGUE.get(name)
    if entry is None and name not in models.ARCHITECTURES:
        raise InputError(
            f"there is no model called {name!r}; the catalogue has {', '.join(CATALOGUE)}, and with a file of weights"
            f" the name can be an architecture: {', '.join(models.ARCHITECTURES)}"
        )
    if weights is None:
        if entry is None:
            raise InputError(f"no weights are published for {name}; give a file with --weights FILE")
        path = fetch.locate(entry)
    else:
        path = Path(weights)
    architecture = entry.architecture if entry else name
    preprocessing = entry.preprocessing if entry else TORCHVISION
    arrays = read_arrays(path)
    digest = fetch.sha256(path)
    if weights is not None:
        named = keys.table_for(architecture, arrays).convention.preprocessing
        preprocessing = _stored_preprocessing(path) or named or preprocessing
        if entry is not None and not fetch.matches(digest, entry.sha256):
            entry = None
    if trunk_only is None:
        trunk_only = entry is not None and entry.trunk_only
    elif not trunk_only and entry is not None and entry.trunk_only:
        raise InputError(
            f"{name} ends before the classifier and gives no logits; load it with trunk_only, or choose another"
        )
    options = {"num_classes": _num_classes(architecture, arrays), **build_options}
    model = abstract(architecture, trunk_only=trunk_only, dtype=dtype, **options)
    source = entry.source if entry is not None and weights is None else str(path)
    assign(model, arrays, trunk_only=trunk_only, source=f"the weights {path}")
    model.eval()
    return Loaded(model, preprocessing, entry, name, source, digest)


def abstract(architecture: str, **options: Any) -> models.Network:
    """A network whose weights are only shapes, to be filled by `assign`; the arguments are those of `models.build`.

    Drawing 138 million random numbers, to be overwritten, takes seconds.
    """
    model = nnx.eval_shape(lambda: models.build(architecture, rngs=nnx.Rngs(0), **options))

    # Dropout's random state is no part of any file, and must be real for the network to be jitted.
    def start(shape: jax.ShapeDtypeStruct) -> jax.Array:
        return jax.random.key(0) if jnp.issubdtype(shape.dtype, jax.dtypes.prng_key) else jnp.zeros((), shape.dtype)

    nnx.update(model, jax.tree.map(start, nnx.state(model, nnx.RngState)))
    return model


def _num_classes(architecture: str, arrays: Mapping[str, np.ndarray]) -> int:
    """How many classes the classifier in `arrays` has; 1000 if it is missing, which `assign` reports."""
    table = keys.table_for(architecture, arrays)
    bias = f"{table.head[-1]}{table.convention.separator}{table.convention.arrays['bias']}" if table.head else ""
    return arrays[bias].size if bias in arrays else 1000


def _stored_preprocessing(path: Path) -> Preprocessing | None:
    """The preprocessing in a safetensors file's metadata, if it has any."""
    stored = read_metadata(path).get("preprocessing")
    if stored is None:
        return None
    try:
        facts = json.loads(stored)
        # JSON has no tuples.
        facts = {key: tuple(value) if isinstance(value, list) else value for key, value in facts.items()}
        return Preprocessing(**facts)
    except (ValueError, TypeError, AttributeError):
        allowed = ", ".join(field.name for field in fields(Preprocessing))
        raise InputError(
            f"{path} has unreadable preprocessing in its metadata ({stored}); it can have {allowed}"
        ) from None
