"""Boxes around objects, as ImageNet publishes them, in the pixels that a network sees.

Read are a folder of Pascal VOC's XML files, the archive of one class (`.tar.gz`), or a CSV file with the columns
filename, width, height, xmin, ymin, xmax, ymax.
"""

import csv
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np
from jaxtyping import Bool

from sparseshape_jax.errors import InputError
from sparseshape_jax.preprocessing import Preprocessing

Box = tuple[float, float, float, float]
"""Left, top, right and lower edge: x from `left` up to `right`, y from `top` up to `bottom`."""
COLUMNS = ("filename", "width", "height", "xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class Annotation:
    """The objects in one image, in the image's own pixels."""

    width: int
    height: int
    boxes: tuple[Box, ...]


def read_boxes(source: str | Path) -> dict[str, Annotation]:
    """Annotations by the names of their images, without folder and ending.

    Raises:
        InputError: a source that is missing, damaged or empty; a file that is not an annotation, has a document type or
            entities, or no box; a box that is outside its image or has no area.
    """
    path = Path(source)
    found: dict[str, Annotation] = {}
    for name, annotation in _read(path):
        if name in found:
            raise InputError(f"{path} has two annotations of {name}; remove one")
        found[name] = annotation
    if not found:
        raise InputError(f"there are no annotations in {path}; give a folder of .xml files, a .tar.gz, or a CSV file")
    return found


def _read(path: Path) -> Iterator[tuple[str, Annotation]]:
    if path.is_dir():
        for file in sorted(path.rglob("*.xml")):
            yield file.stem, parse_xml(file.read_bytes(), str(file))
    elif not path.exists():
        raise InputError(f"there are no boxes at {path}; give a folder of .xml files, a .tar.gz, or a CSV file")
    elif path.suffix == ".csv":
        yield from _read_csv(path)
    else:
        try:
            with tarfile.open(path) as archive:
                for member in archive:
                    if member.isfile() and member.name.endswith(".xml"):
                        text = archive.extractfile(member)
                        assert text is not None
                        yield PurePosixPath(member.name).stem, parse_xml(text.read(), f"{member.name} in {path}")
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise InputError(f"{path} is not an archive of annotations, or is damaged ({error})") from None


def parse_xml(text: bytes, name: str) -> Annotation:
    """One of Pascal VOC's annotations, which messages call `name`; raises as `read_boxes`."""

    def refuse(*_: Any) -> None:
        raise InputError(f"{name} has a document type or entities, which annotations do not need; remove them")

    guard = expat.ParserCreate()
    guard.StartDoctypeDeclHandler = refuse
    guard.EntityDeclHandler = refuse
    try:
        guard.Parse(text, True)
        root = ElementTree.fromstring(text)
        width, height = (int(root.findtext(f"size/{side}", "")) for side in ("width", "height"))
        corners = [
            tuple(float(box.findtext(corner, "")) for corner in ("xmin", "ymin", "xmax", "ymax"))
            for box in root.iterfind("object/bndbox")
        ]
    except (expat.ExpatError, ElementTree.ParseError, ValueError) as error:
        raise InputError(f"{name} is not an annotation with the size of its image and boxes ({error})") from None
    return _annotation(width, height, corners, name)


def _read_csv(path: Path) -> Iterator[tuple[str, Annotation]]:
    lines: dict[str, list[tuple[float, ...]]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            if missing := [column for column in COLUMNS if column not in (reader.fieldnames or ())]:
                raise InputError(f"{path} has no column {', '.join(missing)}; it must have {', '.join(COLUMNS)}")
            for line in reader:
                values = tuple(float(line[column]) for column in COLUMNS[1:])
                lines.setdefault(PurePosixPath(line["filename"]).stem, []).append(values)
    except (ValueError, TypeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read ({error}); all columns but filename hold numbers") from None
    for name, own in lines.items():
        if len({values[:2] for values in own}) > 1:
            raise InputError(f"{path} gives {name} two sizes; correct its width and height")
        width, height = map(int, own[0][:2])
        yield name, _annotation(width, height, [values[2:] for values in own], f"{name} in {path}")


def _annotation(width: int, height: int, corners: Sequence[tuple[float, ...]], name: str) -> Annotation:
    if not corners:
        raise InputError(f"{name} has no box; remove it, or add one")
    boxes: list[Box] = []
    for left, top, right, bottom in corners:
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            raise InputError(
                f"{name} has the box x {left:g} to {right:g}, y {top:g} to {bottom:g}, which must have an area and lie"
                f" in the image of {width}×{height} pixels"
            )
        boxes.append((left, top, right, bottom))
    return Annotation(width, height, tuple(boxes))


def to_crop(box: Box, width: int, height: int, preprocessing: Preprocessing) -> Box:
    """A box of an image of `width`×`height` pixels in the pixels of the crop of `data.decoding.prepare`.

    The true resizing, with the long side rounded down, and the true crop. (Büttner's notebooks scale both sides as if
    images were squashed to a square, which is up to 64 pixels off.)
    """
    side, short = preprocessing.crop, preprocessing.resize
    if (width, height) == (side, side):
        new = (width, height)
    else:
        long = int(short * max(width, height) / min(width, height))
        new = (short, long) if width <= height else (long, short)
    edges = []
    for low, high, before, after in ((box[0], box[2], width, new[0]), (box[1], box[3], height, new[1])):
        start = round((after - side) / 2) if after >= side else -((side - after) // 2)
        edges.append([min(max(value * after / before - start, 0.0), float(side)) for value in (low, high)])
    (left, right), (top, bottom) = edges
    return left, top, right, bottom


def box_mask(boxes: Iterable[Box], side: int) -> Bool[np.ndarray, "side side"]:
    """True at the pixels whose centers are in any of the boxes."""
    mask = np.zeros((side, side), bool)
    centers = np.arange(side) + 0.5
    for left, top, right, bottom in boxes:
        inside_x, inside_y = (centers >= left) & (centers < right), (centers >= top) & (centers < bottom)
        mask |= inside_y[:, None] & inside_x
    return mask
