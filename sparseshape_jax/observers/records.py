"""Decisions as records: who saw which image and answered what, in the CSV format of model-vs-human.

One file holds one session of one observer, `<dataset>/<dataset>_<observer>_session-1.csv`. The format, and how
observers, stimuli and missing answers are told apart, follow https://github.com/bethgelab/model-vs-human (Geirhos et
al. 2021). Departures: a file that does not fit the format is an error here, and so is a trial that is read twice.
"""

import csv
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from sparseshape_jax import output
from sparseshape_jax.errors import InputError
from sparseshape_jax.observers.categories import CATEGORIES, shape_and_texture, stimulus_name

COLUMNS = ("subj", "session", "trial", "rt", "object_response", "category", "condition", "imagename")
CUE_CONFLICT = "cue-conflict"

_FORMAT = f"records are model-vs-human's CSV files, with the columns {','.join(COLUMNS)}"

_FILE_NAME = re.compile(r"(?P<dataset>[^_]+)_.+_session[-_]\d+", re.IGNORECASE)
_SPARSE_NAME = re.compile(r"(?P<model>.+?)[_-](?:(?P<keep>top|rest)K[_-](?P<percent>\d+(?:\.\d+)?)|normal)")
# Tables that an earlier run wrote next to its records. They are not records themselves.
_OTHER_TABLES = {"summary.csv", "consistency.csv"}


@dataclass(frozen=True)
class Records:
    """The trials of one observer on one dataset; the tuples run in parallel, one entry per trial.

    Raises:
        InputError: the tuples differ in length, a category or a response is not one of the 16, or an image of the
            cue-conflict set does not name its shape and texture.
    """

    observer: str
    """The CSV's `subj`. Names that start with `subject` are humans."""
    images: tuple[str, ...]
    """File names of the images, for humans with the prefix of the trial."""
    categories: tuple[str, ...]
    """The correct answers; for cue-conflict images the category of the shape."""
    responses: tuple[str | None, ...]
    """The observer's answers; `None` where a human gave none in time."""
    dataset: str = CUE_CONFLICT
    conditions: tuple[str | None, ...] = ()
    """The strength of the distortion, for datasets that have several. Left empty: none has one."""

    def __post_init__(self) -> None:
        for name in ("images", "categories", "responses", "conditions"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.conditions:
            object.__setattr__(self, "conditions", (None,) * len(self.images))
        lengths = {len(self.images), len(self.categories), len(self.responses), len(self.conditions)}
        if len(lengths) > 1:
            raise InputError(f"the records of {self.observer!r} have columns of different lengths: {sorted(lengths)}")
        for trial in zip(self.images, self.categories, self.responses, strict=True):
            if fault := _fault(self.dataset, *trial):
                raise InputError(f"the records of {self.observer!r}: {fault}")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def is_human(self) -> bool:
        """Whether the observer is a human subject, by model-vs-human's naming."""
        return is_human(self.observer)

    @cached_property
    def stimuli(self) -> tuple[str, ...]:
        """The images' names without the trials' prefixes: equal for all observers who saw the same image."""
        return tuple(stimulus_name(image) for image in self.images)

    @cached_property
    def textures(self) -> tuple[str | None, ...]:
        """The categories of the textures; all `None` for datasets other than cue-conflict."""
        if self.dataset != CUE_CONFLICT:
            return (None,) * len(self)
        return tuple(pair[1] if (pair := shape_and_texture(image)) else None for image in self.images)


def is_human(observer: str) -> bool:
    """Whether an observer's name is that of a human subject: `subject-01`."""
    return observer.startswith("subject")


def observer_name(model: str, fraction: float | None = None, keep: str | None = None) -> str:
    """Return the name of `model` with Top-K, as the paper's authors write it: `alexnet_topK_20`.

    With `keep="rest"` it is `alexnet_restK_20`; without Top-K (no fraction, one of 1, or `keep="all"`) the model's own.
    """
    if fraction is None or fraction == 1 or keep in (None, "all"):
        return model
    return f"{model}_{keep}K_{100 * fraction:g}"


def parse_observer_name(observer: str) -> tuple[str, float | None, str | None]:
    """Return `(model, fraction, keep)`, the reverse of `observer_name`; `None` for what the name does not say.

    The authors' `AlexNet_normal` is the model without Top-K: `("AlexNet", 1.0, "all")`.
    """
    match = _SPARSE_NAME.fullmatch(observer)
    if match is None:
        return observer, None, None
    if match["percent"] is None:
        return match["model"], 1.0, "all"
    return match["model"], float(match["percent"]) / 100, match["keep"]


def csv_path(folder: str | os.PathLike[str], observer: str, dataset: str = CUE_CONFLICT) -> Path:
    """Return where `write_csv` puts the records of `observer` below `folder`."""
    name = re.sub(r"[^\w.]|_", "-", observer)
    return Path(folder) / "raw-data" / dataset / f"{dataset}_{name}_session-1.csv"


def write_csv(folder: str | os.PathLike[str], records: Records) -> Path:
    """Write `records` below `folder` where model-vs-human looks for them and return the file's path.

    That is `raw-data/<dataset>/<dataset>_<observer>_session-1.csv`, with dashes in place of the observer's underscores
    and of what a file name cannot hold. Inside, `subj` is the observer unchanged. Reaction times are NaN, as for all
    models.

    Raises:
        InputError: the file cannot be written.
    """
    path = csv_path(folder, records.observer, records.dataset)
    trials = zip(records.responses, records.categories, records.conditions, records.images, strict=True)
    rows = [
        (records.observer, 1, trial, "NaN", response or "na", category, condition or "NaN", image)
        for trial, (response, category, condition, image) in enumerate(trials, start=1)
    ]
    output.write_csv(path, COLUMNS, [dict(zip(COLUMNS, row, strict=True)) for row in rows])
    return path


def read_csv(path: str | os.PathLike[str]) -> Records:
    """Read one file of records: one session of one observer.

    The dataset is taken from the file's name. If the file has another name, the dataset is cue-conflict if all images
    are named like its stimuli, or else the name of the file's folder.

    Raises:
        InputError: the file cannot be read, or something in it does not fit the format; the message names the line.
    """
    path = Path(path)
    rows = _read_rows(path)
    observer = rows[0][1]["subj"]
    images = tuple(row["imagename"] for _, row in rows)
    dataset = _dataset(path, images)
    seen = set()
    for line, row in rows:
        trial = (row["imagename"], row["condition"])
        fault = _fault(dataset, row["imagename"], row["category"], _value(row["object_response"]))
        if not row["subj"] or row["subj"] != observer:
            fault = f"subj is {row['subj']!r}, in the first line it is {observer!r}; one file, one observer"
        elif trial in seen:
            fault = f"image {row['imagename']!r} appears a second time"
        if fault:
            raise InputError(f"{path}, line {line}: {fault}")
        seen.add(trial)
    return Records(
        observer=observer,
        images=images,
        categories=tuple(row["category"] for _, row in rows),
        responses=tuple(_value(row["object_response"]) for _, row in rows),
        dataset=dataset,
        conditions=tuple(_value(row["condition"]) for _, row in rows),
    )


def read_folders(folders: Iterable[str | os.PathLike[str]]) -> list[Records]:
    """Read all CSV files in `folders` and below; return one `Records` per observer and dataset, sessions merged.

    They are sorted by the files' names, with numbers compared as numbers. A file may be given in place of a folder.
    Hidden files and the tables that this package writes next to its records (`summary.csv`, `consistency.csv`) are
    ignored.

    Raises:
        InputError: a folder does not exist or holds no records, a file does not fit the format, or two repeat a trial.
    """
    files = dict.fromkeys(file.resolve() for folder in folders for file in _csv_files(Path(folder)))
    merged: dict[tuple[str, str], Records] = {}
    for file in files:
        part = read_csv(file)
        key = (part.dataset, part.observer)
        merged[key] = _join(merged[key], part, file) if key in merged else part
    return list(merged.values())


def _csv_files(folder: Path) -> list[Path]:
    if not folder.exists():
        raise InputError(f"the records folder {folder} does not exist; {_FORMAT}")
    candidates = [folder] if folder.is_file() else folder.rglob("*")
    files = [
        file
        for file in candidates
        if file.suffix.lower() == ".csv" and file.name not in _OTHER_TABLES and not file.name.startswith(".")
    ]
    if not files:
        raise InputError(f"the records folder {folder} holds no records; {_FORMAT}")
    # Splitting at a group leaves the numbers at the odd places.
    return sorted(files, key=lambda file: [int(t) if i % 2 else t for i, t in enumerate(re.split(r"(\d+)", str(file)))])


def _read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Return each trial's line number and its values by column; at least one."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if cells]
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file; {_FORMAT}") from None
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not CSV ({error}); {_FORMAT}") from None
    # Some of model-vs-human's files have "Session".
    header = [name.lower() for name in lines[0][1]] if lines else []
    if missing := [name for name in COLUMNS if name not in header]:
        raise InputError(f"{path}, line 1: no column {', '.join(missing)}; {_FORMAT}")
    if len(lines) == 1:
        raise InputError(f"{path} holds no trials, only the names of the columns")
    for line, cells in lines:
        if len(cells) != len(header):
            raise InputError(
                f"{path}, line {line}: {len(cells)} values for {len(header)} columns; is the file cut off?"
            )
    return [(line, dict(zip(header, cells, strict=True))) for line, cells in lines[1:]]


def _join(first: Records, second: Records, file: Path) -> Records:
    known, new = (set(zip(part.images, part.conditions, strict=True)) for part in (first, second))
    if repeated := known & new:
        raise InputError(f"{file} repeats {len(repeated)} trials of {first.observer!r}; give each session once")
    return replace(
        first,
        images=first.images + second.images,
        categories=first.categories + second.categories,
        responses=first.responses + second.responses,
        conditions=first.conditions + second.conditions,
    )


def _dataset(path: Path, images: Sequence[str]) -> str:
    if match := _FILE_NAME.fullmatch(path.stem):
        return match["dataset"]
    return CUE_CONFLICT if all(map(shape_and_texture, images)) else path.resolve().parent.name


def _value(text: str) -> str | None:
    return None if text.lower() in ("", "na", "nan") else text


def _fault(dataset: str, image: str, category: str, response: str | None) -> str | None:
    """Say what is wrong with a trial, if anything."""
    if category not in CATEGORIES:
        return f"category is {category!r}; it must be one of {', '.join(CATEGORIES)}"
    if response is not None and response not in CATEGORIES:
        return f"object_response is {response!r}; it must be one of {', '.join(CATEGORIES)} or na"
    if dataset != CUE_CONFLICT:
        return None
    names = shape_and_texture(image)
    if names is None:
        return (
            f"image {image!r} does not name a shape and a texture of the 16 categories, as airplane1-bicycle2.png does"
        )
    if names[0] != category:
        return f"category is {category!r}, but image {image!r} has the shape of {names[0]!r}"
    return None
