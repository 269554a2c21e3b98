"""The golden values of frequencies, and the network that they were made with."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def golden_network(golden) -> Callable[[jax.Array], jax.Array]:
    """Two convolutions with stride 2, a mean over positions, a linear layer."""
    weights = {
        name.removeprefix("net."): golden[name] for name in golden if name.startswith("net.") and "." in name[4:]
    }

    def convolve(x, name, padding):
        kernel, bias = weights[f"{name}.kernel"], weights[f"{name}.bias"]
        found = lax.conv_general_dilated(
            x, kernel, (2, 2), [(padding, padding)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return jax.nn.relu(found + bias.reshape(1, 1, 1, -1))

    def network(x):
        x = convolve(convolve(x, "conv1", 2), "conv2", 1).mean(axis=(1, 2))
        return x @ weights["linear.kernel"] + jnp.asarray(weights["linear.bias"])[None]

    return network


def normalized(golden, images=None):
    images = golden["images"] if images is None else images
    return ((images / np.float32(255) - golden["mean"]) / golden["std"]).astype(np.float32)


def load(reference_data, name):
    with np.load(reference_data / "goldens" / "frequency" / name) as file:
        return dict(file)
