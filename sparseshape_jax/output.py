"""Writing results so that a reader never sees half a file.

Every output is written under a temporary name in its own folder and renamed when complete: a killed run leaves either
the old file or the new one.
"""

import contextlib
import csv
import dataclasses
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jaxtyping import Float
from PIL import Image

from sparseshape_jax.errors import InputError


def prepare_folder(folder: str | os.PathLike[str]) -> Path:
    """Create `folder` (and its parents) and prove that a file can be written there.

    Raises:
        InputError: the folder cannot be created or written to.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise InputError(
            f"cannot write to the output folder {path} ({error.strerror}); give a folder you may write to with --out"
        ) from None
    return path


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path next to `path`, with its suffix; rename it to `path` on success, delete it on failure.

    Raises:
        InputError: the disk is full or the folder is not writable.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise InputError(
            f"cannot write {path} ({error.strerror or error}); free some space or choose another folder"
        ) from None
    finally:
        with contextlib.suppress(OSError):  # mostly because it is not there
            temporary.unlink()


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files below `folder` that killed processes of this machine left behind."""
    for path in folder.rglob(".*.partial*"):
        process = re.search(r"\.(\d+)\.partial", path.name)
        if process is not None and not _is_running(int(process[1])):
            path.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    if os.name == "nt":  # where asking would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to someone else
        return True
    return True


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8, all or nothing."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON, all or nothing. NaN is written as `null`, which every JSON reader accepts."""
    write_text(path, json.dumps(_without_nan(value), indent=2, allow_nan=False) + "\n")


def write_csv(path: str | os.PathLike[str], columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `rows` under a header line of `columns`, all or nothing."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_image(path: str | os.PathLike[str], image: Float[np.ndarray, "h w 3"]) -> None:
    """Write an RGB image in [0, 1] with 8 bits a channel, all or nothing. NaN is written as 0.

    The file's suffix says which format; PNG loses nothing.
    """
    pixels = np.clip(np.nan_to_num(image), 0, 1)
    with replacing(path) as temporary:
        Image.fromarray(np.round(pixels * 255).astype(np.uint8)).save(temporary)


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value


def read_json(path: str | os.PathLike[str]) -> Any:
    """The value in a JSON file, or None where there is none to be read."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def write_config(path: str | os.PathLike[str], config: Any) -> None:
    """Write a configuration dataclass as YAML that `--config` reads back, all or nothing."""
    write_text(path, yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True))


def plain(value: Any) -> Any:
    """What `write_config` writes of a configuration: nested dicts, lists, strings, numbers."""
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, os.PathLike) else value
