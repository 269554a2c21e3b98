"""Figures as a page shows them: small enough, and in the page itself."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

LARGEST = (1600, 2000)
"""Larger figures are made to fit into this width and height, in pixels."""
KIND, QUALITY = "webp", 85
"""WebP holds plots and photographs in less than half the bytes of PNG and JPEG; browsers read it since 2020."""


@dataclass(frozen=True)
class Picture:
    """A figure as it is shown."""

    file: str
    """Its name in the folder of figures."""
    content: bytes
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
        return f"data:image/{KIND};base64,{base64.b64encode(self.content).decode('ascii')}"


def picture(path: Path, name: str) -> Picture:
    """A figure, made smaller where it is larger than a page needs, for a file of this name without its suffix."""
    with Image.open(path) as opened:
        image: Image.Image = opened.copy()
    scale = min(1.0, *(most / side for most, side in zip(LARGEST, image.size, strict=True)))
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    flat = Image.new("RGB", image.size, "white")
    flat.paste(image, mask=image.getchannel("A") if "A" in image.getbands() else None)
    written = io.BytesIO()
    flat.save(written, KIND, quality=QUALITY, method=2)  # the higher methods take longer and save a tenth
    caption = path.stem.replace("-", " ").replace("_", " ")
    return Picture(f"{name}.{KIND}", written.getvalue(), caption, flat.width, flat.height)
