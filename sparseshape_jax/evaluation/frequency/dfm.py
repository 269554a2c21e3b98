"""The job behind `evaluate.py frequency dfm`: dominant frequency maps.

Source: Wang et al., "What do neural networks learn in image classification? A frequency shortcut perspective", ICCV
2023, and its code (test_rank.py). We depart from it in that groups are closed under negation, a class's loss is the
mean over its images, and every map comes with how well two halves of the images agree on it.
"""

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from sparseshape_jax.evaluation.frequency import joint, maps_file
from sparseshape_jax.evaluation.frequency.config import DfmConfig
from sparseshape_jax.evaluation.frequency.images import (
    ClassImages,
    class_energy,
    filtered_examples,
    print_missing,
    shorten,
)
from sparseshape_jax.evaluation.frequency.maps_file import LOSSES, MAPS, Losses, Maps, by_class, halves, plain_row
from sparseshape_jax.evaluation.frequency.network import Measured, claimed, measured
from sparseshape_jax.figures import frequency as figures
from sparseshape_jax.frequency import Groups, dominant, expected_misses, groups, intersection_over_union, radius
from sparseshape_jax.frequency.filtered import UNFILTERED
from sparseshape_jax.results import Results, Row, fingerprint

JOB = "evaluate frequency dfm"
AUDIT = 0.02
"""The share of the groups that a screen leaves out which is evaluated all the same."""
REFERENCE_BATCH = 100
"""Images per batch in the reference's code."""


def run(config: DfmConfig) -> list[Row]:
    """Measure, write losses.npz, maps.npz, the table and the figures to `config.out`, print, return this run's rows.

    A row is one class at one share: class, share, n, kept (frequencies), kept_share, groups, mean_radius, energy_share
    (of the class's energy), baseline_loss, largest_increase, half_iou and half_rank_correlation (of the masks and maps
    of two halves of the images), and with a screen expected_misses (groups of the true map that it left out). For the
    method joint, see `joint.run`.

    Raises:
        InputError: bad data, model, weights, patch or output folder, or results of something else in it.
    """
    found = measured(config)
    images = found.images
    results = Results(config.out, JOB, config, identity=("class", "share"))
    if config.method == "joint":
        return joint.run(config, found, results)
    own = groups(images.size, config.patch, config.symmetry)
    facts = found.facts
    if facts is not None:
        facts |= {"patch": own.patch, "symmetry": own.symmetry, "screen": config.screen}
        facts |= {"seed": config.seed} if config.screen is not None else {}
    energy = class_energy(images)
    with claimed(results, facts):
        losses = _losses(found, own, energy, results, facts)
    shares = np.array(config.shares)
    loss = by_class(losses.loss, losses.label, len(images.classes))
    ranked = loss if own.symmetry == "exact" else reference_loss(losses, found.classifier.num_classes)
    masks = np.stack([dominant(ranked, own, share) for share in shares], axis=1)
    maps = Maps(
        loss=np.where(own.of >= 0, own.spread(loss), np.nan),
        baseline=by_class(losses.baseline, losses.label, len(images.classes)),
        masks=masks,
        shares=shares,
        energy=energy,
        classes=np.array(images.classes),
        patch=own.patch,
        symmetry=own.symmetry,
        screened=config.screen is not None,
        network=found.classifier.name + found.classifier.suffix,
        prints=np.array(images.prints),
    )
    more = {} if own.symmetry == "exact" else {"reference_loss": own.spread(ranked)}
    maps_file.write(results.folder / MAPS, maps, **more)
    rows = _rows(found, own, losses, loss, maps, config.seed)
    results.add_all([(row, None if facts is None else fingerprint([facts, row["share"], config.seed])) for row in rows])
    drawn = figures.draw_dfm(results.figures, maps, *filtered_examples(images, masks))
    made = results.finish(drawn, skipped=images.skipped)
    _print(made, images, own, config)
    return made


def _losses(
    found: Measured, own: Groups, energy: Float[np.ndarray, "c s s"], results: Results, facts: dict | None
) -> Losses:
    """Those in the folder, if they are there; else measured."""
    path = results.folder / LOSSES
    if path.is_file() and facts is not None:
        earlier = maps_file.read_losses(path)
        if earlier.facts == facts:
            return earlier
    images, config = found.images, found.config
    assert isinstance(config, DfmConfig)
    evaluated, audited = _screen(energy, own, config)
    lists = [np.append(UNFILTERED, np.flatnonzero(evaluated[label])) for label in images.own]
    state = results.state_file(None if facts is None else fingerprint(facts))
    values = found.show(own, lists, "loss", state)
    loss = np.full((len(images), own.count), np.nan, np.float32)
    for row, label, found_values in zip(loss, images.own, values, strict=True):
        row[evaluated[label]] = found_values[1:]
    losses = Losses(
        loss=loss,
        baseline=np.array([one[0] for one in values]),
        group=own.of,
        audited=audited,
        names=np.array(images.names),
        label=images.own,
        classes=np.array(images.classes),
        facts=facts,
    )
    maps_file.write(path, losses)
    state.unlink(missing_ok=True)
    return losses


def _screen(
    energy: Float[np.ndarray, "c s s"], own: Groups, config: DfmConfig
) -> tuple[Bool[np.ndarray, "c groups"], Bool[np.ndarray, "c groups"]]:
    """Which groups are evaluated for each class, and which of them only to check the screen."""
    evaluated = np.ones((len(energy), own.count), bool)
    audited = np.zeros_like(evaluated)
    if config.screen is None:
        return evaluated, audited
    for label, spectrum_energy in enumerate(energy):
        totals = np.bincount(own.of.ravel(), weights=spectrum_energy.ravel())
        order = np.argsort(-totals, kind="stable")
        left_out = order[max(1, round(config.screen * own.count)) :]
        rng = np.random.default_rng([config.seed, label])
        audit = rng.choice(left_out, min(len(left_out), max(1, round(AUDIT * len(left_out)))), replace=False)
        evaluated[label, left_out] = False
        evaluated[label, audit] = audited[label, audit] = True
    return evaluated, audited


def reference_loss(losses: Losses, num_classes: int) -> Float[np.ndarray, "c groups"]:
    """The losses as the reference sums them: over batches of 100 in the order of files that hold a class.

    It sets the logits of other classes' images to 0, so each of these adds log C; and it adds the means of batches, so
    that a short one counts more.

    Args:
        losses: in the order of files.
        num_classes: C, the number of logits.
    """
    found = np.zeros((len(losses.classes), losses.loss.shape[1]))
    for start in range(0, len(losses.label), REFERENCE_BATCH):
        label = losses.label[start : start + REFERENCE_BATCH]
        loss = losses.loss[start : start + REFERENCE_BATCH].astype(float)
        for one in np.unique(label):
            inside = label == one
            found[one] += (loss[inside].sum(axis=0) + (~inside).sum() * np.log(num_classes)) / len(label)
    return found


def _rows(
    found: Measured, own: Groups, losses: Losses, loss: Float[np.ndarray, "c groups"], maps: Maps, seed: int
) -> list[Row]:
    rho = radius(own.size)
    rows = []
    for label, name in enumerate(found.images.classes):
        parts = halves(losses.loss, losses.label, label, seed)
        for number, share in enumerate(maps.shares):
            mask = maps.masks[label, number] > 0
            row = {
                "class": name,
                "share": share,
                "n": found.images.counts[label],
                "kept": mask.sum(),
                "kept_share": mask.mean(),
                "groups": len(np.unique(own.of[mask])),
                "mean_radius": rho[mask].mean(),
                "energy_share": maps.energy[label][mask].sum() / maps.energy[label].sum(),
                "baseline_loss": maps.baseline[label],
                "largest_increase": np.nanmax(loss[label]) - maps.baseline[label],
                **_agreement(parts, own, share),
            }
            if maps.screened:
                row["expected_misses"] = expected_misses(loss[label], losses.audited[label], own, share)
            row |= {"patch": own.patch, "symmetry": own.symmetry, "method": maps.method}
            rows.append(plain_row(row | found.entries()))
    return rows


def _agreement(parts: list[Float[np.ndarray, " groups"]], own: Groups, share: float) -> dict[str, float]:
    if not parts:
        return {"half_iou": np.nan, "half_rank_correlation": np.nan}
    one, other = (dominant(half, own, share) for half in parts)
    return {
        "half_iou": intersection_over_union(one, other),
        "half_rank_correlation": rank_correlation(*parts),
    }


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's, over what is known of both; NaN if one of them is constant."""
    known = ~(np.isnan(one) | np.isnan(other))
    one, other = one[known], other[known]
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(stats.spearmanr(one, other).statistic)


def _print(rows: list[Row], images: ClassImages, own: Groups, config: DfmConfig) -> None:
    names = dict(zip(images.classes, shorten(images.classes), strict=True))
    print(f"\n{own.count} groups of frequencies, patch {own.patch}, {len(images)} images")
    misses = "  expected misses" if config.screen is not None else ""
    print(f"{'class':<16} {'share':>6} {'kept':>6} {'kept share':>10} {'energy':>7} {'radius':>7} ", end="")
    print(f"{'half IoU':>9} {'half rank r':>11}{misses}")
    for row in rows:
        halves = ("-" if row[key] is None else f"{row[key]:.2f}" for key in ("half_iou", "half_rank_correlation"))
        line = f"{names[row['class']]:<16} {row['share']:>6.3g} {row['kept']:>6} {row['kept_share']:>10.3f}"
        line += f" {row['energy_share']:>7.3f} {row['mean_radius']:>7.1f} "
        line += "{:>9} {:>11}".format(*halves)
        if config.screen is not None:
            missed = "-" if row["expected_misses"] is None else f"{row['expected_misses']:.1f}"
            line += f"  {missed} of {row['groups']} groups"
        print(line)
    if config.screen is not None:
        for share in config.shares:
            own_misses = [row["expected_misses"] for row in rows if row["share"] == share]
            known = [value for value in own_misses if value is not None]
            if known:
                print(f"top {share:.3g}: on average {np.mean(known):.1f} groups of a class are expected to be missed")
    if any(row["half_iou"] is None for row in rows):
        print("classes with one image have no halves to compare")
    print_missing(images)
    print(f"\nlosses, maps, results and figures are in {config.out}")
