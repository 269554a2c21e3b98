"""Restyling many photographs of many sizes: decoded by threads, computed in batches of one size each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from tqdm import tqdm

from sparseshape_jax import parallel
from sparseshape_jax.data.decoding import center_crop, prepare, resize_short_side
from sparseshape_jax.data.images import Images
from sparseshape_jax.data.threads import in_threads
from sparseshape_jax.errors import InputError
from sparseshape_jax.preprocessing import Preprocessing
from sparseshape_jax.stylize.config import StylizeConfig
from sparseshape_jax.stylize.recolor import recolor
from sparseshape_jax.stylize.stylizer import Codes, Stylizer

Pixels = UInt8[np.ndarray, "h w 3"]

WAITING = 8
"""Batches' worth of photographs that are held at most until there are enough of one size."""
KEPT_STYLES = 256
"""Decoded styles that are kept for recoloring."""


@dataclass(frozen=True)
class Pair:
    """A photograph and the style it gets, as positions in their sets."""

    content: int
    style: int


@dataclass(frozen=True)
class Failure:
    """What became of a pair that could not be restyled."""

    reason: str


@dataclass(frozen=True)
class _Decoded:
    pair: Pair
    content: Pixels
    style: Float[np.ndarray, "s s 3"] | None
    """In the photograph's colors, if it is to keep them."""


class Restyler:
    """Photographs with styles, one result for each pair.

    On a CPU a result does not depend on the other photographs or on the batch size; nor on the number of devices if XLA
    has as many threads.
    """

    def __init__(self, config: StylizeConfig, stylizer: Stylizer, contents: Images, styles: Images) -> None:
        self.config, self.stylizer = config, stylizer
        self.contents, self.styles = contents, styles
        self._batch = parallel.images_at_once(config.batch_size)
        self._codes: dict[int, Float[np.ndarray, " d"]] = {}
        self._style = lru_cache(KEPT_STYLES)(self.style)
        self._encode = parallel.map_batch(stylizer.encode)
        self._restyle = parallel.map_batch(self._to_bytes, shared=(2,))

    def content(self, index: int) -> Pixels:
        """A photograph as it is restyled; raises `InputError` if it cannot be decoded or is too small."""
        image = self.contents.image(index)
        if self.config.size is not None:
            image = resize_short_side(image, self.config.size)
        side = self.config.crop
        if min(image.size) < (side or self.stylizer.smallest):
            what = f"{self.stylizer.name} needs" if side is None else f"a crop of {side} needs"
            raise InputError(
                f"{self.contents.describe(index)} has {image.width}×{image.height} pixels; {what} sides of at least"
                f" {side or self.stylizer.smallest}, so give --size"
            )
        if side is not None:
            image = center_crop(image, side)
        return np.asarray(image)

    def style(self, index: int) -> Pixels:
        """A style as it is used: its central square; raises `InputError` if it cannot be decoded."""
        side = self.config.style_size
        return prepare(self.styles.image(index), Preprocessing(resize=side, crop=side))

    def encode(self, indices: Sequence[int]) -> list[str]:
        """Compute the codes of styles once, and return the names of those that are of one color.

        Raises:
            InputError: a style that cannot be decoded.
        """
        missing = [index for index in indices if index not in self._codes]
        plain = []
        with tqdm(total=len(missing), unit="style", desc="reading styles", disable=len(missing) < 2) as progress:
            for pixels, chunk in self._decoded_styles(missing):
                codes = np.asarray(self._encode(_filled(pixels, self._batch).astype(np.float32) / 255))
                self._codes.update(zip(chunk, codes, strict=False))
                plain += [
                    self.styles.key(i) for i, each in zip(chunk, pixels, strict=True) if (each == each[0, 0]).all()
                ]
                progress.update(len(chunk))
        return plain

    def __call__(self, pairs: Sequence[Pair]) -> Iterator[tuple[Pair, Pixels | Failure]]:
        """Restyle pairs whose styles are encoded, in the order in which there are enough photographs of one size."""
        waiting: dict[tuple[int, ...], list[_Decoded]] = {}
        for pair, found in zip(pairs, in_threads(self._decode, pairs), strict=True):
            if isinstance(found, Failure):
                yield pair, found
                continue
            same = waiting.setdefault(found.content.shape, [])
            same.append(found)
            if len(same) >= self._batch:
                yield from self._compute(waiting.pop(found.content.shape))
            elif sum(map(len, waiting.values())) >= WAITING * self._batch:
                yield from self._compute(waiting.pop(max(waiting, key=lambda size: len(waiting[size]))))
        for decoded in waiting.values():
            yield from self._compute(decoded)

    def at(self, alpha: float, content: Pixels, style: int) -> Pixels:
        """One photograph in one style, at any strength."""
        return self._run([_Decoded(Pair(-1, style), content, self._recolored(content, style))], alpha)[0]

    def _decode(self, pair: Pair) -> "_Decoded | Failure":
        try:
            content = self.content(pair.content)
        except InputError as error:
            return Failure(str(error))
        return _Decoded(pair, content, self._recolored(content, pair.style))

    def _recolored(self, content: Pixels, style: int) -> Float[np.ndarray, "s s 3"] | None:
        if not self.config.preserve_color:
            return None
        return recolor(self._style(style).astype(np.float32) / 255, content.astype(np.float32) / 255)

    def _decoded_styles(self, indices: Sequence[int]) -> Iterator[tuple[UInt8[np.ndarray, "n s s 3"], Sequence[int]]]:
        decoded = in_threads(self.style, indices)
        for first in range(0, len(indices), self._batch):
            chunk = indices[first : first + self._batch]
            yield np.stack([next(decoded) for _ in chunk]), chunk

    def _compute(self, decoded: Sequence[_Decoded]) -> Iterator[tuple[Pair, Pixels | Failure]]:
        for first in range(0, len(decoded), self._batch):
            chunk = decoded[first : first + self._batch]
            try:
                found: Sequence[Pixels | Failure] = self._run(chunk, self.config.alpha)
            except jax.errors.JaxRuntimeError as error:
                if not parallel.memory_ran_out(error):
                    raise
                if self._batch > parallel.images_at_once(1):
                    self._batch = max(self._batch // 2, parallel.images_at_once(1))
                    tqdm.write(f"out of memory; going on with batches of {self._batch}")
                    yield from self._compute(decoded[first:])
                    return
                height, width = chunk[0].content.shape[:2]
                found = [Failure(f"{width}×{height} pixels are too many for the memory; give --size")] * len(chunk)
            yield from zip((each.pair for each in chunk), found, strict=True)

    def _run(self, decoded: Sequence[_Decoded], alpha: float) -> list[Pixels]:
        contents = _filled(np.stack([each.content for each in decoded]), self._batch)
        if self.config.preserve_color:
            styles = np.stack([each.style for each in decoded if each.style is not None])
            codes = np.asarray(self._encode(_filled(styles, self._batch)))
        else:
            codes = _filled(np.stack([self._codes[each.pair.style] for each in decoded]), self._batch)
        found = np.asarray(self._restyle(contents, codes, np.float32(alpha)))
        return list(found[: len(decoded)])

    def _to_bytes(self, contents: UInt8[Array, "n h w 3"], codes: Codes, alpha: Array) -> UInt8[Array, "n h w 3"]:
        images = self.stylizer.restyle(contents.astype(jnp.float32) / 255, codes, alpha)
        return jnp.clip(jnp.floor(images * 255 + 0.5), 0, 255).astype(jnp.uint8)


def _filled(array: np.ndarray, length: int) -> np.ndarray:
    """The array with copies of its last entry, so that nothing is compiled twice."""
    return np.concatenate([array, np.repeat(array[-1:], max(length - len(array), 0), axis=0)])
