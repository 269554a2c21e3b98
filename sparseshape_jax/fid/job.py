"""The job behind `evaluate.py fid`: FID and KID between sets of images, with everything that decides them."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np

from sparseshape_jax import downloads, output
from sparseshape_jax.data.images import Images
from sparseshape_jax.errors import InputError
from sparseshape_jax.fid.config import FidConfig
from sparseshape_jax.fid.distance import Features, Statistics, read_statistics
from sparseshape_jax.fid.extract import cached_features, features
from sparseshape_jax.fid.measure import Side, compare, different_counts
from sparseshape_jax.fid.networks import FeatureNetwork, feature_network
from sparseshape_jax.fid.protocols import PROTOCOLS
from sparseshape_jax.fid.sources import OpenSource, Source, open_stored
from sparseshape_jax.figures import fid as figure
from sparseshape_jax.results import FINGERPRINT, Results, Row, fingerprint, single_values, software

STATISTICS = ".npz"
TABLE = ("fake", "real", "distance", "protocol", "value", "sd", "mean", "mean_sd", "n_fake", "n_real")
"""The first columns of fid.csv."""


def run(config: FidConfig, open_source: OpenSource = open_stored) -> list[Row]:
    """Measure, write everything to `config.out`, print a table, and return this run's rows.

    A row is one distance between two sets: fake, real, distance (its name), protocol, value, sd (over KID's subsets),
    repeats, mean and mean_sd (where a generator is sampled several times), subset_size, n_fake, n_real, rank_fake,
    rank_real, features, weights, size, top_k (of a generator), seed and warnings. fid.json and fid.csv have this run's
    rows.

    Args:
        config: the settings.
        open_source: from what is given as `fake` or `real` to its images.

    Raises:
        InputError: bad images, weights, statistics or output folder; a subset that is larger than a set.
    """
    fakes = [open_source(given, config) for given in config.fake]
    real = None if Path(config.real).suffix == STATISTICS else open_source(config.real, config)
    sources = [*fakes, *([] if real is None else [real])]
    size = _size(config, sources)
    _check_counts(config, sources)
    statistics = read_statistics(config.real) if real is None else None
    network = feature_network(config.features, file=config.inception)
    if statistics is not None and len(statistics.mean) != network.dimension:
        raise InputError(
            f"{config.real} has {len(statistics.mean)} features and {network.name} {network.dimension};"
            " give statistics of the same network"
        )
    names = network.distances(_seen_side(network, sources, size))
    results = Results(config.out, "evaluate fid", config, identity=("fake", "real", "distance", "protocol", "size"))
    theirs: Side | None = None if statistics is None else Side(config.real, [statistics])
    for fake in fakes:
        prints = [_fingerprint(config, network, fake, real, size, name) for name in names]
        has_kernel = statistics is None and PROTOCOLS[config.protocol].subset_size is not None
        if any(results.done(found) is None for found in prints[: 1 + has_kernel]):
            theirs = theirs or _side(config, network, cast(Source, real), size, repeats=1)
            repeats = PROTOCOLS[config.protocol].repeats if fake.size is not None else 1
            ours = _side(config, network, fake, size, repeats=repeats)
            rows = compare(ours, theirs, names, PROTOCOLS[config.protocol], kid_subset=config.kid_subset)
            results.add_all(
                [(_with_settings(row, config, network, fake, size), prints[index]) for index, row in enumerate(rows)]
            )
    rows = results.asked
    for note in dict.fromkeys(note for row in rows for note in row["warnings"]):
        warnings.warn(note, stacklevel=2)
    if note := different_counts(rows):
        warnings.warn(note, stacklevel=2)
    drawn = figure.draw(results.figures, rows) if len(fakes) > 1 else []
    rows = results.finish(drawn, skipped=[text for source in sources for text in source.skipped])
    _write_tables(results.folder, rows)
    _print(rows, config)
    return rows


def _size(config: FidConfig, sources: Sequence[Source]) -> int | None:
    """The side that all images are brought to: as asked, or that of the generators; None leaves them.

    Raises:
        InputError: generators of different sizes, or of another one than was asked for.
    """
    made = {source.size: source.name for source in sources if source.size is not None}
    sizes = {*made, *([] if config.size is None else [config.size])}
    if len(sizes) > 1:
        listed = ", ".join(f"{name} makes images of {side} pixels" for side, name in made.items())
        asked = "" if config.size is None else f", and --size is {config.size}"
        raise InputError(f"{listed}{asked}; compare images of one size, each in a run of its own")
    return next(iter(sizes), None)


def _check_counts(config: FidConfig, sources: Sequence[Source]) -> None:
    """Refuse sets that are too small, before anything is loaded or computed."""
    for source in sources:
        count = config.count if source.size is not None else len(cast(Images, source.images(0, config.protocol)))
        if count < 2:
            raise InputError(f"{source.name} has {count} image; a distance needs at least 2 on each side")
        if config.kid_subset is not None and config.kid_subset > count:
            raise InputError(
                f"kid_subset is {config.kid_subset}, and {source.name} has {count} images;"
                f" give --kid_subset {count} or less"
            )


def _seen_side(network: FeatureNetwork, sources: Sequence[Source], size: int | None) -> int | None:
    """The side at which vgg16 sees all images, which its distances are named by.

    Raises:
        InputError: images that it would see at different sizes, or that are not square.
    """
    if network.name == "inception" or size is not None:
        return size
    shapes = {}
    for source in sources:
        image = np.asarray(cast(Images, source.images(0, "clean")).image(0))
        height, width = network.prepare(image, PROTOCOLS["clean"]).shape[:2]
        shapes[width, height] = source.name
    if len(shapes) > 1 or any(width != height for width, height in shapes):
        listed = ", ".join(f"{name} at {width}×{height}" for (width, height), name in shapes.items())
        least = min(min(shape) for shape in shapes)
        raise InputError(f"{network.name} would see {listed} pixels; squash all images to one size with --size {least}")
    return next(iter(shapes))[0]


def _fingerprint(
    config: FidConfig, network: FeatureNetwork, fake: Source, real: Source | None, size: int | None, name: str
) -> str:
    theirs = downloads.sha256(config.real) if real is None else real.facts()
    facts = [name, network.sha256, config.protocol, size, config.kid_subset, fake.facts(), theirs]
    return fingerprint(facts, versions_of=("sparseshape-jax", "jax", "flax", "numpy", "pillow"))


def _side(config: FidConfig, network: FeatureNetwork, source: Source, size: int | None, *, repeats: int) -> Side:
    """The features of a source. Those of stored images are kept in the cache."""
    found: list[Features | Statistics] = []
    for repeat in range(repeats):
        images = source.images(repeat, config.protocol)
        progress = source.name if repeats == 1 else f"{source.name}, {repeat + 1} of {repeats}"
        if source.size is None:
            function, given = cached_features, cast(Images, images)
            found.append(
                function(given, network, config.protocol, size=size, batch_size=config.batch_size, progress=progress)
            )
        else:
            found.append(features(images, network, config.protocol, batch_size=config.batch_size, progress=progress))
    return Side(source.name, found)


def _with_settings(row: Row, config: FidConfig, network: FeatureNetwork, fake: Source, size: int | None) -> Row:
    notes = list(row.pop("warnings"))
    generator = {} if fake.size is None else fake.facts()
    if config.protocol == "paper" and fake.size is None:
        notes.append(
            f"{fake.name} has stored images, so what a generator puts out beyond [-1, 1] is gone, which protocol paper"
            " would see; and it is measured once, not three times"
        )
    return {
        **{name: row.pop(name) for name in ("fake", "real", "distance")},
        "protocol": config.protocol,
        **row,
        "features": network.name,
        "weights": network.sha256,
        "dimension": network.dimension,
        "size": size,
        **({"top_k": generator["top_k"]} if "top_k" in generator else {}),
        "seed": None if fake.size is None else config.seed,
        "warnings": notes,
    }


def _write_tables(folder: Path, rows: Sequence[Row]) -> None:
    shown = [{name: value for name, value in row.items() if name != FINGERPRINT} for row in rows]
    output.write_json(folder / "fid.json", {"software": software(), "rows": shown})
    lines = [single_values(row) for row in shown]
    columns = dict.fromkeys((*TABLE, *(name for line in lines for name in line)))
    output.write_csv(folder / "fid.csv", list(columns), lines)


def _print(rows: Sequence[Row], config: FidConfig) -> None:
    width = max(len(row["fake"]) for row in rows)
    name_width = max(len(row["distance"]) for row in rows)
    print(f"\nto {rows[0]['real']}, protocol {config.protocol}, features of {rows[0]['features']}")
    print(f"{'images':<{width}}  {'distance':<{name_width}}  {'value':>10}  {'':<12}  {'images':>13}  {'rank':>13}")
    for row in rows:
        sd = f"± {row['sd']:.4g}" if row.get("sd") is not None else ""
        counts, ranks = (f"{row[f'{of}_fake']} / {row[f'{of}_real'] or '?'}" for of in ("n", "rank"))
        print(f"{row['fake']:<{width}}  {row['distance']:<{name_width}}  {row['value']:>10.5g}  {sd:<12}", end="")
        print(f"  {counts:>13}  {ranks:>13}")
        if "repeats" in row:
            print(f"{'':<{width}}  the minimum of {len(row['repeats'])}; their mean is", end=" ")
            print(f"{row['mean']:.5g} ± {row['mean_sd']:.4g}")
    print(f"\nfid.json, fid.csv and results are in {config.out}")
