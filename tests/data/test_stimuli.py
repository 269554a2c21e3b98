"""Cue-conflict stimuli, from their file names."""

import re
from collections import Counter
from pathlib import Path

import pytest

from sparseshape_jax.data.stimuli import Stimulus, find_stimuli
from sparseshape_jax.errors import InputError
from sparseshape_jax.shape_bias.categories import CATEGORIES


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_shape_and_texture_are_read_from_the_name(tmp_path):
    touch(tmp_path, "car/car1-clock2.png", "car/car10-car3.png", "airplane/airplane2-elephant1.PNG")
    assert find_stimuli(tmp_path) == [
        Stimulus(tmp_path / "airplane/airplane2-elephant1.PNG", "airplane", "elephant"),
        Stimulus(tmp_path / "car/car1-clock2.png", "car", "clock"),
        Stimulus(tmp_path / "car/car10-car3.png", "car", "car"),
    ]


def test_the_folder_above_will_do(tmp_path):
    touch(tmp_path, "cue-conflict/car/car1-clock2.png", "README.png")
    assert find_stimuli(tmp_path) == find_stimuli(tmp_path / "cue-conflict")


@pytest.mark.parametrize(
    "name",
    [
        "car/picture.png",
        "car/car-clock.png",  # no numbers
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
        find_stimuli(tmp_path)


def test_missing_and_empty(tmp_path):
    with pytest.raises(InputError, match="there is no folder"):
        find_stimuli(tmp_path / "none")
    with pytest.raises(InputError, match="there are no images"):
        find_stimuli(tmp_path)


def test_reference_stimuli(reference_data):
    stimuli = find_stimuli(reference_data / "data" / "cue-conflict")
    assert len(stimuli) == 651
    assert sum(stimulus.shape != stimulus.texture for stimulus in stimuli) == 614
    assert set(Counter(stimulus.shape for stimulus in stimuli)) == set(CATEGORIES)
    assert find_stimuli(reference_data / "data") == stimuli
