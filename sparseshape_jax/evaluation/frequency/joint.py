"""What `evaluate.py frequency dfm --method joint` does: masks on whose frequencies alone each class does best.

Source: HFSS (Wang et al., CVPR 2025); `sparseshape_jax.frequency.joint` says in what its masks differ from ours. We
also say how well two halves of the images agree on the last choice, and random candidates with each other.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from sparseshape_jax.evaluation.frequency import maps_file
from sparseshape_jax.evaluation.frequency.config import DfmConfig
from sparseshape_jax.evaluation.frequency.images import (
    ClassImages,
    class_energy,
    filtered_examples,
    print_missing,
    shorten,
)
from sparseshape_jax.evaluation.frequency.maps_file import LOSSES, MAPS, Maps, StageLosses, by_class, halves, plain_row
from sparseshape_jax.evaluation.frequency.network import Measured, claimed
from sparseshape_jax.figures import frequency_joint as figures
from sparseshape_jax.frequency import intersection_over_union, joint, radius
from sparseshape_jax.frequency.filtered import UNFILTERED
from sparseshape_jax.results import Results, Row, fingerprint


def run(config: DfmConfig, found: Measured, results: Results) -> list[Row]:
    """Measure, write losses.npz, maps.npz, the table and the figures, print, return this run's rows.

    Every stage shows every image with each of its candidates. What a stage has measured is in losses.npz before the
    next one begins; a run that was killed goes on from there, with the same bytes at the end.

    A row is one class: class, share (what a candidate of the last stage keeps on average), n, kept (frequencies),
    kept_share, mean_radius, energy_share (of the class's energy), baseline_loss (of whole images), joint_loss (with the
    mask alone), half_iou (of what two halves of the images choose in the last stage), chance_iou (of any two candidates
    of the last stage), stages, candidates and method.

    Raises:
        InputError: images of a size that has no stages, logits that are not numbers, or results of something else in
            the folder.
    """
    images = found.images
    sides = joint.stages(images.size)
    facts = found.facts
    if facts is not None:
        facts |= {"method": config.method, "candidates": config.candidates, "seed": config.seed}
    with claimed(results, facts):
        losses, masks = _search(config, found, results, facts, sides)
    classes = len(images.classes)
    by_stage = np.stack([by_class(stage, losses.label, classes) for stage in losses.loss])
    chosen = joint.best(by_stage[-1])
    maps = Maps(
        loss=np.full((classes, images.size, images.size), np.nan),
        baseline=by_class(losses.baseline, losses.label, classes),
        masks=masks[chosen[:, :1]].astype(np.uint8),
        shares=np.array([joint.expected_share(len(sides))]),
        energy=class_energy(images),
        classes=np.array(images.classes),
        patch=1,
        symmetry="exact",
        screened=False,
        network=found.classifier.name + found.classifier.suffix,
        prints=np.array(images.prints),
        method=config.method,
    )
    often = np.stack([masks[own].mean(axis=0) for own in chosen])
    maps_file.write(results.folder / MAPS, maps, often=often)
    rows = _rows(config, found, losses, by_stage, masks, maps)
    results.add_all([(row, None if facts is None else fingerprint([facts, row["share"]])) for row in rows])
    lowest = by_stage.min(axis=2)
    drawn = figures.draw_joint(results.figures, maps, often, sides, lowest, *filtered_examples(images, maps.masks))
    made = results.finish(drawn, skipped=images.skipped)
    _print(made, images, config)
    return made


def _search(
    config: DfmConfig, found: Measured, results: Results, facts: dict[str, Any] | None, sides: tuple[int, ...]
) -> tuple[StageLosses, Bool[np.ndarray, "b s s"]]:
    """The losses of all stages, those in the folder or measured, and the candidates of the last stage."""
    images, path = found.images, results.folder / LOSSES
    losses = StageLosses(
        loss=np.zeros((0, len(images), config.candidates), np.float32),
        baseline=np.zeros(len(images), np.float32),
        names=np.array(images.names),
        label=images.own,
        classes=np.array(images.classes),
        facts=facts,
    )
    if path.is_file() and facts is not None and (earlier := maps_file.read_stage_losses(path)).facts == facts:
        losses = earlier
    before: tuple[Bool[np.ndarray, "b s s"], Int[np.ndarray, "c best"]] | None = None
    for stage, cells in enumerate(sides):
        rng = np.random.default_rng([config.seed, stage])
        masks = joint.candidates(images.size, cells, config.candidates, rng, before)
        state = results.state_file(None if facts is None else fingerprint([facts, stage]))
        if stage == len(losses.loss):
            losses = _measured(found, losses, masks, state)
            maps_file.write(path, losses)
        state.unlink(missing_ok=True)
        loss = by_class(losses.loss[stage], images.own, len(images.classes))
        before = masks, joint.best(loss)
        print(
            f"stage {stage + 1} of {len(sides)}, {cells}×{cells} cells: candidates keep {masks.mean():.0%}; the best"
            f" have a loss of {loss.min(axis=1).mean():.3f} on average over the classes"
        )
    return losses, masks


def _measured(found: Measured, losses: StageLosses, masks: Bool[np.ndarray, "b s s"], state: Path) -> StageLosses:
    """The losses with another stage; the first one measures whole images, too."""
    first = len(losses.loss) == 0
    filters = np.arange(len(masks))
    filters = np.append(UNFILTERED, filters) if first else filters
    values = np.stack(found.show(masks.astype(np.uint8), [filters] * len(losses.label), "loss", state))
    if first:
        losses = replace(losses, baseline=values[:, 0])
    return replace(losses, loss=np.concatenate([losses.loss, values[None, :, -len(masks) :]]))


def _rows(
    config: DfmConfig,
    found: Measured,
    losses: StageLosses,
    by_stage: Float[np.ndarray, "stages c b"],
    masks: Bool[np.ndarray, "b s s"],
    maps: Maps,
) -> list[Row]:
    rho = radius(masks.shape[-1])
    chance = joint.chance_iou(masks)
    rows = []
    for label, name in enumerate(found.images.classes):
        mask = maps.masks[label, 0] > 0
        parts = halves(losses.loss[-1], losses.label, label, config.seed)
        row = {
            "class": name,
            "share": maps.shares[0],
            "n": found.images.counts[label],
            "kept": mask.sum(),
            "kept_share": mask.mean(),
            "mean_radius": rho[mask].mean() if mask.any() else np.nan,
            "energy_share": maps.energy[label][mask].sum() / maps.energy[label].sum(),
            "baseline_loss": maps.baseline[label],
            "joint_loss": by_stage[-1, label].min(),
            "half_iou": intersection_over_union(*(masks[part.argmin()] for part in parts)) if parts else np.nan,
            "chance_iou": chance,
            "stages": len(by_stage),
            "candidates": config.candidates,
            "method": maps.method,
        }
        rows.append(plain_row(row | found.entries()))
    return rows


def _print(rows: list[Row], images: ClassImages, config: DfmConfig) -> None:
    names = dict(zip(images.classes, shorten(images.classes), strict=True))
    print(f"\n{rows[0]['stages']} stages of {config.candidates} candidates, {len(images)} images")
    print(f"{'class':<16} {'kept':>6} {'kept share':>10} {'energy':>7} {'radius':>7} ", end="")
    print(f"{'whole loss':>11} {'joint loss':>11} {'half IoU':>9}")
    for row in rows:
        agree, mean_radius = (
            "-" if row[key] is None else f"{row[key]:.{digits}f}"
            for key, digits in (("half_iou", 2), ("mean_radius", 1))
        )
        line = f"{names[row['class']]:<16} {row['kept']:>6} {row['kept_share']:>10.3f} {row['energy_share']:>7.3f}"
        line += f" {mean_radius:>7}  {row['baseline_loss']:>11.3f} {row['joint_loss']:>11.3f} {agree:>9}"
        print(line)
    if rows[0]["chance_iou"] is not None:
        print(f"any two candidates of the last stage have an IoU of {rows[0]['chance_iou']:.2f} on average")
    print("joint losses are the lowest of many on these images: test the masks on others (--select even and odd)")
    if any(row["half_iou"] is None for row in rows):
        print("classes with one image have no halves to compare")
    print_missing(images)
    print(f"\nlosses, maps, results and figures are in {config.out}")
