"""What is checked about pictures and stimuli."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from support.networks import own_registry, random_network
from support.small_network import SIDE, SMALL

from sparseshape_jax.figures.cue_conflict import draw_sheet
from sparseshape_jax.models import register
from sparseshape_jax.observers.categories import CATEGORY_INDICES
from sparseshape_jax.preprocessing import Preprocessing
from sparseshape_jax.synthesis.cue_conflict.checks import cell_distances, filled_shares, recognized_as, residuals
from sparseshape_jax.synthesis.cue_conflict.sources import Pictures, Source, read_sources
from sparseshape_jax.synthesis.objective import Objective
from sparseshape_jax.synthesis.transfer import ContentTerm, StyleTerm
from sparseshape_jax.top_k.spec import TopK
from sparseshape_jax.weights.assign import save_safetensors
from sparseshape_jax.weights.load import load


def gram(activation):
    flat = activation.reshape(-1, activation.shape[-1]).astype(np.float64)
    return flat.T @ flat / len(flat)


def test_distances_of_cells():
    activation = np.random.default_rng(0).uniform(0, 1, (2, 11, 9, 3)).astype(np.float32)
    found = cell_distances(jnp.asarray(activation))
    assert found.shape == (2, 16)
    whole = gram(activation[1])
    for cell in (0, 6, 15):
        row, column = divmod(cell, 4)
        part = gram(activation[1, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2])
        np.testing.assert_allclose(found[1, cell], np.sum((part - whole) ** 2) / np.sum(whole**2), rtol=1e-4)


@pytest.fixture(scope="module")
def example(reference_data) -> Path:
    return reference_data / "data" / "cue-conflict-example"


def source(path: Path) -> Source:
    with Image.open(path) as image:
        return Source("any", 1, path.name, "", np.asarray(image.convert("RGB")))


def test_a_texture_fills_the_frame_and_an_object_does_not(example, vgg_trunk):
    texture, photograph = source(example / "elephant1.png"), source(example / "cat7_original.png")
    shares = filled_shares(vgg_trunk, "relu3_1", [texture, photograph])
    assert shares[texture] > 0.6
    assert shares[photograph] < 0.3


def test_residuals_of_the_official_stimulus(example, packaged_vgg):
    """Those that torch found for VGG16 with max pooling."""
    loaded = load("vgg16_lpips", trunk_only=True, pooling="max")
    layers = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    measure = residuals(loaded, Objective((ContentTerm("relu4_2"), *map(StyleTerm, layers)), TopK(1.0)))
    names = ("cat7-elephant1_nomask.png", "cat7_original.png", "elephant1.png")
    (found,) = measure(*(source(example / name).pixels[None] for name in names))
    # As many digits as are published.
    np.testing.assert_allclose(found[:4], [1.17, 0.0006, 0.0043, 0.0215], rtol=0.01, atol=5e-5)
    np.testing.assert_allclose(found[4:], [0.10, 0.27], atol=0.005)


def test_categories_of_a_classifier(tmp_path):
    """It sees only how red a picture is."""
    with own_registry():
        register("small", SMALL)
        loaded = load("small", weights=_red_is_a_cat(tmp_path))
    for category, color in (("cat", (255, 0, 0)), ("dog", (0, 0, 255)), ("zebra", (255, 0, 0))):
        (tmp_path / "photos" / category).mkdir(parents=True)
        pixels = np.full((20, 20, 3), color, np.uint8)
        pixels[0, 0] = 7  # not of one color
        Image.fromarray(pixels).save(tmp_path / "photos" / category / "1.png")
    pictures = Pictures(tmp_path / "photos")
    found = recognized_as(loaded, pictures, read_sources(pictures, 32))
    assert {source.category: category for source, category in found.items()} == {"cat": "cat", "dog": "airplane"}


def _red_is_a_cat(folder: Path) -> Path:
    """Weights of a network whose logits are the largest red, for cats, and the largest blue, for airplanes."""
    network = random_network("small", num_classes=1000)
    first, second = np.zeros((3, 3, 3, 4), np.float32), np.zeros((3, 3, 4, 1000), np.float32)
    first[1, 1, 0, 0] = first[1, 1, 2, 1] = 1
    second[1, 1, 0, CATEGORY_INDICES["cat"]] = second[1, 1, 1, CATEGORY_INDICES["airplane"]] = 9
    zeros = {"conv1": np.zeros(4, np.float32), "conv2": np.zeros(1000, np.float32)}
    for name, kernel in (("conv1", first), ("conv2", second)):
        layer = getattr(network, name)
        layer.kernel[...], layer.bias[...] = jnp.asarray(kernel), jnp.asarray(zeros[name])
    path = folder / "red.safetensors"
    save_safetensors(network, path, preprocessing=Preprocessing(resize=SIDE, crop=SIDE))
    return path


def test_the_sheet_has_empty_cells_where_there_is_no_stimulus(tmp_path):
    image = np.zeros((4, 4, 3), np.uint8)
    drawn = draw_sheet(tmp_path, [("cat1", image), ("dog1", image)], [("cat1", image)], {(1, 0): ("dog1-cat1", image)})
    assert [path.name for path in drawn] == ["contact_sheet.png", "contact_sheet.pdf"]
    with Image.open(drawn[0]) as sheet:
        assert sheet.height > 1.3 * sheet.width
