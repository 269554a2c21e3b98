"""What the benchmarks share: the reference's Top-K in PyTorch, torchvision, and a line that says what runs."""

from collections.abc import Container
from types import ModuleType
from typing import Any

import jax
import torch


def torch_top_k(x: torch.Tensor, fraction: float) -> torch.Tensor:
    """The reference's operator: the k largest magnitudes of every map of an (N, C, H, W) tensor."""
    rows = x.flatten(2)
    indices = rows.abs().topk(max(1, int(fraction * rows.shape[-1])), dim=-1, sorted=False).indices
    return torch.zeros_like(rows).scatter(-1, indices, rows.gather(-1, indices)).reshape(x.shape)


def torch_logits(network: torch.nn.Module, x: torch.Tensor, fraction: float, places: Container[int]) -> torch.Tensor:
    """The logits of one of torchvision's networks with `features`, after some of whose layers Top-K acts.

    Args:
        network: SqueezeNet, AlexNet or VGG.
        x: normalized images, (N, C, H, W).
        fraction: keep fraction; 1 leaves Top-K out.
        places: positions in `features`.
    """
    for index, layer in enumerate(network.features):
        x = layer(x)
        if fraction < 1 and index in places:
            x = torch_top_k(x, fraction)
    if hasattr(network, "avgpool"):
        x = network.avgpool(x).flatten(1)
    return network.classifier(x).flatten(1)


def import_torchvision() -> ModuleType:
    """torchvision, even if it was built for CUDA and torch was not."""
    try:
        import torchvision
    except RuntimeError:
        # Its import asks for the signatures of two operators that these networks never call.
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _LIBRARIES.append(library)
        import torchvision
    return torchvision


_LIBRARIES: list[Any] = []  # The declarations live as long as these objects do.


def versions() -> str:
    """The versions that are compared, and the hardware that they use."""
    ours = f"jax {jax.__version__} on {jax.default_backend()}"
    return f"{ours}; torch {torch.__version__}, {torch.get_num_threads()} threads"
