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
from sparseshape_jax.figures.stimuli import draw_preview
from sparseshape_jax.preprocessing import Preprocessing
from sparseshape_jax.results import FINGERPRINT, Results, Row, fingerprint
from sparseshape_jax.stimuli import sets
from sparseshape_jax.stimuli.config import StimuliConfig
from sparseshape_jax.stimuli.stimulus_set import Design, Pixels, Stimulus, StimulusSet, refuse_collisions

MANIFEST = "manifest.csv"
COLUMNS = ("image", "set", "condition", "file", "drawn", "sha256")
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
    names = dict.fromkeys(each for name in config.sets for each in sets.GROUPS.get(name, (name,)))
    wanted = {name: sets.find(name) for name in names}
    design = Design(config.seed, config.per_class, paired=config.design == "paired")
    plan: list[tuple[str, Stimulus]] = []
    for name, stimulus_set in wanted.items():
        conditions = config.conditions if config.conditions is not None else stimulus_set.conditions
        for condition in conditions:
            stimulus_set.check(condition)
        plan += [(name, stimulus) for stimulus in stimulus_set.plan(name, images, conditions, design)]
    refuse_collisions(images, [stimulus for _, stimulus in plan])
    _print_plan(images, plan)
    if config.dry_run:
        return []
    results = Results(config.out, "synthesize stimuli", config, identity=("set", "condition"))
    counts: dict[tuple[str, str], int] = {}
    for name, stimulus in plan:
        counts[name, stimulus.condition] = counts.get((name, stimulus.condition), 0) + 1
    prints = {key: _fingerprint(config, wanted[key[0]], plan, *key) for key in counts}
    _refuse_other_settings(results, prints, plan)
    listed = _read_manifest(results.folder / MANIFEST)
    for (name, condition), files in counts.items():  # before the files: the rows say how they are made
        results.add({"set": name, "condition": condition, "files": files}, prints[name, condition])
    missing = [(name, stimulus) for name, stimulus in plan if not (results.folder / stimulus.file).exists()]
    for name in dict.fromkeys(name for name, _ in missing):
        if wanted[name].needs_fit:
            used = sorted({stimulus.index for other, stimulus in plan if other == name})
            seen = (_pixels(config, wanted[name], images, index) for index in used)
            wanted[name] = wanted[name].fit(tqdm(seen, total=len(used), unit="image", desc=f"reading for {name}"))
    with tqdm(total=len(plan), initial=len(plan) - len(missing), unit="image") as progress:
        for _ in _make(config, images, wanted, missing, results.folder):
            progress.update()
    _write_manifest(config, results.folder, listed, images, wanted, plan)
    rows = results.finish(draw_preview(results.folder, _preview(plan)))
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
        pixels = _pixels(config, wanted[name], images, stimulus.index)
        try:
            made = wanted[name].make(pixels, stimulus.condition, generator(images, stimulus.index, config.seed))
        except InputError as error:
            raise InputError(f"{images.describe(stimulus.index)}: {error}") from None
        with output.replacing(folder / stimulus.file) as temporary:
            Image.fromarray(made).save(temporary)

    pool = ThreadPoolExecutor()
    try:
        yield from pool.map(make, missing)
    finally:
        pool.shutdown(cancel_futures=True)


def _pixels(config: StimuliConfig, stimulus_set: StimulusSet, images: Images, index: int) -> Pixels:
    """An image as the set wants it: resized and cropped, or as it is."""
    image, size = images.image(index), config.size or stimulus_set.size
    if size is None:
        return np.asarray(image)
    return prepare(image, Preprocessing(resize=round(size * RESIZE), crop=size))


def _drawn(config: StimuliConfig, images: Images, stimulus_set: StimulusSet, stimulus: Stimulus) -> str:
    """What was drawn at random for a stimulus, as the manifest has it."""
    size = config.size or stimulus_set.size
    if size is None:
        return ""
    return stimulus_set.drawn((size, size), stimulus.condition, generator(images, stimulus.index, config.seed))


def _print_plan(images: Images, plan: Sequence[tuple[str, Stimulus]]) -> None:
    """Say how many images and files each set has."""
    for name in dict.fromkeys(name for name, _ in plan):
        own = [stimulus for other, stimulus in plan if other == name]
        used, conditions = {stimulus.index for stimulus in own}, {stimulus.condition for stimulus in own}
        left = f"; {len(images) - len(used)} are left out" if len(used) < len(images) else ""
        print(f"{name}: {len(own)} stimuli in {len(conditions)} conditions, from {len(used)} images{left}")


def _preview(plan: Sequence[tuple[str, Stimulus]]) -> list[tuple[str, list[tuple[str, PurePosixPath]]]]:
    """For each set one file of every condition, of the set's first image where it has them all."""
    rows = []
    for name in dict.fromkeys(name for name, _ in plan):
        own = [stimulus for other, stimulus in plan if other == name]
        files = {stimulus.condition: stimulus.file for stimulus in reversed(own)}
        files |= {stimulus.condition: stimulus.file for stimulus in own if stimulus.index == own[0].index}
        order = dict.fromkeys(stimulus.condition for stimulus in own)
        conditions = [each for each in sets.find(name).conditions if each in order] or list(order)
        rows.append((name, [(condition, files[condition]) for condition in conditions]))
    return rows


def _fingerprint(
    config: StimuliConfig, stimulus_set: StimulusSet, plan: Sequence[tuple[str, Stimulus]], name: str, condition: str
) -> str:
    source = config.images if config.images.startswith("tfds:") else str(Path(config.images).resolve())
    facts = [source, config.seed, config.size or stimulus_set.size, name, condition]
    if stimulus_set.depends_on_all:  # where one image more would change the other stimuli
        files = sorted(stimulus.file.as_posix() for other, stimulus in plan if other == name)
        facts += [config.design, config.per_class, *files]
    return fingerprint(facts, versions_of=())


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
    config: StimuliConfig,
    folder: Path,
    listed: Sequence[dict[str, str]],
    images: Images,
    wanted: dict[str, StimulusSet],
    plan: Sequence[tuple[str, Stimulus]],
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
                "drawn": _drawn(config, images, wanted[name], stimulus),
                "sha256": sha256(folder / stimulus.file),
            }
        )
    output.write_csv(folder / MANIFEST, COLUMNS, sorted(lines, key=lambda line: line["file"]))
