"""The job behind `synthesize.py band-sets`: write the band-biased sets as class folders and as arrays.

It is not one of the sets of `synthesize.py stimuli`, because all of those are made from photographs.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from jaxtyping import Int, UInt8
from PIL import Image
from tqdm import tqdm

from sparseshape_jax import output
from sparseshape_jax.downloads import sha256
from sparseshape_jax.errors import InputError
from sparseshape_jax.figures import band_sets as figures
from sparseshape_jax.frequency.bands import BANDS
from sparseshape_jax.results import Results, Row, fingerprint
from sparseshape_jax.stimuli import frequency
from sparseshape_jax.stimuli.config import BandSetsConfig
from sparseshape_jax.weights.read import read_arrays

SETTINGS = "sets.yaml"
IMAGES, LABELS = "images.npy", "labels.npy"


class Split(NamedTuple):
    """A split of a set, before it is made."""

    name: str
    """Of the set, such as syn_3."""
    split: str
    labels: Int[np.ndarray, " n"]
    image: Callable[[int], UInt8[np.ndarray, "s s 3"]]
    """The image at a position."""

    def files(self) -> list[str]:
        """The PNG of each image, below the split's folder: class folder, and number in the class."""
        numbers = dict.fromkeys(self.labels.tolist(), 0)
        found = []
        for label in self.labels.tolist():
            found.append(f"c{label}/{numbers[label]:05}.png")
            numbers[label] += 1
        return found


def run(config: BandSetsConfig) -> list[Row]:
    """Write the sets to `config.out`; files that are there already are kept.

    Returns one row per set and split: set, split, images, sha256 (of images.npy).

    Raises:
        InputError: a folder that cannot be written, or that holds sets made with other settings; arrays that cannot be
            read, or are no images with labels.
    """
    splits = _published(config) if config.arrays else _generated(config)
    settings = _settings(config, splits)
    _refuse_other_settings(Path(config.out), settings)
    results = Results(config.out, "synthesize band-sets", config, identity=("set", "split"))
    output.write_text(results.folder / SETTINGS, yaml.safe_dump(settings, sort_keys=False))
    new = 0
    total = sum(len(split.labels) for split in splits)
    with tqdm(total=total, unit="image") as progress:
        for split in splits:
            new += _write(results.folder / split.name / split.split, split, progress)
    for split in splits:
        digest = sha256(results.folder / split.name / split.split / IMAGES)
        row = {"set": split.name, "split": split.split, "images": len(split.labels), "sha256": digest}
        results.add(row, fingerprint([settings, split.name, split.split], versions_of=()))
    sheets = {
        name: _by_class(results.folder / name / split)
        for name, split in {split.name: split.split for split in splits}.items()  # the last split: test
    }
    drawn = figures.draw_sheet(results.figures / "contact_sheet", sheets)
    drawn += figures.draw_spectra(
        results.figures / "spectra",
        {name: [frequency.mean_spectrum(own) for own in classes] for name, classes in sheets.items()},
    )
    rows = results.finish(drawn)
    print(f"{config.out}: {total} images, {new} of them new")
    return rows


def _generated(config: BandSetsConfig) -> list[Split]:
    """All splits of the sets that the settings ask for."""

    def make(band: int, split: str, count: int) -> Split:
        def image(position: int) -> UInt8[np.ndarray, "s s 3"]:
            label, index = divmod(position, count)
            values = frequency.image(
                band, label, split, index, size=config.size, cue=config.cue, share=config.share, seed=config.seed
            )
            return frequency.pixels(values)

        return Split(f"syn_{band}", split, np.repeat(np.arange(len(frequency.CLASSES)), count), image)

    counts = {"train": config.train, "val": config.val, "test": config.test}
    return [make(band, split, count) for band in config.bands for split, count in counts.items()]


def _settings(config: BandSetsConfig, splits: list[Split]) -> dict[str, Any]:
    """What sets.yaml says: all that the images depend on, except for which of the four sets there are."""
    if config.arrays:
        sources = zip(splits, _paths(config), strict=True)
        return {"arrays": {f"{split.name}/{split.split}": sha256(path) for split, path in sources}}
    given = {name: getattr(config, name) for name in ("size", "train", "val", "test", "cue", "share", "seed")}
    stripes = {
        f"syn_{band}": {
            name: list(found)
            for label, name in enumerate(frequency.CLASSES)
            if (found := frequency.planted(band, label, config.size))
        }
        for band in range(1, BANDS + 1)
    }
    return {**given, "contrast": frequency.CONTRAST, "stripes": stripes}


def _refuse_other_settings(out: Path, settings: dict[str, Any]) -> None:
    """Files are kept from one run to the next, so all of a folder must be made the same way."""
    path = out / SETTINGS
    try:
        earlier = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if any(out.glob("*/*/c*/*.png")):
            raise InputError(f"{out} holds images, but no {SETTINGS} that says how they were made") from None
        return
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        earlier = None
    if earlier != settings:
        raise InputError(f"{out} holds sets made with other settings ({path}); give another --out")


def _write(folder: Path, split: Split, progress: tqdm) -> int:
    """Write what is missing of a split; returns how many images that is."""
    files = [folder / name for name in split.files()]
    missing = {path for path in files if not path.exists()}
    if not missing and (folder / IMAGES).exists() and (folder / LABELS).exists():
        progress.update(len(files))
        return 0
    for stale in folder.rglob(".*.partial.png"):  # of a run that was killed
        stale.unlink()
    pixels = []
    for position, path in enumerate(files):
        pixels.append(split.image(position))
        if path in missing:
            with output.replacing(path) as temporary:
                Image.fromarray(pixels[-1]).save(temporary)
        progress.update()
    for name, array in ((IMAGES, np.stack(pixels)), (LABELS, split.labels.astype(np.int64))):
        with output.replacing(folder / name) as temporary:
            np.save(temporary, array)
    return len(missing)


def _by_class(folder: Path) -> list[UInt8[np.ndarray, "n s s 3"]]:
    """The images of a split that is written, class by class."""
    images, labels = np.load(folder / IMAGES), np.load(folder / LABELS)
    return [images[labels == label] for label in np.unique(labels)]


def _paths(config: BandSetsConfig) -> list[Path]:
    return [Path(name) for name in config.arrays]


def _published(config: BandSetsConfig) -> list[Split]:
    """The splits in the authors' arrays: each holds images (3, H, W), labels are in the file named data → label.

    As in their code, values are clipped to [0, 1], multiplied by 255 and truncated.
    """
    found = list(_read_arrays(config))
    names = [(split.name, split.split) for split in found]
    if len(set(names)) < len(names):
        raise InputError(f"two of the arrays are the same split of the same set: {', '.join(config.arrays)}")
    return found


def _read_arrays(config: BandSetsConfig) -> Iterator[Split]:
    for path in _paths(config):
        parts = re.fullmatch(r"(train|val|test)_data_?(.*)\.npy", path.name)
        if parts is None:
            raise InputError(f"{path} is not called train_data*.npy or test_data*.npy, so its split is not known")
        yield _read_split(path, parts[1], parts[2] or "published")


def _read_split(path: Path, split: str, name: str) -> Split:
    labels_path = path.with_name(path.name.replace("_data", "_label", 1))
    data, labels = _read(path), np.asarray(_read(labels_path))
    shapes = {np.shape(image) for image in data}
    if len(shapes) != 1 or len(shape := shapes.pop()) != 3 or shape[0] != 3:
        raise InputError(f"{path} does not hold images of one shape (3, H, W)")
    values = np.stack([np.asarray(image, np.float32) for image in data])
    if not np.isfinite(values).all():
        raise InputError(f"{path} holds a value that is not a number")
    if labels.shape != (len(values),) or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise InputError(f"{labels_path} does not hold one class number for each of the {len(values)} images")
    images = np.moveaxis((np.clip(values, 0, 1) * 255).astype(np.uint8), 1, -1)
    return Split(name, split, labels.astype(np.int64), lambda position: images[position])


def _read(path: Path) -> np.ndarray | list[np.ndarray]:
    """The array in a NumPy file, or the arrays and tensors in it."""
    found = read_arrays(path)
    return found["array"] if "array" in found else list(found.values())
