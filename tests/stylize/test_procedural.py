import numpy as np
import pytest
from support.commands import command, files

from sparseshape_jax.downloads import sha256
from sparseshape_jax.errors import InputError
from sparseshape_jax.stylize import procedural_style
from sparseshape_jax.stylize.config import KINDS
from sparseshape_jax.stylize.procedural import numbered


@pytest.fixture
def run(capsys):
    return command("synthesize.py", capsys)


@pytest.mark.parametrize("kind", KINDS)
def test_a_style_is_a_function_of_kind_seed_and_size(kind):
    image = procedural_style(kind, 3, size=(40, 72))
    assert image.shape == (40, 72, 3)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, procedural_style(kind, 3, size=(40, 72)))
    assert (image != procedural_style(kind, 4, size=(40, 72))).mean() > 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_styles_have_contrast_and_mild_colors(kind):
    images = np.stack([procedural_style(kind, seed, size=64) for seed in range(12)]) / 255.0
    assert images.mean(axis=-1).std(axis=(1, 2)).min() > 0.02
    chroma = images.max(axis=-1) - images.min(axis=-1)
    assert chroma.mean() < 0.35
    # Hues are related: the mean chroma of an image is near the chroma of its mean color.
    mean = images.mean(axis=(1, 2))
    assert np.median((mean.max(axis=-1) - mean.min(axis=-1)) / chroma.mean(axis=(1, 2))) > 0.6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "fur"}, "there is no procedural style 'fur'; there are noise, stripes"),
        ({"kind": "noise", "size": 7}, "7×7 pixels is too small"),
        ({"kind": "noise", "seed": -1}, "seed is -1"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(InputError, match=message):
        procedural_style(**arguments)


def test_numbered_takes_each_kind_in_turn():
    found = numbered(10, 5)
    assert found[:8] == [(kind, 5) for kind in KINDS]
    assert found[8:] == [(KINDS[0], 6), (KINDS[1], 6)]
    assert len(set(numbered(100))) == 100


def test_the_command_writes_styles_and_keeps_those_that_are_there(run, tmp_path):
    out = tmp_path / "styles"
    arguments = ("styles", "--count", 9, "--size", 24, "--out", out)
    assert run(*arguments).status == 0
    images = {f"{kind}-0.png" for kind in KINDS} | {"noise-1.png"}
    assert files(out) == images | {"config.yaml", "results.json", "summary.csv"}
    before = {name: sha256(out / name) for name in images}
    (out / "noise-1.png").unlink()
    (out / "dots-0.png").write_bytes(b"damaged")
    found = run(*arguments)
    assert "9 styles, 2 of them new" in found.out
    assert {name: sha256(out / name) for name in images} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--count", 0), "count is 0"),
        (("--kinds", "noise", "fur"), "there is no kind 'fur'"),
        (("--kinds", "noise", "noise"), "give at least one, each once"),
        (("--size", 5), "size is 5"),
        (("--seed", -1), "seed is -1"),
    ],
)
def test_the_command_refuses(run, tmp_path, arguments, message):
    found = run("styles", "--out", tmp_path / "styles", *arguments)
    assert found.status == 2
    assert message in found.err
    assert found.err.count("\n") == 1
    assert not (tmp_path / "styles").exists()
