"""Settings are checked when they are made."""

import pytest

from sparseshape_jax.errors import InputError
from sparseshape_jax.synthesis.config import FigureConfig, ReconstructConfig, TextureConfig


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (TextureConfig, "steps"),
        (ReconstructConfig, "steps"),
        (FigureConfig, "texture_steps"),
        (FigureConfig, "reconstruction_steps"),
    ],
)
def test_at_least_one_evaluation(settings, name):
    settings(**{name: 1})
    with pytest.raises(InputError, match=f"^{name} is 0; it must be at least 1"):
        settings(**{name: 0})


@pytest.mark.parametrize("settings", [TextureConfig, ReconstructConfig, FigureConfig])
def test_what_they_share_is_checked_too(settings):
    with pytest.raises(InputError, match="size is 16; it must be from 32 to 2048"):
        settings(size=16)


@pytest.mark.parametrize(
    ("config", "kind", "octaves"),
    [
        (TextureConfig(size=32), "texture", 1),
        (TextureConfig(size=64), "texture", 1),
        (TextureConfig(size=128), "texture", 2),
        (TextureConfig(size=512), "texture", 3),
        (TextureConfig(size=512, start_image="x.png"), "texture", 1),
        (TextureConfig(size=512, octaves=4), "texture", 4),
        (FigureConfig(size=512), "reconstruction", 1),
    ],
)
def test_octaves(config, kind, octaves):
    assert config.octaves_for(kind) == octaves
