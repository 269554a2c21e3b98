"""Figures as a page shows them: small enough, and in the page itself."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

LARGEST = 1600
"""Wider figures are made this wide in pixels."""
PHOTOGRAPHIC = 300_000
"""A PNG of more bytes becomes a JPEG, because it has photographs in it."""


@dataclass(frozen=True)
class Picture:
    """A figure as it is shown."""

    file: str
    """Its name in the folder of figures."""
    content: bytes
    kind: str
    caption: str
    width: int
    """In pixels, as is the height."""
    height: int

    @property
    def is_wide(self) -> bool:
        """Whether its labels would be too small on a phone, which then shows it larger, to be moved sideways."""
        return self.width > 1.2 * self.height and self.width > 700

    @property
    def data(self) -> str:
        """The content as a URL, for a page in one file."""
        return f"data:image/{self.kind};base64,{base64.b64encode(self.content).decode('ascii')}"


def picture(path: Path, name: str) -> Picture:
    """A figure, made smaller where it is larger than a page needs, for a file of this name without its suffix."""
    with Image.open(path) as opened:
        image: Image.Image = opened.copy()
    if image.width > LARGEST:
        size = (LARGEST, max(1, round(image.height * LARGEST / image.width)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    flat = Image.new("RGB", image.size, "white")
    flat.paste(image, mask=image.getchannel("A") if "A" in image.getbands() else None)
    content, kind = _encoded(flat, "png"), "png"
    if len(content) > PHOTOGRAPHIC:
        content, kind = _encoded(flat, "jpeg"), "jpeg"
    caption = path.stem.replace("-", " ").replace("_", " ")
    return Picture(f"{name}.{kind}", content, kind, caption, flat.width, flat.height)


def _encoded(image: Image.Image, kind: str) -> bytes:
    written = io.BytesIO()
    image.save(written, kind, optimize=True, **({"quality": 88} if kind == "jpeg" else {}))
    return written.getvalue()
