"""The files of a `dfm` run: losses.npz and maps.npz."""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from sparseshape_jax import output
from sparseshape_jax.errors import InputError
from sparseshape_jax.frequency import Groups, groups

LOSSES, MAPS = "losses.npz", "maps.npz"


@dataclass(frozen=True)
class Losses:
    """The loss of every image without every group of frequencies: what a run of `dfm` measures."""

    loss: Float[np.ndarray, "n groups"]
    """float32; NaN where a screen left it out."""
    baseline: Float[np.ndarray, " n"]
    """Of the whole images."""
    group: Int[np.ndarray, "s s"]
    """Of every frequency."""
    audited: Bool[np.ndarray, "c groups"]
    """Which groups were evaluated only to check a screen."""
    names: np.ndarray
    label: Int[np.ndarray, " n"]
    """Positions in `classes`."""
    classes: np.ndarray
    facts: dict[str, Any] | None
    """What decides these numbers."""


@dataclass(frozen=True)
class StageLosses:
    """The loss of every image with the frequencies of every candidate alone: what `dfm --method joint` measures."""

    loss: Float[np.ndarray, "stages n candidates"]
    """Of the stages that are done, float32."""
    baseline: Float[np.ndarray, " n"]
    """Of the whole images."""
    names: np.ndarray
    label: Int[np.ndarray, " n"]
    """Positions in `classes`."""
    classes: np.ndarray
    facts: dict[str, Any] | None
    """What decides these numbers."""


@dataclass(frozen=True)
class Maps:
    """What a run of `dfm` concludes."""

    loss: Float[np.ndarray, "c s s"]
    """The mean loss of each class without each frequency (and its group); NaN if none was removed alone."""
    baseline: Float[np.ndarray, " c"]
    masks: UInt8[np.ndarray, "c x s s"]
    """1 at the dominant frequencies of each class."""
    shares: Float[np.ndarray, " x"]
    """What the masks were asked to keep; of the joint method, what its candidates keep on average."""
    energy: Float[np.ndarray, "c s s"]
    """The mean of |FFT|² over the images of each class, summed over the channels of the network's input."""
    classes: np.ndarray
    patch: int
    symmetry: str
    screened: bool
    network: str
    """What the network is called."""
    prints: np.ndarray
    """Of the images that the masks were chosen on."""
    method: str = "removal"
    """Files of the first version have none."""

    @property
    def groups(self) -> Groups:
        """The groups that were removed; of the joint method, each frequency and its negative."""
        return groups(self.loss.shape[-1], self.patch, "exact" if self.symmetry == "exact" else "reference")


def write(path: Path, record: Losses | StageLosses | Maps, **more: np.ndarray) -> None:
    """Write a record as `.npz`, all or nothing; the same record gives the same bytes."""
    arrays = {each.name: getattr(record, each.name) for each in fields(record)} | more
    if "facts" in arrays:
        arrays["facts"] = np.array(json.dumps(arrays["facts"], sort_keys=True))
    with output.replacing(path) as temporary:
        np.savez(temporary, **arrays)


def read_losses(path: Path) -> Losses:
    """Read losses.npz of the method removal; raises `InputError` if it is damaged."""
    losses = Losses(**_with_facts(path, Losses))
    if losses.loss.ndim != 2 or losses.loss.shape != (len(losses.names), int(losses.group.max()) + 1):
        raise _damaged(path, f"losses have shape {losses.loss.shape}")
    return losses


def read_stage_losses(path: Path) -> StageLosses:
    """Read losses.npz of the method joint; raises `InputError` if it is damaged."""
    losses = StageLosses(**_with_facts(path, StageLosses))
    if losses.loss.ndim != 3 or losses.loss.shape[1] != len(losses.names):
        raise _damaged(path, f"losses have shape {losses.loss.shape}")
    return losses


def _with_facts(path: Path, record: type) -> dict[str, Any]:
    arrays = _read(path, record)
    try:
        arrays["facts"] = json.loads(str(arrays["facts"]))
    except ValueError:
        raise _damaged(path, "its facts are not JSON") from None
    return arrays


def read_maps(folder: Path) -> Maps:
    """Read maps.npz of a finished run.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = folder / MAPS
    if not path.is_file():
        begun = any(folder.glob(".state-*")) or (folder / LOSSES).is_file()
        state = "an unfinished run of dfm" if begun else "no run of evaluate.py frequency dfm"
        raise InputError(f"{folder} has no {MAPS}: it holds {state}; let one finish there, or give another folder")
    arrays = _read(path, Maps)
    size = arrays["loss"].shape[-1]
    expected = (len(arrays["classes"]), len(arrays["shares"]), size, size)
    if arrays["masks"].shape != expected:
        raise _damaged(path, f"masks have shape {arrays['masks'].shape}")
    names = ("patch", "symmetry", "screened", "network", "method")
    plain = {name: arrays[name].item() for name in names if name in arrays}
    return Maps(**{**arrays, **plain})


def _read(path: Path, record: type) -> dict[str, Any]:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            there = [each.name for each in fields(record) if each.name in file or each.default is MISSING]
            return {name: file[name] for name in there}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise _damaged(path, " ".join(str(error).split())) from None


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(f"{path} is damaged or cut short ({reason}); delete it, and run dfm again")


def by_class(values: Float[np.ndarray, "n ..."], label: Int[np.ndarray, " n"], classes: int) -> np.ndarray:
    """The mean over the images of each class, in float64: (C, …)."""
    return np.stack([values[label == one].mean(axis=0, dtype=np.float64) for one in range(classes)])


def halves(
    values: Float[np.ndarray, "n m"], label: Int[np.ndarray, " n"], one: int, seed: int
) -> list[Float[np.ndarray, " m"]]:
    """The means over two halves of a class's images, drawn at random, in float64; none of fewer than two images."""
    own = np.flatnonzero(label == one)
    if len(own) < 2:
        return []
    order = np.random.default_rng([seed, one]).permutation(own)
    return [values[part].mean(axis=0, dtype=np.float64) for part in np.array_split(order, 2)]


def plain_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with Python's numbers, and None in place of NaN."""
    found = {}
    for name, value in row.items():
        value = value.item() if isinstance(value, np.generic) else value
        found[name] = None if isinstance(value, float) and value != value else value
    return found
