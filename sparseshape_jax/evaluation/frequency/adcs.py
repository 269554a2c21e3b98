"""The job behind `evaluate.py frequency adcs`: how the spectra of classes differ.

Source: Wang et al. (ICCV 2023), compute_ADCS.py. We depart from it in that classes are compared by their means, not by
sums, and never with themselves.
"""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np

from sparseshape_jax import output
from sparseshape_jax.data.open import open_labeled
from sparseshape_jax.evaluation.classifiers import open_for
from sparseshape_jax.evaluation.frequency.config import AdcsConfig
from sparseshape_jax.evaluation.frequency.images import ClassImages, print_missing, read_images, shorten
from sparseshape_jax.evaluation.frequency.maps_file import plain_row
from sparseshape_jax.figures import frequency as figures
from sparseshape_jax.frequency import adcs, amplitude, bands
from sparseshape_jax.preprocessing import Preprocessing
from sparseshape_jax.results import Results, Row, fingerprint
from sparseshape_jax.weights.load import load

JOB = "evaluate frequency adcs"


def run(config: AdcsConfig) -> list[Row]:
    """Compute, write adcs.npz, the table and the figure to `config.out`, print, and return this run's rows.

    A row is one class: class, n, and for each band of frequencies its mean ADCS, from -(C - 1) to C - 1.

    Raises:
        InputError: bad data, weights or output folder.
    """
    images = _images(config)
    results = Results(config.out, JOB, config, identity=("class", "data"))
    mean = images.mean_by_class(lambda inputs: np.asarray(amplitude(jnp.asarray(inputs))), config.batch_size)
    maps = adcs(mean)
    with output.replacing(results.folder / "adcs.npz") as temporary:
        np.savez(temporary, adcs=maps, amplitude=mean, counts=images.counts, classes=np.array(images.classes))
    found = fingerprint([images.fingerprint(), repr(images.preprocessing)])
    rows = []
    for label, name in enumerate(images.classes):
        row = {"class": name, "data": images.source, "n": images.counts[label]}
        row |= {f"band_{b}": maps[label][inside].mean() for b, inside in enumerate(bands(images.size), start=1)}
        rows.append((plain_row(row), found))
    results.add_all(rows)
    drawn = figures.draw_adcs(results.figures, maps, images.classes)
    made = results.finish(drawn, skipped=images.skipped)
    print(f"\nmean ADCS by band, from {1 - len(maps)} (least of all classes) to {len(maps) - 1}")
    print(f"{'class':<16} {'images':>6}" + "".join(f"  band {b}" for b in range(1, 5)))
    for name, row in zip(shorten(images.classes), made, strict=True):
        print(f"{name:<16} {row['n']:>6}" + "".join(f"{row[f'band_{b}']:>8.2f}" for b in range(1, 5)))
    if len(images.classes) == 1:
        print("there is one class only, so nothing is compared with it, and its map is 0")
    print_missing(images)
    print(f"\nmaps, results and the figure are in {config.out}")
    return made


def _images(config: AdcsConfig) -> ClassImages:
    if config.model is None and config.weights is None:
        preprocessing = Preprocessing(config.mean, config.std, resize=config.size, crop=config.size)
        return read_images(open_labeled(config.data, fewest=1), config, preprocessing, config.batch_size)
    loaded = load(config.model, weights=config.weights, trunk_only=False, dtype=jnp.float32)
    # The gray amplitude weights red, green and blue, in this order.
    preprocessing = replace(loaded.preprocessing, channels="rgb")
    return read_images(open_for(loaded, config.data), config, preprocessing, config.batch_size)
