"""`python -m sparseshape_jax.data.shuffle_texture --images DIR --out DIR`: pictures with their local colours exchanged.

In every block of patch×patch pixels the three colour channels are permuted at random. Colour textures, and the colours
that objects are known by, are lost; the lines and contours that differ in brightness mostly stay. Every pixel keeps its
three values, so a picture keeps the statistics of all its channels taken together.

This is ours, a test of texture reliance that needs no other pictures and no network; the paper uses pictures restyled
as paintings. What it does not do: it gives no picture the texture of another one, it leaves grey pictures and the
structure of textures within a block as they are, it keeps one block in six by chance, and it draws a grid where blocks
meet, since channels differ in brightness.
"""

import argparse
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from jaxtyping import UInt8
from PIL import Image
from tqdm import tqdm

from sparseshape_jax import output
from sparseshape_jax.data.folders import image_files
from sparseshape_jax.data.images import read_image
from sparseshape_jax.errors import InputError

EXAMPLES = """example:
  python -m sparseshape_jax.data.shuffle_texture --images cifar10/test --out cifar10/test_shuffled
"""


@dataclass(frozen=True)
class ShuffleTexture:
    """Which pictures to shuffle, and how.

    Raises:
        InputError: a patch of no pixels, a negative seed, or results that would land among the pictures.
    """

    images: str
    """Folder of pictures, with folders in it or without."""
    out: str
    """Folder for the copies: the same relative paths, as PNG."""
    patch: int = 4
    """Side of the blocks, in pixels."""
    seed: int = 0
    """Of the permutations."""

    def __post_init__(self) -> None:
        if self.patch < 1:
            raise InputError(f"patch is {self.patch}; it must be at least 1 pixel")
        if self.seed < 0:
            raise InputError(f"seed is {self.seed}; it must not be negative")
        if Path(self.out).resolve().is_relative_to(Path(self.images).resolve()):
            raise InputError(f"the output folder {self.out} is inside {self.images}; give one outside it")


def shuffle_texture(
    image: UInt8[np.ndarray, "height width 3"], patch: int, rng: np.random.Generator
) -> UInt8[np.ndarray, "height width 3"]:
    """Permute the channels of every patch×patch block, independently; blocks at the right and lower edge may be cut."""
    height, width, channels = image.shape
    blocks = np.broadcast_to(np.arange(channels), (-(-height // patch), -(-width // patch), channels))
    order = rng.permuted(blocks, axis=-1).repeat(patch, axis=0).repeat(patch, axis=1)
    return np.take_along_axis(image, order[:height, :width], axis=-1)


def run(config: ShuffleTexture) -> None:
    """Write a shuffled copy of every picture, and config.yaml; copies that are there already are kept.

    A copy depends on the picture, its path below `config.images`, the patch and the seed, and on nothing else.

    Raises:
        InputError: no pictures, one that cannot be decoded, two that differ only in the ending of their names, a folder
            that cannot be written, or that holds copies made with other settings.
    """
    root = Path(config.images)
    names = [path.relative_to(root) for path in image_files(root)]
    copies: dict[Path, Path] = {}
    for name in names:
        if (other := copies.setdefault(name.with_suffix(".png"), name)) != name:
            raise InputError(f"{other} and {name} in {root} would both become {name.with_suffix('.png')}; rename one")
    folder = output.prepare_folder(config.out)
    _check_earlier_settings(folder / "config.yaml", config)
    output.write_config(folder / "config.yaml", config)
    missing = {copy: name for copy, name in copies.items() if not (folder / copy).exists()}
    with tqdm(total=len(copies), initial=len(copies) - len(missing), unit="image") as progress:
        for copy, name in missing.items():
            digest = hashlib.sha256(name.as_posix().encode("utf-8", "surrogateescape")).digest()
            rng = np.random.default_rng([config.seed, *digest])
            shuffled = shuffle_texture(np.asarray(read_image(root / name)), config.patch, rng)
            with output.replacing(folder / copy) as temporary:
                Image.fromarray(shuffled).save(temporary)
            progress.update()
    print(f"{config.out}: {len(copies)} pictures, {len(missing)} of them new")


def _check_earlier_settings(path: Path, config: ShuffleTexture) -> None:
    """Copies are kept from one run to the next, so all must have been made alike."""
    try:
        earlier = yaml.safe_load(path.read_text(encoding="utf-8"))
        same = (Path(earlier["images"]).resolve(), earlier["patch"], earlier["seed"])
    except FileNotFoundError:
        return
    except (ValueError, LookupError, TypeError, yaml.YAMLError):
        same = None
    if same != (Path(config.images).resolve(), config.patch, config.seed):
        raise InputError(f"{path.parent} holds pictures made with other settings ({path}); give another --out")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status (2 for bad input, after one line on stderr)."""
    title, _, explanation = (__doc__ or "").partition(": ")[2].partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m sparseshape_jax.data.shuffle_texture",
        description=f"{title.capitalize()}\n\n{explanation}",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--images", required=True, metavar="DIR", help="folder of pictures, read at all depths")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the copies; run again to go on")
    parser.add_argument("--patch", type=int, default=4, help="side of the blocks, in pixels (default: 4)")
    parser.add_argument("--seed", type=int, default=0, help="of the permutations (default: 0)")
    try:
        run(ShuffleTexture(**vars(parser.parse_args(arguments))))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
