"""From a name to a network that is ready to use: find the file, check it, build the network, and fill it."""

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

from sparseshape_jax import downloads, models
from sparseshape_jax.errors import InputError
from sparseshape_jax.preprocessing import TORCHVISION, Preprocessing
from sparseshape_jax.top_k.spec import TopK
from sparseshape_jax.weights import keys
from sparseshape_jax.weights.assign import assign
from sparseshape_jax.weights.catalog import CATALOG, Entry
from sparseshape_jax.weights.locate import locate
from sparseshape_jax.weights.read import read_arrays, read_metadata

LAST = "last.safetensors"
"""The file in its folder to which a training run writes its weights."""


@dataclass(frozen=True)
class Loaded:
    """A network with its weights, and where they came from."""

    network: models.Network
    """In eval mode."""
    preprocessing: Preprocessing
    """How the weights want their images."""
    entry: Entry | None
    """The catalog's entry, if the file is the published one."""
    name: str
    """The name that was asked for: of the catalog, or an architecture."""
    source: str
    """The package or the file, for messages and results."""
    sha256: str
    """Of the file."""
    classes: tuple[str, ...] | None = None
    """The classes in the order of the logits, if the file says them."""
    top_k: tuple[TopK, ...] = ()
    """The Top-K that the weights were trained with."""
    num_classes: int = 1000
    """The number of logits, unless the network is a trunk."""


def load(
    name: str | None,
    *,
    weights: str | os.PathLike[str] | None = None,
    trunk_only: bool | None = None,
    dtype: Any = None,
    **build_options: Any,
) -> Loaded:
    """Load a network with published weights, or with those in a file.

    Args:
        name: a name of the catalog (`python -m sparseshape_jax.weights list`), or with `weights` also an
            architecture, or None for the one that the file's metadata names.
        weights: a file that `read_arrays` reads, in place of the published one, or the folder of a training run. The
            number of classes is the file's. The preprocessing is what its safetensors metadata says, else what its
            layers' names tell, else the catalog's for `name`, else torchvision's. The other metadata of a training run
            are used, too: `options` for building, `classes` and `topk` (all JSON).
        trunk_only: build the network up to its last pool, without a classifier. By default as the catalog says.
        dtype: of the computation, for example `jax.numpy.bfloat16`; the weights stay float32.
        build_options: the architecture's own (`pooling`, `width`, …); they take precedence over the file's.

    Raises:
        InputError: unknown name, no weights for it, unreadable file or metadata, wrong hash, or weights of another
            network.
    """
    file = None if weights is None else weights_file(weights)
    metadata = {} if file is None else read_metadata(file)
    if name is None:
        name = _stored_name(metadata, file)
    entry = CATALOG.get(name)
    architecture = entry.architecture if entry else name
    _check_architecture(name, architecture, metadata, file)
    if file is not None:
        path = file
    elif entry is not None:
        path = locate(entry)
    else:
        raise InputError(f"no weights are published for {name}; give a file with --weights FILE")
    arrays = read_arrays(path)
    digest = downloads.sha256(path)
    preprocessing = entry.preprocessing if entry else TORCHVISION
    if file is not None:
        named = keys.table_for(architecture, arrays).convention.preprocessing
        preprocessing = _stored_preprocessing(metadata, path) or named or preprocessing
        if entry is not None and not downloads.matches(digest, entry.sha256):
            entry = None
    if trunk_only is None:
        trunk_only = entry is not None and entry.trunk_only
    elif not trunk_only and entry is not None and entry.trunk_only:
        raise InputError(
            f"{name} ends before the classifier and gives no logits; load it with trunk_only, or choose another"
        )
    options = {
        "num_classes": _num_classes(architecture, arrays),
        **_stored_options(metadata, architecture, path),
        **build_options,
    }
    network = abstract(architecture, trunk_only=trunk_only, dtype=dtype, **options)
    assign(network, arrays, trunk_only=trunk_only, source=f"the weights {path}")
    network.eval()
    return Loaded(
        network,
        preprocessing,
        entry,
        name,
        source=entry.source if entry is not None and file is None else str(path),
        sha256=digest,
        classes=_stored_classes(metadata, options["num_classes"], path),
        top_k=_stored_top_k(metadata, path),
        num_classes=options["num_classes"],
    )


def weights_file(weights: str | os.PathLike[str]) -> Path:
    """The file itself, or the one in the folder of a training run.

    Raises:
        InputError: a folder without one.
    """
    path = Path(weights)
    if not path.is_dir():
        return path
    if not (path / LAST).is_file():
        raise InputError(f"{path} is not a training run: it has no {LAST}; give a file of weights, or another folder")
    return path / LAST


def stored_architecture(weights: str | os.PathLike[str]) -> str | None:
    """The architecture in the metadata of a file of weights or of a training run's, if it is one that can be built.

    Raises:
        InputError: no such file, damaged, or a folder that is not a training run.
    """
    name = read_metadata(weights_file(weights)).get("architecture")
    return name if name in models.architectures() else None


def abstract(architecture: str, **options: Any) -> models.Network:
    """A network whose weights are only shapes, to be filled by `assign`; the arguments are those of `models.build`.

    It takes seconds to draw 138 million random numbers that are then overwritten.
    """
    model = nnx.eval_shape(lambda: models.build(architecture, rngs=nnx.Rngs(0), **options))

    # Dropout's random state is not part of any file, and must be real for the network to be jitted.
    def start(shape: jax.ShapeDtypeStruct) -> jax.Array:
        return jax.random.key(0) if jnp.issubdtype(shape.dtype, jax.dtypes.prng_key) else jnp.zeros((), shape.dtype)

    nnx.update(model, jax.tree.map(start, nnx.state(model, nnx.RngState)))
    return model


def _stored_name(metadata: Mapping[str, str], file: Path | None) -> str:
    if "architecture" in metadata:
        return metadata["architecture"]
    which = "no model is named" if file is None else f"{file} does not say which network its weights are for"
    raise InputError(f"{which}; name it with --model")


def _check_architecture(name: str, architecture: str, metadata: Mapping[str, str], file: Path | None) -> None:
    """Refuse a `name` that is not known, and a file for another architecture."""
    known = models.architectures()
    if architecture not in known:
        raise InputError(
            f"there is no model called {name!r}; the catalog has {', '.join(CATALOG)}, and with a file of weights"
            f" the name can be an architecture: {', '.join(known)}"
        )
    stored = metadata.get("architecture")
    if stored in known and stored != architecture:
        raise InputError(
            f"the weights {file} do not fit {architecture}: their metadata says that they are {stored}'s;"
            " ask for that network, or give other weights"
        )


def _num_classes(architecture: str, arrays: Mapping[str, np.ndarray]) -> int:
    """How many classes the classifier in `arrays` has; 1000 if it is missing, which `assign` reports."""
    table = keys.table_for(architecture, arrays)
    bias = f"{table.head[-1]}{table.convention.separator}{table.convention.arrays['bias']}" if table.head else ""
    return arrays[bias].size if bias in arrays else 1000


def _stored_preprocessing(metadata: Mapping[str, str], path: Path) -> Preprocessing | None:
    hint = f"it can have {_names(Preprocessing)}"
    facts = _stored(metadata, "preprocessing", dict, path, hint)
    try:
        # JSON has no tuples.
        facts = facts and {key: tuple(value) if isinstance(value, list) else value for key, value in facts.items()}
        return None if facts is None else Preprocessing(**facts)
    except TypeError:
        raise _unreadable(metadata, "preprocessing", path, hint) from None


def _stored_options(metadata: Mapping[str, str], architecture: str, path: Path) -> dict[str, Any]:
    allowed = models.architecture(architecture).options
    hint = f"{architecture} can have {', '.join(sorted(allowed))}"
    options = _stored(metadata, "options", dict, path, hint) or {}
    if set(options) - allowed:
        raise _unreadable(metadata, "options", path, hint)
    return options


def _stored_classes(metadata: Mapping[str, str], count: int, path: Path) -> tuple[str, ...] | None:
    hint = f"there must be {count} names, each once"
    classes = _stored(metadata, "classes", list, path, hint)
    if classes is None:
        return None
    if not all(isinstance(name, str) for name in classes) or len(set(classes)) != len(classes) or len(classes) != count:
        raise _unreadable(metadata, "classes", path, hint)
    return tuple(classes)


def _stored_top_k(metadata: Mapping[str, str], path: Path) -> tuple[TopK, ...]:
    hint = f"each Top-K can have {_names(TopK)}"
    try:
        return tuple(TopK(**facts) for facts in _stored(metadata, "topk", list, path, hint) or ())
    except TypeError:
        raise _unreadable(metadata, "topk", path, hint) from None


def _stored(metadata: Mapping[str, str], key: str, kind: type, path: Path, hint: str) -> Any:
    """The JSON under `key`, which must be a `kind`; None if there is none."""
    if key not in metadata:
        return None
    try:
        value = json.loads(metadata[key])
    except ValueError:
        value = None
    if not isinstance(value, kind):
        raise _unreadable(metadata, key, path, hint)
    return value


def _unreadable(metadata: Mapping[str, str], key: str, path: Path, hint: str) -> InputError:
    return InputError(f"{path} has unreadable {key} in its metadata ({metadata[key][:200]}); {hint}")


def _names(settings: type) -> str:
    return ", ".join(field.name for field in fields(settings))
