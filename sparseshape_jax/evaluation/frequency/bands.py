"""The job behind `evaluate.py frequency bands`: accuracy without one band of frequencies, and with it alone."""

import numpy as np

from sparseshape_jax.evaluation.frequency.config import BandsConfig
from sparseshape_jax.evaluation.frequency.images import print_missing, shorten
from sparseshape_jax.evaluation.frequency.maps_file import by_class, plain_row
from sparseshape_jax.evaluation.frequency.network import claimed, measured
from sparseshape_jax.evaluation.frequency.predictions import predictions
from sparseshape_jax.figures import frequency as figures
from sparseshape_jax.frequency import band_filters
from sparseshape_jax.results import Results, Row, fingerprint

JOB = "evaluate frequency bands"


def run(config: BandsConfig) -> list[Row]:
    """Measure, write the table and the figure to `config.out`, print the table, and return this run's rows.

    A row is one class and one band (1 to 4): class, band, n, accuracy (of whole images), accuracy_without the band,
    and accuracy_alone. Frequency 0 is always kept.

    Raises:
        InputError: bad data, model, weights or output folder, or results of something else in it.
    """
    found = measured(config)
    images = found.images
    results = Results(config.out, JOB, config, identity=("class", "band"))
    facts = found.facts
    masks = np.concatenate(band_filters(images.size))
    with claimed(results, facts):
        right = predictions(found, masks, results, facts) == images.own[:, None]
    accuracy = by_class(right.astype(float), images.own, len(images.classes))
    unfiltered, without, alone = np.split(accuracy, [1, 1 + len(masks) // 2], axis=1)
    rows = []
    for label, name in enumerate(images.classes):
        for band in range(without.shape[1]):
            row = {"class": name, "band": band + 1, "n": images.counts[label], "accuracy": unfiltered[label, 0]}
            row |= {"accuracy_without": without[label, band], "accuracy_alone": alone[label, band]}
            found_print = None if facts is None else fingerprint([facts, name, band])
            rows.append((plain_row(row | found.entries()), found_print))
    results.add_all(rows)
    drawn = figures.draw_bands(results.figures, without, alone, unfiltered[:, 0], images.classes)
    made = results.finish(drawn, skipped=images.skipped)
    columns = ["whole", *(f"no {b}" for b in range(1, 5)), *(f"only {b}" for b in range(1, 5))]
    print(f"\n{'class':<16} " + "".join(f"{column:>8}" for column in columns))
    for name, values in zip(shorten(images.classes), accuracy, strict=True):
        print(f"{name:<16} " + "".join(f"{value:>8.2f}" for value in values))
    print_missing(images)
    print(f"\nresults and the figure are in {config.out}")
    return made
