"""Published sets made from photographs: their layout, their design, and that they can be made again."""

import csv
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sparseshape_jax import InputError
from sparseshape_jax.observers.experiments import PARAMETRIC, PUBLISHED_SETS
from sparseshape_jax.stimuli import sets
from sparseshape_jax.stimuli.config import StimuliConfig
from sparseshape_jax.stimuli.experiment_folder import ExperimentFolder, sets_in
from sparseshape_jax.stimuli.write import run

CLASSES = {"n02123045": "cat", "0285_egyptian_cat": "cat", "dog": "dog", "n01440764": None}
"""Folders by WordNet id, class index and category; a tench is not of the 16 categories."""


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for seed, name in enumerate(CLASSES):
        (folder / name).mkdir()
        for index in range(7):
            pixels = np.random.default_rng([seed, index]).integers(0, 256, (40, 60, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"photo_{index}.jpg")
    return folder


def make(photographs: Path, out: Path, *names: str, **settings) -> Path:
    run(StimuliConfig(images=str(photographs), sets=names, out=str(out), size=32, **settings))
    return out


def tree(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.suffix == ".png" and "figures" not in path.parts]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def fields(folder: Path) -> list[list[str]]:
    """A reader of layout B, after the published archives: the fields of every file's name."""
    return [path.name.split("_", 6) for path in sorted((folder / "dnn" / "session-1").iterdir())]


def test_the_layout_is_the_published_one_and_reads_back(photographs, tmp_path):
    out = make(photographs, tmp_path / "out", "contrast")
    read = fields(out / "contrast")
    assert [name[0] for name in read] == [f"{number:04}" for number in range(1, 22)]
    assert {tuple(name[1:3]) for name in read} == {("cop", "dnn")}
    assert {name[3] for name in read} <= set(PUBLISHED_SETS["contrast"].conditions)
    assert Counter(name[4] for name in read) == {"cat": 14, "dog": 7}
    ours = ExperimentFolder(out / "contrast")
    assert ours.categories == tuple(name[4] for name in read)
    assert ours.conditions == tuple(name[3] for name in read)
    assert sets_in(out) == ("contrast",)


def test_a_split_design_is_balanced_over_categories_and_conditions(photographs, tmp_path):
    out = make(photographs, tmp_path / "out", "contrast", "rotation")
    for name in ("contrast", "rotation"):
        conditions = PUBLISHED_SETS[name].conditions
        counts = Counter((part[4], part[3]) for part in fields(out / name))
        for category in ("cat", "dog"):
            own = [counts[category, condition] for condition in conditions]
            assert max(own) - min(own) <= 1
    with (out / "manifest.csv").open() as file:
        images = Counter((line["set"], line["image"]) for line in csv.DictReader(file))
    assert set(images.values()) == {1}


def test_a_paired_design_has_every_image_in_every_condition(photographs, tmp_path):
    out = make(photographs, tmp_path / "out", "rotation", design="paired", per_class=2)
    counts = Counter((part[6], part[3]) for part in fields(out / "rotation"))
    assert len(counts) == 4 * 4
    assert set(counts.values()) == {1}


def test_a_sample_of_each_category_is_part_of_a_larger_one(photographs, tmp_path):
    folders = [make(photographs, tmp_path / str(count), "colour", per_class=count) for count in (2, 4)]
    images = [{part[6] for part in fields(folder / "colour")} for folder in folders]
    assert len(images[0]) == 4
    assert images[0] < images[1]


@pytest.mark.parametrize("name", ["uniform-noise", "phase-scrambling", "power-equalisation", "eidolonI"])
def test_the_same_seed_gives_the_same_files(photographs, tmp_path, name):
    first = tree(make(photographs, tmp_path / "a", name, per_class=2))
    assert first == tree(make(photographs, tmp_path / "b", name, per_class=2))
    assert len(first) == 4


def test_a_run_that_was_killed_is_completed(photographs, tmp_path):
    whole = tree(make(photographs, tmp_path / "whole", "uniform-noise"))
    part = make(photographs, tmp_path / "part", "uniform-noise")
    (part / "manifest.csv").unlink()
    for file in list(whole)[::2]:
        (part / file).unlink()
    assert tree(make(photographs, part, "uniform-noise")) == whole
    assert (part / "manifest.csv").read_text() == (tmp_path / "whole" / "manifest.csv").read_text()
    with pytest.raises(InputError, match="made with other settings"):
        make(photographs, part, "uniform-noise", seed=1)
    with pytest.raises(InputError, match="made with other settings"):
        make(photographs, part, "uniform-noise", design="paired")


def test_a_dry_run_writes_nothing(photographs, tmp_path, capsys):
    make(photographs, tmp_path / "out", "parametric", dry_run=True)
    assert not (tmp_path / "out").exists()
    printed = capsys.readouterr().out
    assert "contrast: 21 stimuli in 8 conditions, from 21 images; 7 are left out" in printed
    assert all(f"{name}: " in printed for name in PARAMETRIC)


def test_outlines_need_an_object_on_white(photographs, tmp_path):
    (tmp_path / "white" / "car").mkdir(parents=True)
    pixels = np.full((32, 32, 3), 255, np.uint8)
    pixels[10:22, 8:24] = np.random.default_rng(0).integers(0, 200, (12, 16, 3))
    Image.fromarray(pixels).save(tmp_path / "white" / "car" / "a_b.png")
    out = make(tmp_path / "white", tmp_path / "out", "silhouette", "edge")
    assert (out / "silhouette" / "car" / "car-a-b.png").is_file()
    silhouette = np.asarray(Image.open(out / "silhouette" / "car" / "car-a-b.png"))
    assert set(np.unique(silhouette)) == {0, 255}
    assert ExperimentFolder(out / "edge").categories == ("car",)
    with pytest.raises(InputError, match=r"photo_\d\.jpg: .* does not show an object on white"):
        make(photographs, tmp_path / "refused", "edge")


def test_what_cannot_be_made(photographs, tmp_path):
    with pytest.raises(InputError, match=r"no set of stimuli called 'sketch'; there are .*contrast.*parametric"):
        make(photographs, tmp_path / "out", "sketch")
    with pytest.raises(InputError, match="the set contrast has no condition 'c99'; it has c100"):
        make(photographs, tmp_path / "out", "contrast", conditions=("c99",))
    with pytest.raises(InputError, match=r"none of the 7 images .* is of the 16 categories"):
        make(photographs / "n01440764", tmp_path / "out", "contrast")
    with pytest.raises(InputError, match="per_class is 0; it must be at least 1"):
        make(photographs, tmp_path / "out", "contrast", per_class=0)
    assert not (tmp_path / "out").exists()


def test_files_of_an_experiment_that_are_named_otherwise(tmp_path):
    (tmp_path / "a" / "horse").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "a" / "horse" / "x.png")
    with pytest.raises(InputError, match="of the category 'horse', not among airplane"):
        ExperimentFolder(tmp_path / "a")
    assert ExperimentFolder(tmp_path / "a", ("horse", "cow")).categories == ("horse",)
    (tmp_path / "b" / "dnn" / "session-1").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "b" / "dnn" / "session-1" / "0001_cop_dnn_c05.png")
    with pytest.raises(InputError, match="is not named <trial>_<code>_dnn_"):
        ExperimentFolder(tmp_path / "b")
    Image.new("RGB", (8, 8)).save(tmp_path / "a" / "loose.png")
    with pytest.raises(InputError, match=r"is not in a category's folder"):
        ExperimentFolder(tmp_path / "a", ("horse",))
    with pytest.raises(InputError, match=r"there is no folder .*nowhere"):
        sets_in(tmp_path / "nowhere")


def test_every_set_is_named_in_the_help():
    help_text = Path(sets.__file__).with_name("config.py").read_text()
    assert [name for name in (*sets.names(), *sets.GROUPS) if name not in help_text] == []
