"""The distances: the libraries' values, analytic cases, and properties."""

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from sparseshape_jax import InputError
from sparseshape_jax.fid import Statistics, frechet_distance, kernel_distance, rank, read_statistics

CASES = ("small", "equal_sizes", "rank_deficient", "identical", "tiny")
LIBRARIES = ("torch_fidelity_0.4.0", "torch_fidelity_0.3.0", "pytorch_fid_0.3.0", "clean_fid_0.1.35")


def recipe(seed: int, n: int, d: int, rank: int, shift: float) -> np.ndarray:
    mix = np.random.RandomState(7).standard_normal((rank, d)) / np.sqrt(rank)
    bias = 0.5 * np.random.RandomState(8).standard_normal(d)
    z = np.random.RandomState(seed).standard_normal((n, rank)) * (1 + 0.1 * shift) + 0.2 * shift
    return np.maximum(z @ mix + bias, 0).astype(np.float32)


@pytest.fixture(params=CASES)
def case(request, cases):
    found = cases[request.param]
    shifts = (found["shift"], 0.0)
    sets = [
        recipe(seed, n, found["d"], found["rank"], shift)
        for seed, n, shift in zip(found["seeds"], found["sizes"], shifts, strict=True)
    ]
    np.testing.assert_allclose([features.sum(dtype=float) for features in sets], found["checksum"], rtol=1e-12)
    return found, *sets


def test_it_equals_the_exact_and_the_libraries_values(case):
    expected, x, y = case
    found = frechet_distance(x, y)
    assert found == pytest.approx(expected["fid_exact_float64"], rel=1e-9, abs=1e-9)
    for library in LIBRARIES:
        assert found == pytest.approx(expected[f"fid_{library}"], abs=1e-3)


def test_the_kernel_distance_draws_torch_fidelitys_subsets(case):
    expected, x, y = case
    found = kernel_distance(x, y, subset_size=expected["subset_size"])
    assert (found.mean, found.sd) == pytest.approx(expected["kid_float64"], abs=1e-9)
    assert (found.mean, found.sd) == pytest.approx(expected["kid_torch_fidelity_0.4.0"], abs=1e-6)


def test_statistics_alone_give_the_same(cases):
    for name in ("small", "equal_sizes", "tiny"):
        one = cases[name]
        x = recipe(one["seeds"][0], one["sizes"][0], one["d"], one["rank"], one["shift"])
        y = recipe(one["seeds"][1], one["sizes"][1], one["d"], one["rank"], 0.0)
        sx, sy = (Statistics(f.mean(0, dtype=float), np.cov(f.astype(float), rowvar=False)) for f in (x, y))
        exact = one["fid_exact_float64"]
        for pair in ((sx, sy), (x, sy), (sx, y)):
            assert frechet_distance(*pair) == pytest.approx(exact, abs=1e-5), name


def test_two_gaussians_that_commute():
    """Diagonal covariances: ‖μ₁ - μ₂‖² + Σ (σ₁ - σ₂)²."""
    s1, s2 = np.array([1.0, 2.0, 0.0]), np.array([3.0, 0.5, 0.0])
    mean = np.array([1.0, -2.0, 0.0])
    found = frechet_distance(Statistics(mean, np.diag(s1**2)), Statistics(np.zeros(3), np.diag(s2**2)))
    assert found == pytest.approx(5 + 4 + 2.25, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 12), st.integers(2, 12), st.integers(1, 6), st.integers(0, 1000))
def test_it_equals_the_definition(n1, n2, d, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n1, d)), rng.normal(1, 2, size=(n2, d))
    c1, c2 = (np.atleast_2d(np.cov(f, rowvar=False)) for f in (x, y))
    roots = np.sqrt(scipy.linalg.eigvals(c1 @ c2).astype(complex)).real.sum()
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(c1) + np.trace(c2) - 2 * roots
    assert frechet_distance(x, y) == pytest.approx(expected, abs=1e-5)
    assert frechet_distance(y, x) == pytest.approx(frechet_distance(x, y), abs=1e-9)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    shift = rng.normal(size=d)
    assert frechet_distance(x, x + shift) == pytest.approx(shift @ shift, abs=1e-9)


def test_subsets_of_everything_are_the_plain_estimate():
    """One subset as large as both sets: a double loop over all pairs."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 5)), rng.normal(1, 1, size=(7, 5))
    k = lambda a, b: (a @ b / 5 + 1) ** 3  # noqa: E731
    pairs = [(i, j) for i in range(7) for j in range(7)]
    within = sum(k(f[i], f[j]) for f in (x, y) for i, j in pairs if i != j) / 42
    expected = within - 2 * sum(k(x[i], y[j]) for i, j in pairs) / 49
    found = kernel_distance(x, y)
    assert found.mean == pytest.approx(expected, abs=1e-12)
    assert found.sd == pytest.approx(0, abs=1e-12)
    assert found.subset_size == 7


def test_whole_matrices_change_nothing():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(40, 8)), rng.normal(size=(30, 8))
    often = kernel_distance(x, y, subset_size=10, subsets=40)  # the matrices are computed once
    first = [kernel_distance(x, y, subset_size=10, subsets=count).mean for count in (1, 2)]  # subset by subset
    random = np.random.RandomState(2020)
    means = []
    for _ in range(40):
        i, j = random.choice(40, 10, replace=False), random.choice(30, 10, replace=False)
        xx, yy, xy = ((a @ b.T / 8 + 1) ** 3 for a, b in ((x[i], x[i]), (y[j], y[j]), (x[i], y[j])))
        off = sum(matrix.sum() - np.trace(matrix) for matrix in (xx, yy)) / 90
        means.append(off - 2 * xy.mean())
    assert often.mean == pytest.approx(np.mean(means), abs=1e-12)
    assert often.sd == pytest.approx(np.std(means), abs=1e-12)
    assert first == pytest.approx([means[0], np.mean(means[:2])], abs=1e-12)


def test_ranks():
    rng = np.random.default_rng(2)
    few, many = rng.normal(size=(5, 8)), rng.normal(size=(50, 8))
    many[:, 3] = 1.0
    assert (rank(few), rank(many)) == (4, 7)
    assert rank(Statistics(np.zeros(2), np.diag([1.0, 0.0]))) == 1


def test_statistics_are_read_from_pytorch_fids_files(tmp_path):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(20, 4))
    np.savez(tmp_path / "stats.npz", mu=x.mean(0), sigma=np.cov(x, rowvar=False))
    assert frechet_distance(read_statistics(tmp_path / "stats.npz"), x) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mean": np.zeros(2)}, "cannot be read as statistics"),
        ({"mu": np.zeros(2), "sigma": np.zeros((3, 3))}, r"mu of shape \(2,\) and sigma of \(3, 3\)"),
        ({"mu": np.zeros(2), "sigma": np.full((2, 2), np.nan)}, "not finite"),
    ],
)
def test_bad_statistics_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "stats.npz", **arrays)
    with pytest.raises(InputError, match=message):
        read_statistics(tmp_path / "stats.npz")


def test_files_that_are_no_statistics_are_refused(tmp_path):
    (tmp_path / "text.npz").write_text("mu")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04")
    np.save(tmp_path / "array.npy", np.zeros(3))
    for name in ("none.npz", "text.npz", "cut.npz", "array.npy"):
        with pytest.raises(InputError, match="cannot be read as statistics"):
            read_statistics(tmp_path / name)


def test_bad_features_are_refused():
    x = np.random.default_rng(0).normal(size=(5, 3))
    for distance in (frechet_distance, kernel_distance):
        with pytest.raises(InputError, match="there is 1 image on a side"):
            distance(x[:1], x)
        with pytest.raises(InputError, match="not finite"):
            distance(x, x * np.nan)
        with pytest.raises(InputError, match="have 3 and 2 features"):
            distance(x, x[:, :2])
        with pytest.raises(InputError, match=r"shape \(5,\)"):
            distance(x, x[:, 0])
    for size in (1, 6):
        with pytest.raises(InputError, match=f"subset size is {size}; it must be from 2 to 5"):
            kernel_distance(x, x, subset_size=size)
