"""Masks to test: those of a dfm run, or of the published code's pickles."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from sparseshape_jax.errors import InputError
from sparseshape_jax.evaluation.frequency.images import ClassImages
from sparseshape_jax.evaluation.frequency.maps_file import read_maps
from sparseshape_jax.figures.frequency import mask_labels
from sparseshape_jax.frequency import Groups
from sparseshape_jax.weights.read import read_arrays


@dataclass(frozen=True)
class Masks:
    """One mask per class and share."""

    masks: UInt8[np.ndarray, "c x s s"]
    shares: Float[np.ndarray, " x"]
    """What they were asked to keep; of a pickle, what they keep on average."""
    labels: list[str]
    """What figures call the masks of each share."""
    groups: Groups | None
    """What controls are drawn from; None for masks of the published code, whose groups are not closed."""
    chosen_on: frozenset[str]
    """The prints of the images that they were chosen on, as far as it is known."""
    known: bool
    """Whether it is known."""

    def fingerprint(self) -> str:
        """The SHA-256 of the masks."""
        return hashlib.sha256(self.masks.tobytes()).hexdigest()


def read_masks(source: str, images: ClassImages, top: tuple[float, ...] | None) -> Masks:
    """The masks of the classes of `images`, in their order.

    Args:
        source: the folder of a dfm run, or a pickle of one array (S, S) per class.
        images: what they are to be tested on.
        top: which shares; all if None.

    Raises:
        InputError: no such file, an unfinished run, other classes, another size, a share that there is not, or masks
            that are empty or have values other than 0 and 1.
    """
    path = Path(source)
    if not path.exists():
        raise InputError(f"there are no masks {source}; give the folder of a dfm run, or a pickle, with --masks")
    found = _of_run(path, images, top) if path.is_dir() else _of_pickle(path, images, top)
    if (there := found.masks.shape[-1]) != images.size:
        raise InputError(
            f"the masks in {source} have {there}×{there} frequencies, and the network's images {images.size}×"
            f"{images.size} pixels; give masks of a network with the same input size"
        )
    if not np.isin(found.masks, (0, 1)).all():
        raise InputError(f"the masks in {source} have values other than 0 and 1; give masks, not maps of losses")
    if empty := [str(images.classes[c]) for c in np.flatnonzero((found.masks.sum(axis=(-2, -1)) == 0).any(axis=1))]:
        raise InputError(f"the masks in {source} keep nothing for {', '.join(empty)}; give masks that keep something")
    return found


def _of_run(folder: Path, images: ClassImages, top: tuple[float, ...] | None) -> Masks:
    maps = read_maps(folder)
    names = maps.classes.tolist()
    if strange := [name for name in images.classes if name not in names]:
        raise InputError(
            f"the masks in {folder} are for {', '.join(names[:10])}{', …' if len(names) > 10 else ''}, and the images"
            f" are of {', '.join(strange[:5])}; give images of the same classes, or choose some with --classes"
        )
    shares = maps.shares.tolist()
    wanted = shares if top is None else list(top)
    if unknown := [share for share in wanted if share not in shares]:
        raise InputError(
            f"{folder} has no masks for {', '.join(f'{share:g}' for share in unknown)}; it has"
            f" {', '.join(f'{share:g}' for share in shares)}, and dfm makes others with --top"
        )
    rows = [names.index(name) for name in images.classes]
    masks = maps.masks[rows][:, [shares.index(share) for share in wanted]]
    groups = maps.groups if maps.symmetry == "exact" else None
    labels = mask_labels(wanted, maps.method)
    return Masks(masks, np.array(wanted), labels, groups, frozenset(maps.prints.tolist()), known=True)


def _of_pickle(path: Path, images: ClassImages, top: tuple[float, ...] | None) -> Masks:
    if top is not None:
        raise InputError(
            f"--top chooses among the shares of a dfm run, and {path} has one mask per class; leave it out"
        )
    arrays = read_arrays(path)
    if len(arrays) != len(images.classes):
        raise InputError(
            f"{path} has {len(arrays)} masks, and there are images of {len(images.classes)} classes;"
            " it must have one per class, in the order of the class names"
        )
    shapes = {array.shape for array in arrays.values()}
    shape = next(iter(shapes))
    if len(shapes) > 1 or len(shape) != 2 or shape[0] != shape[1]:
        raise InputError(f"{path} has arrays of shapes {sorted(shapes)}; masks are squares, (S, S), of one size")
    keys = list(arrays)
    if all(key.isdecimal() for key in keys):
        keys = sorted(keys, key=int)
    stacked = np.stack([arrays[key] for key in keys]).astype(np.float64)
    if not np.isin(stacked, (0, 1)).all():
        raise InputError(f"the masks in {path} have values other than 0 and 1; give masks, not maps of losses")
    masks = stacked.astype(np.uint8)[:, None]
    shares = [round(float(masks.mean()), 4)]
    return Masks(masks, np.array(shares), mask_labels(shares, "removal"), None, frozenset(), known=False)
