"""Reading the stimuli of an experiment with the 16 categories, or with others, in the published layouts.

Layout A is `<set>/<category>/<name>.png`, with a single condition. Layout B is
`<set>/dnn/session-1/<trial>_<code>_dnn_<condition>_<category>_<number>_<image>.png`.
"""

from collections.abc import Sequence
from pathlib import Path

from sparseshape_jax.data.folders import Folder, image_files
from sparseshape_jax.data.images import Experiment
from sparseshape_jax.errors import InputError
from sparseshape_jax.observers.categories import CATEGORIES, shape_and_texture
from sparseshape_jax.results import FIGURES, RESULTS

SESSION = Path("dnn", "session-1")


class ExperimentFolder(Folder, Experiment):
    """All stimuli of one set, sorted by name.

    Args:
        folder: the set's folder.
        categories: the possible answers; by default the 16 categories.

    Raises:
        InputError: the folder is missing or empty, or an image is not named as one of the two layouts has it.
    """

    def __init__(self, folder: Path, categories: Sequence[str] = CATEGORIES) -> None:
        layout_b = (folder / SESSION).is_dir()
        super().__init__(folder, image_files(folder / SESSION if layout_b else folder))
        read = self._read_b if layout_b else self._read_a
        found = [read(path) for path in self.paths]
        for path, (category, _) in zip(self.paths, found, strict=True):
            if category not in categories:
                raise InputError(
                    f"{path} is of the category {category!r}, not among {', '.join(categories)}; give the folder of a"
                    " set laid out as <set>/<category>/<name>.png or <set>/dnn/session-1/…, or --categories FILE"
                )
        self.categories = tuple(category for category, _ in found)
        self.conditions = tuple(condition for _, condition in found)
        cues = [shape_and_texture(path.name) for path in self.paths]
        self.textures: tuple[str | None, ...] = tuple(cue and cue[1] for cue in cues)

    def _read_a(self, path: Path) -> tuple[str, str]:
        parts = path.relative_to(self.root).parts
        if len(parts) < 2:
            raise InputError(f"{path} is not in a category's folder; stimuli belong in {self.root}/<category>/")
        return parts[0], "0"

    def _read_b(self, path: Path) -> tuple[str, str]:
        fields = path.name.split("_", 6)
        if len(fields) < 7:
            raise InputError(
                f"{path} is not named <trial>_<code>_dnn_<condition>_<category>_<number>_<image>, as stimuli in"
                f" {SESSION.as_posix()} are"
            )
        return fields[4], fields[3]


def sets_in(folder: Path) -> tuple[str, ...]:
    """The names of the sets in a folder: its folders, sorted, without the figures of the run that made it.

    Raises:
        InputError: the folder is missing, or there are no folders in it.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; give one with a folder for each set")
    others = (FIGURES,) if (folder / RESULTS).is_file() else ()
    folders = [path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    names = sorted(set(folders) - set(others))
    if not names:
        raise InputError(f"there are no sets in {folder}; it must have a folder for each set, such as {folder}/edge")
    return tuple(names)
