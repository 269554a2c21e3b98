"""Boxes: reading them, refusing damaged ones, and where they are in the crop."""

import io
import json
import tarfile

import numpy as np
import pytest

from sparseshape_jax.data.boxes import box_mask, read_boxes, to_crop
from sparseshape_jax.errors import InputError
from sparseshape_jax.preprocessing import TORCHVISION, Preprocessing


def annotation(*boxes, width=100, height=80, head=""):
    objects = "".join(
        "<object><bndbox>"
        + "".join(
            f"<{name}>{value}</{name}>" for name, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        )
        + "</bndbox></object>"
        for box in boxes
    )
    size = f"<size><width>{width}</width><height>{height}</height></size>"
    return f"{head}<annotation>{size}{objects}</annotation>"


def test_equals_the_golden(reference_data):
    listed = json.loads((reference_data / "goldens" / "localglobal" / "boxes.json").read_text())
    for one in listed:
        found = to_crop(tuple(one["box"]), one["width"], one["height"], TORCHVISION)
        np.testing.assert_allclose(found, one["ours"], rtol=0, atol=1e-9)


def test_an_image_of_the_crops_size_keeps_its_boxes():
    assert to_crop((3, 4, 50, 60), 224, 224, TORCHVISION) == (3, 4, 50, 60)


def test_a_crop_larger_than_the_image_is_padded():
    assert to_crop((0, 0, 10, 10), 10, 10, Preprocessing(resize=10, crop=14)) == (2, 2, 12, 12)


def test_pixels_are_inside_if_their_centers_are():
    mask = box_mask([(0.4, 1.6, 2.5, 3.0), (3, 0, 4, 1)], 4)
    expected = [[0, 0, 0, 1], [0, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    assert np.array_equal(mask, np.array(expected, bool))


@pytest.mark.parametrize("kind", ["folder", "archive", "csv"])
def test_reads_every_source(tmp_path, kind):
    if kind == "folder":
        source = tmp_path / "boxes"
        (source / "n01").mkdir(parents=True)
        (source / "n01" / "n01_1.xml").write_text(annotation((1, 2, 30, 40), (5, 6, 7, 8)))
    elif kind == "archive":
        source = tmp_path / "n01.tar.gz"
        with tarfile.open(source, "w:gz") as archive:
            text = annotation((1, 2, 30, 40), (5, 6, 7, 8)).encode()
            member = tarfile.TarInfo("Annotation/n01/n01_1.xml")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    else:
        source = tmp_path / "boxes.csv"
        source.write_text(
            "filename,width,height,xmin,ymin,xmax,ymax\nn01_1.JPEG,100,80,1,2,30,40\nn01_1.JPEG,100,80,5,6,7,8\n"
        )
    found = read_boxes(source)
    assert list(found) == ["n01_1"]
    assert (found["n01_1"].width, found["n01_1"].height) == (100, 80)
    assert found["n01_1"].boxes == ((1, 2, 30, 40), (5, 6, 7, 8))


BOMB = '<!DOCTYPE a [<!ENTITY b "b"><!ENTITY c "&b;&b;">]>'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (annotation(), "has no box"),
        (annotation((1, 2, 101, 40)), "which must have an area and lie in the image"),
        (annotation((-1, 2, 10, 40)), "must have an area"),
        (annotation((10, 2, 10, 40)), "must have an area"),
        (annotation((10, 40, 20, 30)), "must have an area"),
        (annotation(("a", 2, 10, 40)), "not an annotation"),
        (annotation((1, 2, 3, 4), head=BOMB), "document type or entities"),
        (annotation((1, 2, 3, 4), head='<!DOCTYPE a SYSTEM "file:///etc/passwd">'), "document type or entities"),
        ("<annotation>", "not an annotation"),
        ("", "not an annotation"),
        ("<annotation></annotation>", "not an annotation"),
    ],
)
def test_refuses_annotations(tmp_path, text, message):
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(InputError, match=message):
        read_boxes(tmp_path)


def test_refuses_damaged_archives_and_tables(tmp_path):
    damaged = tmp_path / "a.tar.gz"
    with tarfile.open(damaged, "w:gz") as archive:
        member = tarfile.TarInfo("a.xml")
        member.size = 100000
        archive.addfile(member, io.BytesIO(np.random.default_rng(0).bytes(100000)))
    damaged.write_bytes(damaged.read_bytes()[:5000])
    with pytest.raises(InputError, match="damaged"):
        read_boxes(damaged)
    (tmp_path / "b.tar.gz").write_bytes(b"no archive")
    with pytest.raises(InputError, match="damaged"):
        read_boxes(tmp_path / "b.tar.gz")
    for text, message in (
        ("filename,width\na,1\n", "no column height"),
        ("filename,width,height,xmin,ymin,xmax,ymax\na,100,80,1,2\n", "cannot be read"),
        ("filename,width,height,xmin,ymin,xmax,ymax\na,100,80,1,2,3,x\n", "cannot be read"),
        ("filename,width,height,xmin,ymin,xmax,ymax\na,9,9,1,2,3,4\na,8,9,1,2,3,4\n", "two sizes"),
        ("filename,width,height,xmin,ymin,xmax,ymax\n", "no annotations"),
    ):
        (tmp_path / "c.csv").write_text(text)
        with pytest.raises(InputError, match=message):
            read_boxes(tmp_path / "c.csv")
    with pytest.raises(InputError, match="there are no boxes at"):
        read_boxes(tmp_path / "missing")
