"""What the comparisons with PyTorch share: the reference's Top-K, and torchvision."""

from types import ModuleType
from typing import Any


def torch_top_k(torch: ModuleType, x: Any, fraction: float, *, lower_index_first: bool = True) -> Any:
    """The reference's operator on an (N, C, H, W) tensor: the k largest magnitudes of every map, differentiable.

    `torch.topk`, which the reference uses, leaves open which of several equal magnitudes survive. A stable sort gives
    them to the lower index, as our operator does.
    """
    flat = x.flatten(2)
    k = max(1, int(fraction * flat.shape[2]))
    if lower_index_first:
        indices = flat.abs().argsort(dim=2, descending=True, stable=True)[..., :k]
    else:
        indices = flat.abs().topk(k, dim=2).indices
    return torch.zeros_like(flat).scatter(2, indices, flat.gather(2, indices)).reshape(x.shape)


def import_torchvision(torch: ModuleType) -> ModuleType:
    """torchvision, even if it was built for CUDA and torch was not."""
    try:
        import torchvision
    except RuntimeError:
        # Its C++ operators are then missing, and its import asks for the signatures of two of them. None of the
        # networks here call them.
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _LIBRARIES.append(library)
        import torchvision
    return torchvision


_LIBRARIES: list[Any] = []  # The declarations live as long as these objects do.
