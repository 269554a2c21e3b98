"""Puts the presets, which are a folder of the repository, into the package that is built from it."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithPresets(build_py):
    """Copies `configs/` into the package."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:  # then the repository itself is installed
            for source in sorted(Path("configs").glob("*/*.yaml")):
                target = Path(self.build_lib, "sparseshape_jax", source)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)


setup(cmdclass={"build_py": BuildWithPresets})
