"""Cue-conflict stimuli, from their file names."""

import re
from collections import Counter
from pathlib import Path

import pytest

from sparseshape_jax.errors import InputError
from sparseshape_jax.observers.categories import CATEGORIES, shape_and_texture
from sparseshape_jax.observers.records import read_csv
from sparseshape_jax.stimuli.cue_conflict import CueConflict


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def contents(stimuli: CueConflict) -> list[tuple[Path, str, str | None]]:
    """Path, shape and texture of every stimulus."""
    assert len(stimuli) == len(stimuli.paths)
    return list(zip(stimuli.paths, stimuli.categories, stimuli.textures, strict=True))


def test_shape_and_texture_are_read_from_the_name(tmp_path):
    touch(tmp_path, "car/car1-clock2.png", "car/car10-car3.png", "airplane/airplane2-elephant1.PNG")
    assert contents(CueConflict(tmp_path)) == [
        (tmp_path / "airplane/airplane2-elephant1.PNG", "airplane", "elephant"),
        (tmp_path / "car/car1-clock2.png", "car", "clock"),
        (tmp_path / "car/car10-car3.png", "car", "car"),
    ]


def test_the_folder_above_will_do(tmp_path):
    touch(tmp_path, "cue-conflict/car/car1-clock2.png", "README.png")
    above, inner = CueConflict(tmp_path), CueConflict(tmp_path / "cue-conflict")
    assert contents(above) == contents(inner) == [(tmp_path / "cue-conflict/car/car1-clock2.png", "car", "clock")]
    assert above.key(0) == inner.key(0) == "car/car1-clock2.png"


@pytest.mark.parametrize(
    "name",
    [
        "car/image.png",
        "car/car1-dragon2.png",  # no such category
        "dragon/dragon1-clock2.png",
        "clock/car1-clock2.png",  # in the texture's folder
        "car1-clock2.png",  # in no folder
        "test/car/car1-clock2.png",  # too deep
        "car/car1-clock2-copy.png",
    ],
)
def test_another_layout_is_refused(tmp_path, name):
    touch(tmp_path, "airplane/airplane1-bear1.png", name)
    with pytest.raises(
        InputError, match=f"{re.escape(str(tmp_path))} is not in cue-conflict layout: {re.escape(name)} "
    ):
        CueConflict(tmp_path)


def test_missing_and_empty(tmp_path):
    with pytest.raises(InputError, match="there is no folder"):
        CueConflict(tmp_path / "none")
    with pytest.raises(InputError, match="there are no images"):
        CueConflict(tmp_path)


def test_reference_stimuli(reference_data):
    stimuli = CueConflict(reference_data / "data" / "cue-conflict")
    assert len(stimuli) == 651
    assert sum(shape != texture for _, shape, texture in contents(stimuli)) == 614
    assert set(Counter(stimuli.categories)) == set(CATEGORIES)
    assert contents(CueConflict(reference_data / "data")) == contents(stimuli)
    assert set(stimuli.conditions) == {"0"}
    assert len(stimuli.conditions) == 651


@pytest.mark.parametrize("name", ["car1-clock2.png", "car-clock.png", "car-clock2.png"])
def test_stimuli_and_records_have_one_grammar(tmp_path, name):
    """A name is that of a stimulus exactly if it may be in records."""
    touch(tmp_path, f"car/{name}")
    stimuli = CueConflict(tmp_path)
    assert (stimuli.categories, stimuli.textures) == (("car",), ("clock",))
    assert shape_and_texture(name) == ("car", "clock")
    (tmp_path / "records.csv").write_text(
        "subj,session,trial,rt,object_response,category,condition,imagename\n" + f"net,1,1,NaN,car,car,0,{name}\n"
    )
    records = read_csv(tmp_path / "records.csv")
    assert (records.dataset, records.textures) == ("cue-conflict", ("clock",))


def test_without_any_conflict(tmp_path):
    touch(tmp_path, "car/car1-car2.png", "clock/clock1-clock1.png")
    with pytest.raises(
        InputError, match=f"no stimulus in {re.escape(str(tmp_path))} has a texture other than its shape"
    ):
        CueConflict(tmp_path)
