"""Distances between two sets of features: Fréchet's, exact where covariances are singular, and the kernel distance.

Sources: Heusel et al. (2017), Bińkowski et al. (2018). All arithmetic is in float64, in NumPy.

The Fréchet distance needs the trace of the square root of the product of two covariances. Other programs compute it
from that d×d product, which is slow for d = 2048 and loses digits if it is singular, as it is for 100 images. With
centered features A and B, divided by √(n - 1), the trace equals the nuclear norm of A·Bᵀ: the sum of at most
min(n₁, n₂) singular values.
"""

import math
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from sparseshape_jax.errors import InputError

Features = Float[np.ndarray, "n d"]
SUBSETS = 100
"""Of the kernel distance, as in torch-fidelity and clean-fid."""
SEED = 2020
"""Of the subsets, as in torch-fidelity."""


@dataclass(frozen=True)
class Statistics:
    """The mean and the covariance (with n - 1) of a set of features."""

    mean: Float[np.ndarray, " d"]
    covariance: Float[np.ndarray, "d d"]


@dataclass(frozen=True)
class KernelDistance:
    """The kernel distance: mean and standard deviation over the subsets."""

    mean: float
    sd: float
    subset_size: int


def frechet_distance(first: Features | Statistics, second: Features | Statistics) -> float:
    """‖μ₁ - μ₂‖² + tr C₁ + tr C₂ - 2 tr √(C₁C₂). The order of the two does not matter.

    Args:
        first: features (n, d), n at least 2, or statistics alone.
        second: the same of the other set, with the same d.

    Raises:
        InputError: fewer than two rows, other shapes, or numbers that are not finite.
    """
    (mean1, factor1), (mean2, factor2) = _moments(first), _moments(second)
    if mean1.shape != mean2.shape:
        raise InputError(f"the two sets have {len(mean1)} and {len(mean2)} features; take both from the same network")
    traces = (factor1**2).sum() + (factor2**2).sum()
    if min(len(factor1), len(factor2)) >= len(mean1):
        # R of a QR decomposition has the same FᵀF, and d rows.
        factor1, factor2 = (np.asarray(np.linalg.qr(factor, mode="r")) for factor in (factor1, factor2))
    root_trace = np.linalg.svd(factor1 @ factor2.T, compute_uv=False).sum()
    difference = mean1 - mean2
    return float(difference @ difference + traces - 2 * root_trace)


def kernel_distance(
    first: Features, second: Features, *, subset_size: int | None = None, subsets: int = SUBSETS, seed: int = SEED
) -> KernelDistance:
    """The unbiased squared MMD with the kernel (x·y/d + 1)³, over random subsets.

    The subsets are torch-fidelity's if `first` are the fakes: from one `RandomState(seed)`, each time those of the
    first set and then those of the second one, without replacement.

    Args:
        first: features (n₁, d).
        second: features (n₂, d).
        subset_size: m, from 2 to min(n₁, n₂). By default min(1000, n₁, n₂).
        subsets: how many.
        seed: of the subsets.

    Raises:
        InputError: fewer than two rows, other shapes, numbers that are not finite, or a subset size out of bounds.
    """
    x, y = _checked(first), _checked(second)
    if x.shape[1] != y.shape[1]:
        raise InputError(f"the two sets have {x.shape[1]} and {y.shape[1]} features; take both from the same network")
    fewest = min(len(x), len(y))
    size = min(1000, fewest) if subset_size is None else subset_size
    if not 2 <= size <= fewest:
        raise InputError(
            f"the subset size is {size}; it must be from 2 to {fewest}, the number of images in the smaller set"
        )
    random = np.random.RandomState(seed)
    kernel = _Kernel(x, y, whole=(len(x) + len(y)) ** 2 <= 3 * subsets * size**2)
    found = [
        kernel.unbiased_mmd(random.choice(len(x), size, replace=False), random.choice(len(y), size, replace=False))
        for _ in range(subsets)
    ]
    return KernelDistance(float(np.mean(found)), float(np.std(found)), size)


def rank(features: Features | Statistics) -> int:
    """The rank of the covariance: at most n - 1 of n images. Features that never change lower it, too."""
    if isinstance(features, Statistics):
        return int(np.linalg.matrix_rank(features.covariance, hermitian=True))
    factor = _moments(features)[1]
    smaller = factor @ factor.T if len(factor) < factor.shape[1] else factor.T @ factor  # both have the same rank
    return int(np.linalg.matrix_rank(smaller, hermitian=True))


def read_statistics(path: str | os.PathLike[str]) -> Statistics:
    """Read a `.npz` with `mu` and `sigma`, as pytorch-fid writes it.

    Raises:
        InputError: no such file, no such arrays, or a covariance that does not fit the mean or is not finite.
    """
    try:
        with Path(path).open("rb") as opened:
            file = np.load(opened, allow_pickle=False)
            mean, covariance = np.asarray(file["mu"], float), np.asarray(file["sigma"], float)
    except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile):
        raise InputError(f"{path} cannot be read as statistics; give a .npz with the arrays mu and sigma") from None
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise InputError(f"{path} has mu of shape {mean.shape} and sigma of {covariance.shape}; give (d,) and (d, d)")
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise InputError(f"{path} has statistics that are not finite; compute them again")
    return Statistics(mean, covariance)


def _checked(features: Features) -> Float[np.ndarray, "n d"]:
    array = np.asarray(features, np.float64)
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(f"features have shape {array.shape}; give (images, features)")
    if len(array) < 2:
        raise InputError("there is 1 image on a side; a covariance needs at least 2")
    if not np.isfinite(array).all():
        raise InputError("some features are not finite; check the weights and the images")
    return array


def _moments(of: Features | Statistics) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, "m d"]]:
    """The mean, and a factor F with FᵀF = C."""
    if isinstance(of, Statistics):
        values, vectors = np.linalg.eigh((of.covariance + of.covariance.T) / 2)
        return np.asarray(of.mean, float), np.sqrt(values.clip(min=0))[:, None] * vectors.T
    array = _checked(of)
    mean = array.mean(axis=0)
    return mean, (array - mean) / math.sqrt(len(array) - 1)


class _Kernel:
    """The kernel's matrices; `whole` computes them once for all subsets."""

    def __init__(self, x: np.ndarray, y: np.ndarray, *, whole: bool) -> None:
        self.x, self.y = x, y
        self.matrices = (_kernel(x, x), _kernel(y, y), _kernel(x, y)) if whole else None

    def unbiased_mmd(self, i: np.ndarray, j: np.ndarray) -> float:
        if self.matrices is None:
            x, y = self.x[i], self.y[j]
            xx, yy, xy = _kernel(x, x), _kernel(y, y), _kernel(x, y)
        else:
            xx, yy, xy = (
                matrix[np.ix_(rows, columns)]
                for matrix, rows, columns in zip(self.matrices, (i, j, i), (i, j, j), strict=True)
            )
        m = len(i)
        within = xx.sum() - np.trace(xx) + yy.sum() - np.trace(yy)
        return within / (m * (m - 1)) - 2 * xy.sum() / m**2


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.T / x.shape[1] + 1) ** 3
