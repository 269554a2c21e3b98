"""What the benchmarks share: the reference's Top-K in PyTorch, torchvision, and a line that says what runs."""

from types import ModuleType
from typing import Any

import jax
import torch


def torch_top_k(x: torch.Tensor, fraction: float) -> torch.Tensor:
    """The reference's operator: the k largest magnitudes of every map of an (N, C, H, W) tensor."""
    rows = x.flatten(2)
    indices = rows.abs().topk(max(1, int(fraction * rows.shape[-1])), dim=-1, sorted=False).indices
    return torch.zeros_like(rows).scatter(-1, indices, rows.gather(-1, indices)).reshape(x.shape)


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
