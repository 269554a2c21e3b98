"""The job behind `synthesize.py sample`: pictures of a trained generator, walks between them, and what they remember.

Sources: the sampling of the code of Li et al. (2023) and of FastGAN. Departures: a picture is a function of its latent,
so it does not depend on the batch; it keeps the generator's size; and a choice among pictures is marked as one.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from tqdm import tqdm

from sparseshape_jax import output
from sparseshape_jax.checks import check_outside
from sparseshape_jax.data.images import Images
from sparseshape_jax.data.open import open_images
from sparseshape_jax.few_shot import generator_files
from sparseshape_jax.few_shot.config import SampleConfig
from sparseshape_jax.few_shot.generator_files import TrainedGenerator
from sparseshape_jax.few_shot.lpips import LPIPS
from sparseshape_jax.few_shot.nearest import distances
from sparseshape_jax.few_shot.pages import tiles
from sparseshape_jax.few_shot.pictures import Squashed
from sparseshape_jax.few_shot.sampling import Latents, Sampler, StatisticsOf, latents, pixels
from sparseshape_jax.few_shot.step import Weights
from sparseshape_jax.fid.protocols import to_bytes
from sparseshape_jax.figures import nearest_pictures
from sparseshape_jax.results import Results, Row, fingerprint

SHOWN = 64
"""Most pictures on a page."""
PAIRS = 12
"""Most pairs in the figure of nearest pictures."""
ON_STRIP = 8
"""Pictures from one latent to the next on the strip of a walk, with both ends."""
FRAME = 50
"""Milliseconds that a frame of a GIF is shown."""

Bytes = UInt8[np.ndarray, "size size 3"]


def run(config: SampleConfig) -> list[Row]:
    """Write images/, grid.png, samples.json and results to `config.out`; of a walk, walk.gif and strip.png.

    A row is one picture: `image` (its path in the folder), `index` (of its latent), `seed`, `truncation`, `statistics`,
    `weights`, `top_k`; with `nearest`, the nearest real picture as `nearest` and its LPIPS `distance`; with `select`,
    `selected`.

    Raises:
        InputError: bad weights, settings, pictures or output folder.
    """
    trained = generator_files.open_weights(
        config.weights, sparsity=config.sparsity, noise=config.noise, excitation=config.excitation
    )
    memory = None
    if config.nearest is not None:
        check_outside(config.out, config.nearest)
        memory = _Memory(Squashed(open_images(config.nearest), trained.generator.size))
    sampler = Sampler(trained.generator, trained.at, batch_size=config.batch_size)
    if config.statistics == "batch":
        weights = trained.weights()
    else:
        weights = generator_files.settled(trained, sampler, config.standing_batches)
    facts: dict[str, Any] = {
        "seed": config.seed,
        "truncation": config.truncation,
        "statistics": config.statistics,
        "weights": trained.sha256,
        "top_k": trained.top_k(),
    }
    results = Results(config.out, "synthesize sample", config, identity=("image",), one_run=True)
    output.remove_leftovers(results.folder)
    count = config.interpolate or config.count
    z = latents(config.seed, range(count), sampler.nz) * np.float32(config.truncation)
    rows: list[Row] = [{"image": _name(index), "index": index} for index in range(count)]
    pictures: list[Bytes] = []
    for row, picture in zip(rows, _pictures(sampler, weights, z, config.statistics), strict=True):
        _write(results.folder / row["image"], picture)
        if memory is not None or len(pictures) < SHOWN:
            pictures.append(picture)
    _remove_others(results.folder / "images", count)
    figures = memory.compare(results.figures, pictures, rows) if memory is not None else []
    if config.select is not None:
        _select(config.select, rows)
        chosen = [picture for picture, row in zip(pictures, rows, strict=True) if row["selected"]]
        _write(results.folder / "selection.png", _page(chosen))
    _write(results.folder / "grid.png", _page(pictures))
    if config.interpolate:
        _walk(results.folder, sampler, weights, z, config.frames)
    results.add_all([(row | facts, fingerprint([row, facts])) for row in rows])
    selection = None if config.select is None else {"fraction": config.select, "by": f"LPIPS to {config.nearest}"}
    output.write_json(results.folder / "samples.json", {**facts, "selection": selection, "samples": rows})
    print(f"{count} pictures, grid.png, samples.json and results are in {config.out}")
    return results.finish(figures)


def sample(
    trained: TrainedGenerator, count: int, *, seed: int = 0, statistics: StatisticsOf = "standing"
) -> UInt8[np.ndarray, "n size size 3"]:
    """The first pictures of a seed, as `synthesize.py sample` writes them.

    Args:
        trained: as `open_weights` opens it.
        count: how many.
        seed: of the latents.
        statistics: standing ones (of a .pth they are taken now, over 64 batches), or those of each batch of eight.
    """
    sampler = Sampler(trained.generator, trained.at)
    weights = trained.weights() if statistics == "batch" else generator_files.settled(trained, sampler, 64)
    return np.stack(list(_pictures(sampler, weights, latents(seed, range(count), sampler.nz), statistics)))


def _name(index: int) -> str:
    return f"images/{index:05d}.png"


def _write(path: Path, picture: Bytes) -> None:
    output.write_image(path, picture / 255)


def _page(pictures: Sequence[Bytes]) -> Bytes:
    return to_bytes(tiles([picture / 255 for picture in pictures[:SHOWN]]))


def _pictures(sampler: Sampler, weights: Weights, z: Latents, statistics: StatisticsOf) -> Iterator[Bytes]:
    """The pictures of latents, one by one."""
    with tqdm(total=len(z), unit="picture", leave=False) as bar:
        for outputs in sampler.outputs(weights, z, statistics):
            for picture in outputs:
                yield to_bytes(pixels(picture))
                bar.update()


def _remove_others(folder: Path, count: int) -> None:
    """Delete the pictures of an earlier run that made more."""
    for path in folder.glob("*.png"):
        if re.fullmatch(r"\d{5,}", path.stem) and int(path.stem) >= count:
            path.unlink(missing_ok=True)


def _select(fraction: float, rows: Sequence[Row]) -> None:
    """Mark the rows with the smallest distances."""
    kept = max(1, int(fraction * len(rows)))
    order = sorted(range(len(rows)), key=lambda index: rows[index]["distance"])
    for place, index in enumerate(order):
        rows[index]["selected"] = place < kept


def _walk(folder: Path, sampler: Sampler, weights: Weights, z: Latents, frames: int) -> None:
    """Write walk.gif, through all latents and back to the first, and strip.png, a row from each to the next."""
    legs = list(zip(z, np.roll(z, -1, axis=0), strict=True))
    steps = np.concatenate([slerp(one, other, np.arange(frames) / frames) for one, other in legs])
    shown = [Image.fromarray(picture) for picture in _pictures(sampler, weights, steps, "standing")]
    with output.replacing(folder / "walk.gif") as temporary:
        shown[0].save(temporary, save_all=True, append_images=shown[1:], duration=FRAME, loop=0)
    places = np.concatenate([slerp(one, other, np.linspace(0, 1, ON_STRIP)) for one, other in legs])
    strip = tiles([picture / 255 for picture in _pictures(sampler, weights, places, "standing")], ON_STRIP)
    output.write_image(folder / "strip.png", strip)


def slerp(one: Latents, other: Latents, places: np.ndarray) -> Latents:
    """Spherical interpolation between two latents (nz,): at place 0 the one, at 1 the other, float32."""
    first, second = (each.astype(np.float64) for each in (one, other))
    cosine = first @ second / (np.linalg.norm(first) * np.linalg.norm(second))
    angle = np.arccos(np.clip(cosine, -1, 1))
    if np.sin(angle) < 1e-6:  # the same direction
        weights = 1 - places, places
    else:
        weights = np.sin((1 - places) * angle) / np.sin(angle), np.sin(places * angle) / np.sin(angle)
    return (weights[0][:, None] * first + weights[1][:, None] * second).astype(np.float32)


class _Memory:
    """Real pictures, for the question whether a generator only remembers them.

    Raises:
        InputError: a picture that cannot be decoded.
    """

    def __init__(self, reals: Images) -> None:
        self.reals, self.lpips = reals, LPIPS.load()
        self.pictures = [np.asarray(reals.image(index)) for index in range(len(reals))]

    def compare(self, figures: Path, pictures: Sequence[Bytes], rows: Sequence[Row]) -> list[Path]:
        """Add the nearest real picture to each row, and draw those that are nearest to one; returns the figure's files.

        The figure's title has the median distance of a real picture to the nearest other one, to compare with.
        """
        found = distances(pictures, self.pictures, self.lpips)
        for row, line in zip(rows, found, strict=True):
            row |= {"nearest": self.reals.key(int(line.argmin())), "distance": float(line.min())}
        among = distances(self.pictures, self.pictures, self.lpips)
        np.fill_diagonal(among, np.inf)
        order = np.argsort(found.min(axis=1), kind="stable")[:PAIRS]
        pairs = [(pictures[index], self.pictures[found[index].argmin()], found[index].min()) for index in order]
        title = f"the {len(pairs)} of {len(rows)} generated pictures that are nearest to a real one"
        if len(among) > 1:
            title += f" (median of real pictures to the nearest other: {np.median(among.min(axis=1)):.2f})"
        return nearest_pictures.draw(figures / "nearest", pairs, title)
