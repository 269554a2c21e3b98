"""The job behind `synthesize.py styles`: procedural styles as files."""

from concurrent.futures import ThreadPoolExecutor

from PIL import Image
from tqdm import tqdm

from sparseshape_jax import output
from sparseshape_jax.downloads import sha256
from sparseshape_jax.results import Results, Row, fingerprint
from sparseshape_jax.stylize.config import StylesConfig
from sparseshape_jax.stylize.procedural import numbered, procedural_style
from sparseshape_jax.stylize.style_images import file_name

TOGETHER = 16
"""So many styles are made, then entered into the results: what a killed run may have to make again."""


def run(config: StylesConfig) -> list[Row]:
    """Write the styles that are not there yet as `<kind>-<seed>.png` into `config.out`.

    Returns one row per style: file, kind, seed, size, sha256.

    Raises:
        InputError: the folder cannot be written to.
    """
    results = Results(config.out, "synthesize styles", config, identity=("file",))
    styles = numbered(config.count, config.seed, config.kinds)
    prints = {style: fingerprint([*style, config.size], versions_of=("sparseshape-jax", "numpy")) for style in styles}

    def make(style: tuple[str, int]) -> tuple[Row, str]:
        kind, seed = style
        path = results.folder / file_name(kind, seed)
        with output.replacing(path) as temporary:
            Image.fromarray(procedural_style(kind, seed, size=config.size)).save(temporary)
        row = {"file": path.name, "kind": kind, "seed": seed, "size": config.size, "sha256": sha256(path)}
        return row, prints[style]

    def is_there(style: tuple[str, int]) -> bool:
        row = results.done(prints[style])
        return row is not None and (path := results.folder / row["file"]).is_file() and sha256(path) == row["sha256"]

    missing = [style for style in styles if not is_there(style)]
    output.remove_leftovers(results.folder)
    with (
        ThreadPoolExecutor() as pool,
        tqdm(total=len(missing), unit="style", disable=not missing) as progress,
    ):
        for start in range(0, len(missing), TOGETHER):
            made = results.add_all(pool.map(make, missing[start : start + TOGETHER]))
            progress.update(len(made))
    print(f"{config.out}: {len(styles)} styles, {len(missing)} of them new")
    return results.finish()
