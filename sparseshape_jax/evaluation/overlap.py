"""How relevance lies on the edges of an image: regions, overlaps, and lift."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

Mask = Bool[np.ndarray, "h w"]


def regions(relevance: Float[np.ndarray, "h w"]) -> tuple[Mask, Mask]:
    """Where relevance is above the mean of its positive values, and where it is below the mean of its negative ones.

    A region is empty if there are no such values.
    """
    positive, negative = relevance[relevance > 0], relevance[relevance < 0]
    empty = np.zeros(relevance.shape, bool)
    high = relevance > positive.mean() if positive.size else empty
    low = relevance < negative.mean() if negative.size else empty
    return high, low


def overlap(relevance: Float[np.ndarray, "h w"], edges: Mask, area: Mask | None = None) -> dict[str, Any]:
    """What of positive and negative relevance lies on edges.

    Args:
        relevance: summed over channels.
        edges: of the same image.
        area: the pixels in which edges, and the chance level, are counted; all if there is no box.

    Returns, for P and N, the positive and the negative region: their sizes, `…_on_edges` (|P ∩ E|), `…_share` (of |P|;
    the thesis's measure), `…_of_edges` (of |E|) and `…_lift`: the share over the share of all pixels that are edges,
    because the share alone grows with the number of edges. Also `positive_mass_on_edges`, the share of positive
    relevance. With an area, its edges are E, the lift counts P, N and chance in it only, and `positive_in_box` is the
    share of P inside. What would be divided by 0 is None.
    """
    high, low = regions(relevance)
    inside = np.ones(edges.shape, bool) if area is None else area
    found_edges = edges & inside
    total, chance = int(found_edges.sum()), _ratio(found_edges.sum(), inside.sum())
    row: dict[str, Any] = {"edges": total, "edge_share": chance}
    for name, region in (("positive", high), ("negative", low)):
        on, size, confined = int((region & found_edges).sum()), int(region.sum()), int((region & inside).sum())
        row |= {
            name: size,
            f"{name}_on_edges": on,
            f"{name}_share": _ratio(on, size),
            f"{name}_of_edges": _ratio(on, total),
            f"{name}_lift": _quotient(_ratio(on, confined), chance),
        }
    mass = np.maximum(relevance, 0)
    row["positive_mass_on_edges"] = _ratio(mass[found_edges].sum(), mass.sum())
    row["positive_in_box"] = None if area is None else _ratio((high & area).sum(), high.sum())
    return row


def _ratio(part: Any, whole: Any) -> float | None:
    return float(part) / float(whole) if whole else None


def _quotient(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None
