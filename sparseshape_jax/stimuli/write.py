"""The job behind `synthesize.py stimuli`: write sets of stimuli, made from images, as files that every job reads."""

import csv
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image
from tqdm import tqdm

from sparseshape_jax import output
from sparseshape_jax.data.decoding import prepare
from sparseshape_jax.data.images import Images, generator
from sparseshape_jax.data.open import open_images
from sparseshape_jax.downloads import sha256
from sparseshape_jax.errors import InputError
from sparseshape_jax.preprocessing import Preprocessing
from sparseshape_jax.results import FINGERPRINT, Results, Row, fingerprint
from sparseshape_jax.stimuli import sets
from sparseshape_jax.stimuli.config import StimuliConfig
from sparseshape_jax.stimuli.stimulus_set import Stimulus, StimulusSet

MANIFEST = "manifest.csv"
COLUMNS = ("image", "set", "condition", "file", "sha256")
RESIZE = 256 / 224
"""The short side before the crop, in sides of the crop: ImageNet's usual."""


def run(config: StimuliConfig) -> list[Row]:
    """Write every set that `config` names to `config.out`; files that are there already are kept.

    Returns one row per set and condition: set, condition, files.

    Raises:
        InputError: an unknown set or condition, no images, one that cannot be decoded, two stimuli that would become
            the same file, a folder that cannot be written, or one that holds a set made with other settings or a
            manifest that cannot be read.
    """
    images = open_images(config.images)
    wanted = {name: sets.find(name) for name in config.sets}
    plan: list[tuple[str, Stimulus]] = []
    for name, stimulus_set in wanted.items():
        conditions = config.conditions if config.conditions is not None else stimulus_set.conditions
        for condition in conditions:
            stimulus_set.check(condition)
        plan += [(name, stimulus) for stimulus in stimulus_set.plan(name, images, conditions)]
    _refuse_collisions(images, [stimulus for _, stimulus in plan])
    results = Results(config.out, "synthesize stimuli", config, identity=("set", "condition"))
    counts: dict[tuple[str, str], int] = {}
    for name, stimulus in plan:
        counts[name, stimulus.condition] = counts.get((name, stimulus.condition), 0) + 1
    prints = {key: _fingerprint(config, wanted[key[0]], *key) for key in counts}
    _refuse_other_settings(results, prints, plan)
    listed = _read_manifest(results.folder / MANIFEST)
    for (name, condition), files in counts.items():  # before the files: the rows say how they are made
        results.add({"set": name, "condition": condition, "files": files}, prints[name, condition])
    missing = [(name, stimulus) for name, stimulus in plan if not (results.folder / stimulus.file).exists()]
    with tqdm(total=len(plan), initial=len(plan) - len(missing), unit="image") as progress:
        for _ in _make(config, images, wanted, missing, results.folder):
            progress.update()
    _write_manifest(results.folder, listed, images, plan)
    rows = results.finish()
    print(f"{config.out}: {len(plan)} stimuli, {len(missing)} of them new")
    return rows


def _make(
    config: StimuliConfig,
    images: Images,
    wanted: dict[str, StimulusSet],
    missing: Sequence[tuple[str, Stimulus]],
    folder: Path,
) -> Iterator[None]:
    """Make the missing files, a few at a time."""

    def make(item: tuple[str, Stimulus]) -> None:
        name, stimulus = item
        stimulus_set = wanted[name]
        image = images.image(stimulus.index)
        size = config.size or stimulus_set.size
        if size is not None:
            pixels = prepare(image, Preprocessing(resize=round(size * RESIZE), crop=size))
        else:
            pixels = np.asarray(image)
        made = stimulus_set.make(pixels, stimulus.condition, generator(images, stimulus.index, config.seed))
        with output.replacing(folder / stimulus.file) as temporary:
            Image.fromarray(made).save(temporary)

    pool = ThreadPoolExecutor()
    try:
        yield from pool.map(make, missing)
    finally:
        pool.shutdown(cancel_futures=True)


def _fingerprint(config: StimuliConfig, stimulus_set: StimulusSet, name: str, condition: str) -> str:
    source = config.images if config.images.startswith("tfds:") else str(Path(config.images).resolve())
    return fingerprint([source, config.seed, config.size or stimulus_set.size, name, condition], versions_of=())


def _refuse_other_settings(
    results: Results, prints: dict[tuple[str, str], str], plan: Sequence[tuple[str, Stimulus]]
) -> None:
    """Files are kept from one run to the next, so all files of a set and condition must be made the same way."""
    known = {(row.get("set"), row.get("condition")): row.get(FINGERPRINT) for row in results.rows}
    for name, stimulus in plan:
        key = (name, stimulus.condition)
        # A row is written before the first file. Files without one are from a folder whose results.json was lost.
        if known.get(key) != prints[key] and (key in known or (results.folder / stimulus.file).exists()):
            raise InputError(
                f"{results.folder} holds the set {name} made with other settings"
                f" ({results.folder / 'config.yaml'}); give another --out"
            )


def _refuse_collisions(images: Images, plan: Sequence[Stimulus]) -> None:
    taken: dict[PurePosixPath, int] = {}
    for stimulus in plan:
        if stimulus.file in taken:
            raise InputError(
                f"{images.key(taken[stimulus.file])} and {images.key(stimulus.index)} in {images.name} would both"
                f" become {stimulus.file}; rename one"
            )
        taken[stimulus.file] = stimulus.index


def _read_manifest(path: Path) -> list[dict[str, str]]:
    """The lines of an earlier run's manifest, if it exists."""
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *lines = csv.reader(file, strict=True)
        if tuple(header) == COLUMNS:
            return [dict(zip(COLUMNS, line, strict=True)) for line in lines]
    except (ValueError, csv.Error):  # not text, not CSV, empty, or a line that is cut off
        pass
    raise InputError(f"{path} is not a manifest of stimuli, or is damaged; delete it, or give another --out")


def _write_manifest(
    folder: Path, listed: Sequence[dict[str, str]], images: Images, plan: Sequence[tuple[str, Stimulus]]
) -> None:
    """List this run's files with their hashes, and those of other sets and conditions that were listed before."""
    made = {(name, stimulus.condition) for name, stimulus in plan}
    lines = [line for line in listed if (line["set"], line["condition"]) not in made]
    for name, stimulus in plan:
        lines.append(
            {
                "image": images.key(stimulus.index),
                "set": name,
                "condition": stimulus.condition,
                "file": stimulus.file.as_posix(),
                "sha256": sha256(folder / stimulus.file),
            }
        )
    output.write_csv(folder / MANIFEST, COLUMNS, sorted(lines, key=lambda line: line["file"]))
