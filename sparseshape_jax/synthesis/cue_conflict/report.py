"""What is written and said when the stimuli are made: residuals, what is unfinished, the contact sheet."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sparseshape_jax import output
from sparseshape_jax.data.decoding import read_image
from sparseshape_jax.figures.cue_conflict import draw_sheet
from sparseshape_jax.results import Results, Row
from sparseshape_jax.synthesis.cue_conflict.config import CueConflictConfig
from sparseshape_jax.synthesis.cue_conflict.plan import FOLDER, Pair
from sparseshape_jax.synthesis.cue_conflict.sources import Source

LOWEST = 3
"""How many of the style layers a finished stimulus matches; those above are matched less well by the official set."""
MOST_LISTED = 10


def finish(config: CueConflictConfig, results: Results, pairs: Sequence[Pair]) -> list[Row]:
    """Write checks.csv and the contact sheet, close the run, and say what was made. Returns the rows of `pairs`."""
    rows = results.asked
    lines = [_checks(row, config) for row in rows]
    output.write_csv(results.folder / "checks.csv", list(lines[0]), lines)
    drawn = _draw(config, results.figures, pairs)
    results.finish(drawn, flat=lambda row: _checks(row, config))
    found = {name: [row["residuals"][name] for row in rows] for name in rows[0]["residuals"]}
    worst = {name: max(filter(_is_number, values), default=math.nan) for name, values in found.items()}
    print("largest residuals: " + ", ".join(f"{name} {value:.3f}" for name, value in worst.items()))
    if unfinished := [line["file"] for line in lines if not line["finished"]]:
        more = f" and {len(unfinished) - MOST_LISTED} more (checks.csv)" if len(unfinished) > MOST_LISTED else ""
        print(
            f"unfinished, with a style residual above {config.max_residual:g}: {', '.join(unfinished[:MOST_LISTED])}"
            f"{more}; give more --steps"
        )
    print(f"{len(rows)} stimuli are in {Path(config.out) / FOLDER}; the sheet is {drawn[0]}")
    return rows


def _checks(row: Row, config: CueConflictConfig) -> dict[str, Any]:
    """A line of checks.csv."""
    found = row["residuals"]
    lowest = [found[f"style {layer}"] for layer in config.style_layers[:LOWEST]]
    return {
        "file": row["file"],
        "shape": row["shape"],
        "texture": row["texture"],
        **{f"{name} residual": round(value, 6) if _is_number(value) else None for name, value in found.items()},
        "finished": all(_is_number(value) and value <= config.max_residual for value in lowest),
        "status": row["status"],
        "sha256": row["sha256"],
    }


def _is_number(value: float | None) -> bool:
    """False for NaN, which is None when it has been read from a file."""
    return value is not None and math.isfinite(value)


def _draw(config: CueConflictConfig, folder: Path, pairs: Sequence[Pair]) -> list[Path]:
    """For each ordered pair of categories one stimulus, next to the photograph and the texture used most."""
    shapes, textures = (_used_most([getattr(pair, side) for pair in pairs]) for side in ("content", "style"))
    rows, columns = ({category: index for index, category in enumerate(side)} for side in (shapes, textures))
    chosen: dict[tuple[int, int], Pair] = {}
    for pair in pairs:
        cell = rows[pair.content.category], columns[pair.style.category]
        if cell not in chosen or _fit(pair, shapes, textures) > _fit(chosen[cell], shapes, textures):
            chosen[cell] = pair
    return draw_sheet(
        folder,
        [(source.name, source.pixels) for source in shapes.values()],
        [(source.name, source.pixels) for source in textures.values()],
        {cell: (pair.stem, np.asarray(read_image(Path(config.out) / pair.file))) for cell, pair in chosen.items()},
    )


def _used_most(sources: Sequence[Source]) -> dict[str, Source]:
    """Of each category the source that comes most often; the categories in order."""
    best: dict[str, Source] = {}
    for source, _ in Counter(sources).most_common():
        best.setdefault(source.category, source)
    return dict(sorted(best.items()))


def _fit(pair: Pair, shapes: dict[str, Source], textures: dict[str, Source]) -> int:
    """How many of a pair's pictures are those of its row and its column."""
    return (pair.content is shapes[pair.content.category]) + (pair.style is textures[pair.style.category])
