"""Dominant frequencies: those whose removal raises a class's loss most. And how well a class does on them alone."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from sparseshape_jax.errors import InputError
from sparseshape_jax.frequency.groups import Groups


def wanted(share: float, size: int) -> int:
    """How many frequencies the share of an S×S map is: max(1, ⌊share · S²⌋).

    The reference keeps everything where ⌊share · S²⌋ is 0.

    Raises:
        InputError: a share outside (0, 1].
    """
    if not 0 < share <= 1:
        raise InputError(f"a share of the frequencies is {share:g}; it must be above 0 and at most 1")
    return max(1, math.floor(share * size**2 + 1e-9))  # 0.29 * 100 is not quite 29


def dominant(loss: Float[np.ndarray, "*n groups"], groups: Groups, share: float) -> UInt8[np.ndarray, "*n s s"]:
    """The dominant frequency map: 1 at the frequencies whose removal raises the loss most.

    Exact groups are taken whole, from the highest loss down (on a tie the lower number first), until at least
    max(1, ⌊share · S²⌋) frequencies are in. So more than the share can be kept. NaN marks groups that were not
    evaluated; they are never taken.

    For the reference's groups the rule is the reference's: all entries of the map that are at least as large as the
    ⌊share · S²⌋-th largest one. It differs from ours on ties only.

    Args:
        loss: without each group, (…, groups), in float64 if ties matter.
        groups: as `groups` returns them.
        share: of all S² frequencies.

    Raises:
        InputError: a share outside (0, 1], or losses for another number of groups.
    """
    loss = np.asarray(loss)
    count = wanted(share, groups.size)
    if loss.shape[-1:] != (groups.count,):
        raise InputError(f"losses have shape {loss.shape}; there are {groups.count} groups")
    if groups.symmetry == "reference":
        maps = groups.spread(loss)
        threshold = np.sort(maps.reshape(*loss.shape[:-1], -1))[..., -count, None, None]
        return (maps >= threshold).astype(np.uint8)
    order = np.argsort(-loss, axis=-1, kind="stable")  # NaN comes last
    sizes = groups.sizes[order]
    before = np.cumsum(sizes, axis=-1) - sizes
    known = ~np.isnan(np.take_along_axis(loss, order, axis=-1))
    chosen = np.zeros(loss.shape, bool)
    np.put_along_axis(chosen, order, (before < count) & known, axis=-1)
    return chosen[..., groups.of].astype(np.uint8)


def expected_misses(
    loss: Float[np.ndarray, " groups"], audited: Bool[np.ndarray, " groups"], groups: Groups, share: float
) -> float:
    """How many groups of the whole dominant map a screen has left out, estimated from an audit.

    The audited groups were drawn at random from those that the screen left out, and stand for all of these. Those that
    are dominant themselves are known, and are not missed. Each of n stands for an n-th of what was left out, so with a
    handful of them the estimate is coarse, and rather low: its mean over many classes says more than that of one.

    Args:
        loss: without each group; NaN if it was not evaluated.
        audited: which groups were evaluated for the audit.
        groups: exact ones.
        share: of all frequencies.
    """
    unknown = int(np.isnan(loss).sum())
    if not unknown:
        return 0.0
    if not audited.any():
        return float("nan")
    weight = 1 + unknown / int(audited.sum())
    order = np.argsort(-loss, kind="stable")
    sizes = (groups.sizes * np.where(audited, weight, 1.0))[order]
    room = wanted(share, groups.size) - (np.cumsum(sizes) - sizes)
    taken = np.clip(room / sizes, 0, 1)  # the last one counts in part, as it stands for several
    return float(taken[audited[order]].sum() * (weight - 1))


def intersection_over_union(one: np.ndarray, other: np.ndarray) -> float:
    """The share of frequencies in both masks among those in any of them; NaN if both are empty."""
    one, other = np.asarray(one) > 0, np.asarray(other) > 0
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else float("nan")


@dataclass(frozen=True)
class Rates:
    """What a network takes images of C classes for."""

    confusion: Int[np.ndarray, "c k"]
    """Images by their class (rows) and the class that they are taken for (columns; more of them if the network knows
    others)."""

    @property
    def tpr(self) -> Float[np.ndarray, " c"]:
        """For each class, the share of its images that are taken for it; NaN without images."""
        own = np.diagonal(self.confusion).astype(float)
        return _share(own, self.confusion.sum(axis=1))

    @property
    def fpr(self) -> Float[np.ndarray, " c"]:
        """For each class, the share of the other classes' images that are taken for it; NaN if there are none."""
        classes = len(self.confusion)
        taken = self.confusion[:, :classes].sum(axis=0) - np.diagonal(self.confusion)
        return _share(taken.astype(float), self.confusion.sum() - self.confusion.sum(axis=1))


def rates(predictions: Int[np.ndarray, " n"], labels: Int[np.ndarray, " n"], classes: int | None = None) -> Rates:
    """The confusion matrix of predictions, and with it the rates of true and false positives of each class.

    Args:
        predictions: the class that each image is taken for, from 0.
        labels: its own class, from 0 to classes - 1.
        classes: how many have images; by default the largest label and one more. Predictions beyond them are counted
            in columns of their own.
    """
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    classes = int(labels.max()) + 1 if classes is None else classes
    columns = max(classes, int(predictions.max()) + 1)
    confusion = np.zeros((classes, columns), int)
    np.add.at(confusion, (labels, predictions), 1)
    return Rates(confusion)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
