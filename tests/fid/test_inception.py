"""FID's Inception with weights from a recipe: every block and every feature that torch-fidelity gives."""

import numpy as np
import pytest
from support.commands import refused  # noqa: F401

from sparseshape_jax.fid.protocols import PROTOCOLS
from sparseshape_jax.weights.assign import export

IMAGES = ("image0", "image1", "image2")
ACTIVATIONS = {"64": "pool1", "192": "pool2", "768": "Mixed_6e", "2048": "avgpool", "logits": "logits"}


@pytest.fixture(scope="module")
def everything(inception, golden):
    """For each protocol and image, the mean over positions of all activations."""
    import jax
    from flax import nnx

    graphdef, state = nnx.split(inception)
    names = inception.names

    @jax.jit
    def program(state, images):
        found = nnx.merge(graphdef, state).activations(images, names)
        return {name: x.mean(axis=(1, 2)) if x.ndim == 4 else x for name, x in found.items()}

    inputs = [
        PROTOCOLS[protocol].prepare(golden[image]) for protocol in PROTOCOLS if protocol != "paper" for image in IMAGES
    ]
    found = jax.tree.map(np.asarray, program(state, np.stack(inputs)))
    keys = [(protocol, image) for protocol in PROTOCOLS if protocol != "paper" for image in IMAGES]
    return {key: {name: values[i] for name, values in found.items()} for i, key in enumerate(keys)}


def close(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-4 * np.abs(expected).max())


@pytest.mark.parametrize("image", IMAGES)
def test_features_equal_torch_fidelitys(everything, golden, inception, image):
    for key, name in ACTIVATIONS.items():
        close(everything["tf", image][name], golden[f"{image}.tf.{key}"])
    unbiased = everything["tf", image]["logits"] - np.asarray(inception.fc.bias[...])
    close(unbiased, golden[f"{image}.tf.logits_unbiased"])


@pytest.mark.parametrize("image", IMAGES)
def test_features_equal_clean_fids_and_pytorch_fids(everything, golden, image):
    close(everything["clean", image]["avgpool"], golden[f"{image}.clean.2048"])
    close(everything["pytorch-fid", image]["avgpool"], golden[f"{image}.pytorch_fid.2048"])


def test_every_block(everything, golden):
    blocks = [key.rpartition(".")[2] for key in golden if key.startswith("image0.tf.mean.")]
    assert len(blocks) == 16
    for block in blocks:
        close(everything["tf", "image0"][block], golden[f"image0.tf.mean.{block}"])


def test_the_names_are_the_state_dicts(recipe_arrays, inception):
    found = export(inception)
    assert list(found) == list(recipe_arrays)
    assert {"Conv2d_1a_3x3.conv.weight", "Mixed_7c.branch3x3dbl_3b.bn.running_var", "fc.bias"} <= set(found)
    assert sum(array.size for array in found.values()) == pytest.approx(23.9e6, rel=0.01)
    for name, array in found.items():
        np.testing.assert_array_equal(array, recipe_arrays[name])
