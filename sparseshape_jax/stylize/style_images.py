"""The styles of a run: a folder, one image, or procedural ones; and which of them each photograph gets."""

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path, PurePosixPath

from PIL import Image

from sparseshape_jax.data.folders import Folder
from sparseshape_jax.data.images import Images
from sparseshape_jax.errors import InputError
from sparseshape_jax.results import fingerprint
from sparseshape_jax.stylize.config import StylesConfig
from sparseshape_jax.stylize.procedural import numbered, procedural_style


class ProceduralStyles(Images):
    """Procedural styles under the names that `synthesize.py styles` gives their files; each is computed once.

    Args:
        styles: kinds and seeds, as `numbered` returns them.
        size: the side in pixels.
    """

    name = "procedural styles"

    def __init__(self, styles: Sequence[tuple[str, int]], size: int) -> None:
        self._styles, self._size = list(styles), size
        self._image = cache(self._make)

    def __len__(self) -> int:
        return len(self._styles)

    def image(self, index: int) -> Image.Image:
        return self._image(index)

    def describe(self, index: int) -> str:
        return f"the procedural style {self.key(index)}"

    def key(self, index: int) -> str:
        return file_name(*self._styles[index])

    def signature(self) -> str:
        return fingerprint([self._styles, self._size])

    def _make(self, index: int) -> Image.Image:
        return Image.fromarray(procedural_style(*self._styles[index], size=self._size))


def file_name(kind: str, seed: int) -> str:
    """What `synthesize.py styles` calls a style's file."""
    return f"{kind}-{seed}.png"


def open_styles(source: str | None) -> Images:
    """The styles in a folder, at any depth and sorted by path; or of one file; or the procedural ones.

    Raises:
        InputError: a missing or empty folder, or a missing file.
    """
    if source is None:
        styles = sorted(numbered(StylesConfig.count), key=lambda style: file_name(*style))
        return ProceduralStyles(styles, StylesConfig.size)
    path = Path(source)
    if path.is_file():
        return Folder(path.parent, [path])
    return Folder(path)


def choose_styles(key: str, styles: int, count: int, seed: int) -> tuple[int, ...]:
    """Which of `styles` styles the photograph called `key` gets: positions in the sorted list, none twice.

    They depend on these arguments alone, so on no other photograph, and on no library's random numbers.

    Raises:
        InputError: there are fewer styles than `count`.
    """
    if count > styles:
        raise InputError(f"styles_per_image is {count}, but there are {styles} styles; ask for fewer, or give more")
    chosen: dict[int, None] = {}
    draw = 0
    while len(chosen) < count:
        text = f"{seed} {draw} {key}".encode("utf-8", "surrogateescape")
        chosen[int.from_bytes(hashlib.sha256(text).digest()) % styles] = None
        draw += 1
    return tuple(chosen)


def unique_names(keys: Sequence[str]) -> list[str]:
    """Short names of files: their stems; where stems repeat, their paths with dashes, and endings if needed."""
    names = [PurePosixPath(key).stem for key in keys]
    for longer in (lambda key: str(PurePosixPath(key).with_suffix("")), str):
        counts: dict[str, int] = {}
        for name in names:
            counts[name] = counts.get(name, 0) + 1
        names = [
            longer(key).replace("/", "-") if counts[name] > 1 else name for key, name in zip(keys, names, strict=True)
        ]
    return names
