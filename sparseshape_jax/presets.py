"""Presets: files of settings for `--config`. A clone has them in `configs/`; an installed package brings them along."""

from pathlib import Path

PACKAGE = Path(__file__).parent


def find(path: str) -> str:
    """The file that `--config` means.

    Args:
        path: as it was typed.

    Returns:
        `path`; but if there is no such file, and it begins with `configs/`, the preset of this name that comes with the
        package. So the commands of the documentation work in any folder, with a clone and without.
    """
    if Path(path).exists() or Path(path).parts[:1] != ("configs",):
        return path
    candidates = (PACKAGE / path, PACKAGE.parent / path)
    return str(next((candidate for candidate in candidates if candidate.is_file()), path))
