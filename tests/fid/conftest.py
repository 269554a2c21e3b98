"""Golden values of FID and KID, and FID's Inception with weights from a recipe."""

import json
import zlib

import numpy as np
import pytest
from flax import nnx

from sparseshape_jax.models import Inception
from sparseshape_jax.weights import keys
from sparseshape_jax.weights.assign import assign, turn_linear
from sparseshape_jax.weights.load import abstract


@pytest.fixture(scope="session")
def cases(reference_data) -> dict:
    """What the libraries compute of features by recipe."""
    return json.loads((reference_data / "goldens" / "fid" / "fid_kid.json").read_text())


@pytest.fixture(scope="session")
def golden(reference_data):
    """Images, and what the libraries make of them."""
    with np.load(reference_data / "goldens" / "fid" / "inception.npz") as file:
        return dict(file)


@pytest.fixture(scope="session")
def recipe_arrays() -> dict[str, np.ndarray]:
    """Weights for every name of the published state dict, as the goldens' README draws them."""
    shapes = _torch_shapes()
    arrays = {}
    for name, shape in shapes.items():
        random = np.random.RandomState(zlib.crc32(name.encode()) % 2**32)
        if name.endswith("running_var"):
            array = random.uniform(0.5, 1.5, shape)
        elif name.endswith(("running_mean", ".bias")):
            array = 0.1 * random.standard_normal(shape)
        elif len(shape) == 1:
            array = random.uniform(0.5, 1.5, shape)
        else:
            array = random.standard_normal(shape) * np.sqrt(2 / (np.prod(shape) / shape[0]))
        arrays[name] = array.astype(np.float32)
    return arrays


@pytest.fixture(scope="session")
def inception(recipe_arrays) -> Inception:
    network = abstract("inception_fid")
    assign(network, recipe_arrays)
    network.eval()
    return network


def _torch_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes, from our network."""
    network = abstract("inception_fid")
    state = nnx.to_flat_state(nnx.state(network, (nnx.Param, nnx.BatchStat)))
    ours = {
        ".".join(map(str, path)): np.broadcast_to(np.float32(0), variable.get_value().shape) for path, variable in state
    }
    return {
        name: array.shape
        for name, array in keys.to_torch(turn_linear(network, ours), keys.table_for("inception_fid")).items()
    }
