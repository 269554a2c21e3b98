"""The Fréchet distance of 3,000 images to 100: this package against the ways of torch-fidelity and pytorch-fid.

    python benchmarks/fid.py
    python benchmarks/fid.py --features 512 --sqrtm

Features are random, rectified, of rank 256, as those of a network are; Inception has 2048. Everyone computes means and
covariances, too. `eigenvalues` is torch-fidelity 0.4's order of work (eigenvalues of the product of the covariances),
`--sqrtm` adds that of pytorch-fid 0.3, clean-fid and torch-fidelity 0.3 (the matrix square root). Both are slow with
2048 features (minutes), so each runs once, after this package has run `--rounds` times. The ratio is one of CPU
seconds, which other load on the machine changes least.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import scipy
import scipy.linalg

from sparseshape_jax.fid import frechet_distance

Distance = Callable[[np.ndarray, np.ndarray], float]


def made_features(random: np.random.Generator, count: int, shift: float, mix: np.ndarray) -> np.ndarray:
    """Rectified linear mixtures of 256 normal variables, (count, features) float32."""
    hidden = random.normal(0.2 * shift, 1 + 0.1 * shift, (count, len(mix)))
    return np.maximum(hidden @ mix, 0).astype(np.float32)


def moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance as the others compute them."""
    return x.mean(axis=0, dtype=np.float64), np.cov(x.astype(np.float64), rowvar=False)


def eigenvalues(x: np.ndarray, y: np.ndarray) -> float:
    """torch-fidelity 0.4: the eigenvalues of C₁C₂."""
    (mean1, c1), (mean2, c2) = moments(x), moments(y)
    roots = np.sqrt(np.linalg.eigvals(c1 @ c2).astype("complex128")).real.sum()
    return float((mean1 - mean2) @ (mean1 - mean2) + np.trace(c1) + np.trace(c2) - 2 * roots)


def sqrtm(x: np.ndarray, y: np.ndarray) -> float:
    """pytorch-fid 0.3: the matrix square root of C₁C₂, with 1e-6 on the diagonals if it is not finite."""
    (mean1, c1), (mean2, c2) = moments(x), moments(y)
    root = scipy.linalg.sqrtm(c1 @ c2)
    if not np.isfinite(root).all():
        offset = 1e-6 * np.eye(len(c1))
        root = scipy.linalg.sqrtm((c1 + offset) @ (c2 + offset))
    return float((mean1 - mean2) @ (mean1 - mean2) + np.trace(c1) + np.trace(c2) - 2 * np.trace(root.real))


def timed(function: Distance, x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """The distance, and the seconds that it takes: elapsed, and of all cores."""
    began = time.perf_counter(), time.process_time()
    value = function(x, y)
    return value, time.perf_counter() - began[0], time.process_time() - began[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=2048, help="of each image (default: 2048)")
    parser.add_argument("--fakes", type=int, default=3000)
    parser.add_argument("--reals", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5, help="turns of this package; the median counts (default: 5)")
    parser.add_argument("--sqrtm", action="store_true", help="time pytorch-fid's way, too, which is slower still")
    options = parser.parse_args()
    random = np.random.default_rng(0)
    mix = random.normal(size=(256, options.features)) / 16
    x = made_features(random, options.fakes, 1.0, mix)
    y = made_features(random, options.reals, 0.0, mix)
    print(f"{options.fakes} and {options.reals} images, {options.features} features; numpy {np.__version__}", end="")
    print(f", scipy {scipy.__version__}")
    rounds = [timed(frechet_distance, x, y) for _ in range(options.rounds)]
    exact = rounds[0][0]
    elapsed, cpu = (statistics.median(one[column] for one in rounds) for column in (1, 2))
    print(f"\n{'':<12}  {'elapsed':>8}  {'CPU s':>8}  {'ratio':>6}  {'distance':>12}  difference")
    print(f"{'nuclear norm':<12}  {elapsed:8.2f}  {cpu:8.2f}  {1:6.1f}  {exact:12.6f}", flush=True)
    for function in (eigenvalues, *([sqrtm] if options.sqrtm else [])):
        value, seconds, of_cores = timed(function, x, y)
        print(f"{function.__name__:<12}  {seconds:8.2f}  {of_cores:8.2f}  {of_cores / cpu:6.1f}", end="")
        print(f"  {value:12.6f}  {value - exact:10.1e}", flush=True)


if __name__ == "__main__":
    main()
