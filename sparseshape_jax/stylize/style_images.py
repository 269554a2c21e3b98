"""The styles of a run: a folder, one image, or procedural ones; and which of them each photograph gets."""

import hashlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from PIL import Image

from sparseshape_jax.data.folders import Folder
from sparseshape_jax.data.images import Images
from sparseshape_jax.errors import InputError
from sparseshape_jax.stylize.config import StylesConfig
from sparseshape_jax.stylize.procedural import numbered, procedural_style


class ProceduralStyles(Images):
    """The styles that `synthesize.py styles` writes by default, under the same names."""

    name = "procedural styles"

    def __init__(self) -> None:
        self._size = StylesConfig.size
        self._styles = {f"{kind}-{seed}.png": (kind, seed) for kind, seed in numbered(StylesConfig.count)}
        self._keys = sorted(self._styles)

    def __len__(self) -> int:
        return len(self._keys)

    def image(self, index: int) -> Image.Image:
        kind, seed = self._styles[self._keys[index]]
        return Image.fromarray(procedural_style(kind, seed, size=self._size))

    def describe(self, index: int) -> str:
        return f"the procedural style {self._keys[index]}"

    def key(self, index: int) -> str:
        return self._keys[index]

    def signature(self) -> str:
        return f"{self.name}: {' '.join(self._keys)}"


def open_styles(source: str | None) -> Images:
    """The styles in a folder, at any depth and sorted by path; or of one file; or the procedural ones.

    Raises:
        InputError: a missing or empty folder, or a missing file.
    """
    if source is None:
        return ProceduralStyles()
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
