"""Settings of `evaluate.py reproduce`. Imports no JAX, NumPy or PIL."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from sparseshape_jax.checks import check_outside
from sparseshape_jax.errors import InputError

Preset = Literal["cpu", "accelerator"]


@dataclass(frozen=True)
class ReproduceConfig:
    """Run every experiment of the sources that the given data allow, one after the other, and show all on one page.

    Raises:
        InputError: on construction, for data that are not there, or an output folder inside of them.
    """

    preset: Preset = "cpu"
    """The scale: cpu is planned for 45 minutes on two idle cores and downloads nothing; accelerator takes hours on a
    GPU or TPU, and downloads published weights, stimuli and FID's Inception."""
    stimuli: str | None = None
    """Cue-conflict stimuli, laid out as <shape>/<shape>N-<texture>M.png."""
    records: tuple[str, ...] = ()
    """Folders with model-vs-human CSV files of people and other networks, of any experiment."""
    data: str | None = None
    """Images of ImageNet's classes, as for evaluate.py accuracy."""
    ood: str | None = None
    """Folder with model-vs-human's sets, as for evaluate.py ood: edge and silhouette are used by cpu."""
    cifar10: str | None = None
    """CIFAR-10 as images, or a part of it: train/<class>/… and test/<class>/…."""
    subset: str | None = None
    """Ten classes of ImageNet: train/<class>/… and val/<class>/… (accelerator only)."""
    styles: str | None = None
    """Paintings to restyle images with. Default: textures that are computed."""
    photos: str | None = None
    """Photographs in folders by category, which give the shapes of new cue conflicts: one stimulus for each pair of
    categories, which takes about 20 seconds of CPU time."""
    textures: str | None = None
    """Close-ups in folders by category, which give their textures."""
    few_shot: str | None = None
    """Folder with jeep/, fish/, … of a hundred photographs each."""
    sections: tuple[str, ...] = ()
    """Run only these sections, or those whose names start like this: --sections shape-bias frequency/dense. Default:
    all."""
    dry_run: bool = False
    """Say what would be run, and what not for want of data, and stop."""
    out: str = "results/reproduce"
    """Folder for a result folder of each section, logs/, reproduce.json and the page, report/report.html. Repeat the
    same command to resume."""

    def check_folders(self) -> None:
        """
        Raises:
            InputError: data that are not there, or an output folder inside them.
        """
        for name, folder in ((name, folder) for name, given in self.data_given().items() for folder in given):
            if folder.startswith("tfds:"):
                continue
            if not Path(folder).is_dir():
                raise InputError(f"there is no folder {folder}; give the one that has the data with --{name}")
            check_outside(self.out, folder, f"--{name} {folder}")

    def data_given(self) -> dict[str, tuple[str, ...]]:
        """The data that are there, by the names of their settings."""
        own = {field.name: getattr(self, field.name) for field in fields(self) if field.name in DATA}
        return {name: given if isinstance(given, tuple) else (given,) for name, given in own.items() if given}


DATA = {
    "stimuli": "cue-conflict stimuli",
    "records": "records of people and networks",
    "data": "images of ImageNet's classes",
    "ood": "model-vs-human's sets",
    "cifar10": "CIFAR-10 as images",
    "subset": "ten classes of ImageNet",
    "styles": "paintings",
    "photos": "photographs in folders by category",
    "textures": "close-ups in folders by category",
    "few_shot": "folders of a hundred photographs",
}
"""What the settings that name data hold."""
