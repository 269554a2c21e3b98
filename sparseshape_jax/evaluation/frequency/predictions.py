"""What a network takes every image for, with each of many masks: measured once, and kept in the result folder."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from sparseshape_jax import output
from sparseshape_jax.evaluation.frequency.network import Measured
from sparseshape_jax.frequency.filtered import UNFILTERED
from sparseshape_jax.results import Results, fingerprint

PREDICTIONS = "predictions.npz"


def predictions(
    found: Measured, masks: UInt8[np.ndarray, "m s s"], results: Results, facts: dict[str, Any] | None
) -> Int[np.ndarray, "n m1"]:
    """The class that each image is taken for: whole (column 0), and with each mask. Predictions of an earlier run with
    the same `facts` are read.

    Returns positions among the measured classes; the number of these stands for any other class.

    Raises:
        InputError: logits that are not numbers.
    """
    path = results.folder / PREDICTIONS
    shape = (len(found.images), 1 + len(masks))
    earlier = _read(path, facts)
    if earlier is not None and earlier.shape == shape:
        return earlier
    lists = [np.append(UNFILTERED, np.arange(len(masks)))] * len(found.images)
    state = results.state_file(None if facts is None else fingerprint(facts))
    logits = np.stack(found.show(masks, lists, "prediction", state))
    positions = found.images.positions
    place = np.searchsorted(positions, logits).clip(max=len(positions) - 1)
    own = np.where(positions[place] == logits, place, len(positions))
    with output.replacing(path) as temporary:
        np.savez_compressed(
            temporary,
            predictions=own,
            names=np.array(found.images.names),
            classes=np.array(found.images.classes),
            facts=np.array(json.dumps(facts, sort_keys=True)),
        )
    state.unlink(missing_ok=True)
    return own


def _read(path: Path, facts: dict[str, Any] | None) -> np.ndarray | None:
    if facts is None or not path.is_file():
        return None
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return file["predictions"] if json.loads(str(file["facts"])) == json.loads(json.dumps(facts)) else None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None  # measured again
