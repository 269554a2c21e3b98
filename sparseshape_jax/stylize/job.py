"""The job behind `synthesize.py stylize`: restyle a folder of photographs.

Source: stylize-datasets (Geirhos et al.), Stylized-ImageNet and pytorch-AdaIN. Departures: the styles of a photograph
are a function of its name and the seed; files that fail are listed, and the exit status says so; PNG is the default;
files of the same name do not overwrite each other.
"""

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image
from tqdm import tqdm

from sparseshape_jax import output
from sparseshape_jax.data.images import Images
from sparseshape_jax.data.open import TFDS, open_images
from sparseshape_jax.downloads import sha256
from sparseshape_jax.errors import Incomplete, InputError
from sparseshape_jax.figures import grid
from sparseshape_jax.results import FINGERPRINT, Results, Row, fingerprint, read_results
from sparseshape_jax.stimuli.stimulus_set import Stimulus, refuse_collisions
from sparseshape_jax.stylize.batches import Failure, Pair, Pixels, Restyler
from sparseshape_jax.stylize.config import StylizeConfig
from sparseshape_jax.stylize.load import load_stylizer
from sparseshape_jax.stylize.style_images import choose_styles, open_styles, unique_names
from sparseshape_jax.stylize.stylizer import Stylizer

IMAGES = "images"
MANIFEST = "manifest.csv"
FAILED = "failed.csv"
COLUMNS = ("file", "content", "style", "alpha", "seed", "stylizer", "width", "height", "sha256")
SHEET = "contact_sheet"
SHOWN = 12
"""Rows of the sheet."""
STRENGTHS = (0.0, 0.5, 1.0)
"""Columns of the sheet."""
IN_FLIGHT = 64
"""Images that may wait to be written."""
OPTIONS: dict[str, dict[str, Any]] = {"png": {}, "jpg": {"quality": 95, "subsampling": 0}}
"""Of PIL, when it writes an image."""

Plan = dict[Pair, PurePosixPath]
"""The file of each pair, below the output folder."""


def run(config: StylizeConfig) -> list[Row]:
    """Restyle the photographs in `config.content` that are not in `config.out` yet.

    Returns one row: content, style, stylizer, alpha, seed, files, failed.

    Raises:
        InputError: no photographs or styles, a style that cannot be decoded, more styles per photograph than there
            are, two results that would become the same file, missing or wrong weights, a folder that cannot be written,
            or one that holds images made with other settings. Nothing is written then.
        Incomplete: some photographs failed; they are listed in failed.csv, and all others are there.
    """
    contents, styles = open_images(config.content), open_styles(config.style)
    plan = make_plan(config, contents, styles)
    stylizer = load_stylizer(config.weights or config.stylizer, vgg=config.vgg, decoder=config.decoder)
    restyler = Restyler(config, stylizer, contents, styles)
    folder = Path(config.out)
    missing = [pair for pair in plan if not (folder / plan[pair]).exists()]
    found = _fingerprint(config, stylizer, styles)
    _refuse_other_settings(folder, found, len(missing) < len(plan))
    for name in restyler.encode(sorted({pair.style for pair in missing})):  # before anything is written
        warnings.warn(f"the style {name} is of one color, so it has no texture to give", stacklevel=2)
    results = Results(folder, "synthesize stylize", config, identity=())
    row = {name: getattr(config, name) for name in ("content", "style", "stylizer", "alpha", "seed")}
    results.add(row | {"files": 0, "failed": 0}, found)  # before the images: it says how they are made
    output.remove_leftovers(folder)
    failures = _make(restyler, plan, missing, folder, config.format)
    _write_manifest(config, folder, contents, styles, plan)
    failed = {contents.key(pair.content): reason for pair, reason in failures.items()}
    lines = [{"path": path, "reason": failed[path]} for path in sorted(failed)]
    output.write_csv(folder / FAILED, ("path", "reason"), lines)
    figures = [results.figures / f"{SHEET}{suffix}" for suffix in (".png", ".pdf")]
    if missing or not all(path.exists() for path in figures):
        figures = draw_sheet(restyler, results.figures, [pair for pair in plan if pair not in failures][:SHOWN])
    results.add(row | {"files": len(plan) - len(failures), "failed": len(failed)}, found)
    rows = results.finish(figures)
    print(f"{folder}: {len(plan) - len(failures)} images, {len(missing) - len(failures)} of them new")
    if failed:
        raise Incomplete(f"{len(failed)} of {len(contents)} photographs failed; {folder / FAILED} says why")
    return rows


def make_plan(config: StylizeConfig, contents: Images, styles: Images) -> Plan:
    """All pairs, sorted by their files.

    Raises:
        InputError: two pairs that would become the same file, or too few styles.
    """
    names = unique_names([styles.key(index) for index in range(len(styles))])
    plan: list[tuple[Pair, Stimulus]] = []
    for index in range(len(contents)):
        key = contents.key(index)
        for style in choose_styles(key, len(styles), config.styles_per_image, config.seed):
            file = PurePosixPath(IMAGES, key).with_suffix(f".{config.format}")
            if config.naming == "stylized" or config.styles_per_image > 1:
                file = file.with_stem(f"{file.stem}-stylized-{names[style]}")
            plan.append((Pair(index, style), Stimulus(index, styles.key(style), file)))
    refuse_collisions(contents, [stimulus for _, stimulus in plan])
    return {pair: stimulus.file for pair, stimulus in sorted(plan, key=lambda item: item[1].file)}


def _make(restyler: Restyler, plan: Plan, missing: Sequence[Pair], folder: Path, ending: str) -> dict[Pair, str]:
    """Make the missing files, and return the reasons for those that cannot be made."""
    failures: dict[Pair, str] = {}

    def write(pair: Pair, pixels: Pixels) -> None:
        with output.replacing(folder / plan[pair]) as temporary:
            Image.fromarray(pixels).save(temporary, **OPTIONS[ending])

    with (
        ThreadPoolExecutor() as pool,
        tqdm(total=len(plan), initial=len(plan) - len(missing), unit="image", disable=not missing) as progress,
    ):
        writing = []
        for pair, found in restyler(missing):
            if isinstance(found, Failure):
                failures[pair] = found.reason
            else:
                writing.append(pool.submit(write, pair, found))
            if len(writing) >= IN_FLIGHT:
                writing.pop(0).result()
            progress.update()
        for each in writing:
            each.result()
    return failures


def _fingerprint(config: StylizeConfig, stylizer: Stylizer, styles: Images) -> str:
    source = config.content if config.content.startswith(TFDS) else str(Path(config.content).resolve())
    names = ("alpha", "styles_per_image", "size", "crop", "style_size", "preserve_color", "seed", "format", "naming")
    settings = {name: getattr(config, name) for name in names}
    return fingerprint([source, styles.signature(), stylizer.name, stylizer.provenance, settings])


def _refuse_other_settings(folder: Path, found: str, has_images: bool) -> None:
    """Images are kept from one run to the next, so all in a folder must be made the same way."""
    known = [row.get(FINGERPRINT) for row in read_results(folder)["rows"]]
    if (known and known != [found]) or (not known and has_images):
        raise InputError(
            f"{folder} holds images made with other settings, styles, weights or versions"
            f" ({folder / 'config.yaml'}); give another --out"
        )


def _write_manifest(config: StylizeConfig, folder: Path, contents: Images, styles: Images, plan: Plan) -> None:
    """List the images that are there."""

    def line(pair: Pair) -> Row | None:
        path = folder / plan[pair]
        if not path.exists():
            return None
        with Image.open(path) as image:
            width, height = image.size
        return {
            "file": plan[pair].as_posix(),
            "content": contents.key(pair.content),
            "style": styles.key(pair.style),
            "alpha": config.alpha,
            "seed": config.seed,
            "stylizer": config.stylizer,
            "width": width,
            "height": height,
            "sha256": sha256(path),
        }

    with ThreadPoolExecutor() as pool:
        output.write_csv(folder / MANIFEST, COLUMNS, [found for found in pool.map(line, plan) if found is not None])


def draw_sheet(restyler: Restyler, folder: Path, pairs: Sequence[Pair]) -> list[Path]:
    """Draw the first results: photograph, style, and the photograph at three strengths."""
    rows = []
    for pair in tqdm(pairs, unit="row", desc="sheet", disable=not pairs):
        restyler.encode([pair.style])
        content = restyler.content(pair.content)
        rows.append([content, restyler.style(pair.style)])
        rows[-1] += [restyler.at(alpha, content, pair.style) for alpha in STRENGTHS]
    if not rows:
        return []
    titles = ("photograph", "style", *(f"α {alpha:g}" for alpha in STRENGTHS))
    return grid.draw(folder, rows, titles, name=SHEET)
