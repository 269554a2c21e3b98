"""The job behind `evaluate.py frequency test`: does a network know a class by a few frequencies alone?

Source: Wang et al. (ICCV 2023), verify_mask_imgn.py. Images of all classes are filtered with one class's mask. If its
own are still taken for it, it may have a shortcut there; if others are, too, they carry it. We add random masks of the
same radii, without which neither says much, and say whether images are those that chose the mask.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, UInt8

from sparseshape_jax import output
from sparseshape_jax.errors import InputError
from sparseshape_jax.evaluation.frequency.config import FilteredTestConfig
from sparseshape_jax.evaluation.frequency.images import ClassImages, filtered_examples, print_missing, shorten
from sparseshape_jax.evaluation.frequency.maps_file import plain_row
from sparseshape_jax.evaluation.frequency.masks import Masks, read_masks
from sparseshape_jax.evaluation.frequency.network import Measured, claimed, measured
from sparseshape_jax.evaluation.frequency.predictions import predictions
from sparseshape_jax.figures import frequency_rates as figures
from sparseshape_jax.frequency import Rates, control_masks, rates
from sparseshape_jax.results import Results, Row, fingerprint

JOB = "evaluate frequency test"


def run(config: FilteredTestConfig) -> list[Row]:
    """Measure, write confusion matrices, the table and the figures to `config.out`, print, return this run's rows.

    A row is one class at one share: class, share, n, kept, kept_share, tpr and fpr with the class's mask,
    tpr_unfiltered and fpr_unfiltered; of the random masks the mean, control_tpr and control_fpr, and the range; and
    chosen_on, how many of the images have helped to choose the masks (None if that is not known).

    Raises:
        InputError: bad data, model, weights, masks or output folder, one class only, or results of something else.
    """
    found = measured(config)
    images = found.images
    if len(images.classes) < 2:
        raise InputError(f"{images.source} has images of {images.classes[0]} only; false positives need another class")
    masks = read_masks(config.masks, images, config.top)
    results = Results(config.out, JOB, config, identity=("class", "share"))
    facts = found.facts
    if facts is not None:
        facts |= {"masks": masks.fingerprint(), "controls": config.controls, "seed": config.seed}
    filters = _filters(masks, config)
    with claimed(results, facts):
        shown = predictions(found, filters.reshape(-1, images.size, images.size), results, facts)
    whole = rates(shown[:, 0], images.own, len(images.classes))
    by_mask = shown[:, 1:].reshape(len(images), *filters.shape[:3])
    filtered = [
        [[rates(one, images.own, len(images.classes)) for one in own.T] for own in np.moveaxis(of_class, 1, 0)]
        for of_class in np.moveaxis(by_mask, 1, 0)
    ]
    rows = _rows(found, masks, whole, filtered)
    results.add_all([(row, None if facts is None else fingerprint([facts, row["share"]])) for row in rows])
    _write_confusion(results, images, masks, whole, filtered)
    made = results.asked
    drawn = figures.draw_test(results.figures, made, images.classes, masks.shares.tolist(), masks.labels)
    drawn += figures.draw_sheet(results.figures, masks.labels, images.classes, *filtered_examples(images, masks.masks))
    made = results.finish(drawn, skipped=images.skipped)
    _print(made, images, masks)
    print(f"\nconfusion matrices, results and figures are in {config.out}")
    return made


def _filters(masks: Masks, config: FilteredTestConfig) -> UInt8[np.ndarray, "c x r s s"]:
    """For each class and share its mask, then the random ones."""
    found: list[list[np.ndarray]] = []
    for label, own in enumerate(masks.masks):
        found.append([])
        for number, mask in enumerate(own):
            rng = np.random.default_rng([config.seed, label, number])
            controls = control_masks(mask, masks.groups, config.controls, rng)
            found[-1].append(np.concatenate([mask[None], controls]))
    return np.array(found)


def _rows(found: Measured, masks: Masks, whole: Rates, filtered: Sequence[Sequence[Sequence[Rates]]]) -> list[Row]:
    images = found.images
    chosen_on = sum(one in masks.chosen_on for one in images.prints) if masks.known else None
    rows = []
    for label, name in enumerate(images.classes):
        for number, share in enumerate(masks.shares):
            own, *controls = filtered[label][number]
            mask = masks.masks[label, number]
            row: Row = {
                "class": name,
                "share": share,
                "n": images.counts[label],
                "kept": mask.sum(dtype=int),
                "kept_share": mask.mean(),
                "tpr": own.tpr[label],
                "fpr": own.fpr[label],
                "tpr_unfiltered": whole.tpr[label],
                "fpr_unfiltered": whole.fpr[label],
            }
            for rate in ("tpr", "fpr"):
                values = [getattr(control, rate)[label] for control in controls]
                row[f"control_{rate}"] = np.mean(values) if values else None
                row[f"control_{rate}_lowest"] = min(values, default=None)
                row[f"control_{rate}_highest"] = max(values, default=None)
            rows.append(plain_row({**row, "chosen_on": chosen_on} | found.entries()))
    return rows


def _write_confusion(
    results: Results,
    images: ClassImages,
    masks: Masks,
    whole: Rates,
    filtered: Sequence[Sequence[Sequence[Rates]]],
) -> None:
    """One file per mask: rows are true classes, columns what they are taken for."""
    matrices = {"unfiltered": whole}
    for label, name in enumerate(images.classes):
        for number, share in enumerate(masks.shares):
            matrices[f"top{100 * share:g}_{name.replace('/', '_')}"] = filtered[label][number][0]
    for name, found in matrices.items():
        columns = ["class", *images.classes, "other"]
        lines = [
            dict(zip(columns, (own, *_padded(row, len(images.classes) + 1)), strict=True))
            for own, row in zip(images.classes, found.confusion, strict=True)
        ]
        output.write_csv(results.folder / "confusion" / f"{name}.csv", columns, lines)


def _padded(row: Int[np.ndarray, " k"], length: int) -> list[int]:
    return np.pad(row, (0, length - len(row))).tolist()


def _print(rows: Sequence[Row], images: ClassImages, masks: Masks) -> None:
    names = dict(zip(images.classes, shorten(images.classes), strict=True))
    print(f"\n{'':<16} {'':>6}        true positives             false positives")
    print(f"{'class':<16} {'share':>6}" + "   whole    mask  random" * 2)
    for row in rows:
        line = f"{names[row['class']]:<16} {row['share']:>6.3g}"
        for rate in ("tpr", "fpr"):
            for key in (f"{rate}_unfiltered", rate, f"control_{rate}"):
                line += "       -" if row[key] is None else f"{row[key]:>8.2f}"
        print(line)
    for share in masks.shares:
        own = [row for row in rows if row["share"] == share]
        line = f"{'mean':<16} {share:>6.3g}"
        for rate in ("tpr", "fpr"):
            for key in (f"{rate}_unfiltered", rate, f"control_{rate}"):
                values = [row[key] for row in own if row[key] is not None]
                line += f"{np.mean(values):>8.2f}" if values else "       -"
        print(line)
    chosen_on = rows[0]["chosen_on"]
    if chosen_on is None:
        print("it is not known on which images these masks were chosen")
    elif chosen_on:
        print(f"{chosen_on} of the {len(images)} images have helped to choose the masks; see --select even and odd")
    else:
        print("none of the images has helped to choose the masks")
    print_missing(images)
