"""The interface of a stylizer: a network that turns photographs into the style of any other image in one pass.

A style becomes a code, which is computed once, whatever the number of photographs. Both methods we have are linear in
it, so the mean of several codes is the mixture of the styles.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sparseshape_jax import parallel
from sparseshape_jax.errors import InputError
from sparseshape_jax.stylize.config import check_alpha

Images = Float[Array, "n h w 3"]
Codes = Float[Array, "n d"]


class Stylizer(ABC):
    """Weights, and two pure functions of batches that a caller may compile over devices (`parallel.map_batch`).

    Images are RGB in [0, 1], (N, H, W, 3). They do not depend on each other.
    """

    name: str
    """What the command line calls the method: adain or magenta."""
    provenance: str
    """The SHA-256 of the weights in hex; of several files, of their hashes."""
    smallest: int
    """The shortest side in pixels that an image may have."""

    @abstractmethod
    def encode(self, styles: Images) -> Codes:
        """The codes (N, D) of styles (N, h, w, 3) of any size: AdaIN's deviations and means, Ghiasi's style vector."""

    @abstractmethod
    def restyle(self, contents: Images, codes: Codes, alpha: Any) -> Images:
        """Photographs (N, H, W, 3) in the style of as many codes, of the same size and not clipped to [0, 1].

        `alpha` is the strength, from 0 to 1. At 0 the result is what the network makes of the photograph itself, which
        is not the photograph.
        """

    def __call__(
        self,
        contents: Images,
        styles: Images | Sequence[Images],
        alpha: float = 0.5,
        weights: Sequence[float] | None = None,
    ) -> Images:
        """Restyle photographs, over all devices of this process.

        Args:
            contents: (N, H, W, 3) in [0, 1].
            styles: (N, h, w, 3), one for each photograph, or (1, h, w, 3) for all of them; or several such arrays, of
                any sizes, which are mixed.
            alpha: the strength, from 0 to 1.
            weights: of several styles, in any unit; by default all are equal.

        Returns (N, H, W, 3), not clipped to [0, 1].

        Raises:
            InputError: an alpha, weights or shapes other than these, integers, or sides below `smallest`.
        """
        several = list(styles) if isinstance(styles, list | tuple) else [styles]
        check_alpha(alpha)
        for images in (contents, *several):
            self.check(images)
        if any(len(style) not in (1, len(contents)) for style in several):
            raise InputError(f"there are {len(contents)} photographs and {[len(style) for style in several]} styles")
        codes = [jnp.broadcast_to(codes, (len(contents), codes.shape[1])) for codes in map(self._encode, several)]
        return self._restyle(contents, mixed(codes, weights), jnp.float32(alpha))

    def check(self, images: Any) -> None:
        """Raise `InputError` for what is not a batch of RGB images in floating point, none below the smallest size."""
        if images.ndim != 4 or images.shape[-1] != 3 or images.dtype.kind != "f":
            raise InputError(
                f"images are {images.dtype} of shape {tuple(images.shape)}; they must be floating-point RGB,"
                " (N, H, W, 3)"
            )
        if min(images.shape[1:3]) < self.smallest:
            raise InputError(
                f"an image of {images.shape[2]}×{images.shape[1]} pixels is too small for {self.name}; sides must be at"
                f" least {self.smallest}"
            )

    @cached_property
    def _encode(self) -> Any:
        return parallel.map_batch(self.encode)

    @cached_property
    def _restyle(self) -> Any:
        return parallel.map_batch(self.restyle, shared=(2,))


def mixed(codes: Sequence[Codes], weights: Sequence[float] | None = None) -> Codes:
    """The weighted mean of several styles' codes (N, D) each.

    Raises:
        InputError: not one weight for each, a negative one, one that is not a number, or only zeros.
    """
    each = np.asarray([1.0] * len(codes) if weights is None else weights, np.float64)
    if (
        each.shape != (len(codes),)
        or not len(codes)
        or not np.isfinite(each).all()
        or (each < 0).any()
        or not each.any()
    ):
        raise InputError(
            f"weights are {list(each)} for {len(codes)} styles; give each style one, at least 0 and not all 0"
        )
    return sum(jnp.float32(weight) * code for weight, code in zip(each / each.sum(), codes, strict=True))
