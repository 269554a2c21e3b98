"""The sections of the page, in the order of the paper, and what each job's table shows."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sparseshape_jax.results import FINGERPRINT, Row


@dataclass(frozen=True)
class Section:
    """A section of the page."""

    title: str
    question: str
    """What its runs answer, in a sentence."""
    jobs: Sequence[str]


SECTIONS = (
    Section(
        "Textures and reconstructions",
        "What do the strongest activations hold, and what the others? (Li et al. 2023, Figures 2 and 3)",
        ("synthesize figure", "synthesize texture", "synthesize reconstruct"),
    ),
    Section(
        "Shape bias",
        "Does a network that keeps few activations decide by shape? (Li et al. 2023, Section 4.2)",
        ("evaluate shape-bias", "evaluate sweep", "synthesize cue-conflict"),
    ),
    Section(
        "Training with Top-K",
        "Do networks learn shape when they are trained with Top-K? (Li et al. 2023, Section 4.3)",
        ("train classifier", "evaluate accuracy", "synthesize stylize", "synthesize styles", "train adain"),
    ),
    Section(
        "Few-shot synthesis",
        "Does Top-K help to learn from a hundred images? (Li et al. 2023, Section 4.4)",
        ("train few-shot", "synthesize sample", "evaluate fid"),
    ),
    Section(
        "Likeness to people",
        "Are the errors on out-of-distribution images like those of people? (Geirhos et al. 2021)",
        ("evaluate ood", "synthesize stimuli"),
    ),
    Section(
        "Frequency shortcuts",
        "Do classes hang on a few frequencies? (Wang et al. 2023)",
        (
            "synthesize band-sets",
            "evaluate frequency adcs",
            "evaluate frequency dfm",
            "evaluate frequency test",
            "evaluate frequency bands",
            "evaluate frequency compare",
        ),
    ),
    Section(
        "Local features and global shape",
        "What is lost with scrambled blocks or without texture, and where does the evidence lie? (Büttner 2020)",
        ("evaluate local-global", "evaluate relevance"),
    ),
)

OTHERS = Section("Other runs", "Runs of jobs that belong to no section of the sources.", ())


@dataclass(frozen=True)
class Table:
    """What of a job's rows is shown."""

    columns: Sequence[str] = ()
    """Names of entries; empty: all that are single values."""
    rows: Callable[[Sequence[Row]], Sequence[Row]] = tuple


def _last_epochs(rows: Sequence[Row]) -> Sequence[Row]:
    return tuple({row.get("set"): row for row in sorted(rows, key=lambda row: row.get("epoch") or 0)}.values())


def _whole_sets(rows: Sequence[Row]) -> Sequence[Row]:
    """No single conditions; means over sets first."""
    whole = (row for row in rows if row.get("condition") is None)
    return sorted(whole, key=lambda row: row.get("sets") is None)


_IMAGES = Table(("image", "objective", "keep", "fraction", "seed", "evaluations", "status"))

TABLES: Mapping[str, Table] = {
    "synthesize figure": _IMAGES,
    "synthesize texture": _IMAGES,
    "synthesize reconstruct": _IMAGES,
    "synthesize cue-conflict": Table(("file", "shape", "texture", "finished", "evaluations", "status")),
    "evaluate shape-bias": Table(("observer", "fraction", "shape_bias", "cue_accuracy", "shape", "texture", "n")),
    "evaluate accuracy": Table(("model", "fraction", "keep", "data", "n", "top1", "top5", "loss")),
    "evaluate sweep": Table(("model", "placement", "fraction", "keep", "shape_bias", "cue_accuracy", "top1")),
    "evaluate ood": Table(
        (
            *("observer", "set", "sets", "n", "accuracy"),
            *("accuracy_difference", "observed_consistency", "error_consistency"),
        ),
        _whole_sets,
    ),
    "evaluate fid": Table(
        ("fake", "real", "distance", "protocol", "value", "sd", "mean", "mean_sd", "n_fake", "n_real", "size")
    ),
    "evaluate frequency dfm": Table(
        (
            *("class", "share", "n", "kept_share", "mean_radius", "largest_increase", "baseline_loss", "joint_loss"),
            *("half_iou", "half_rank_correlation", "chance_iou"),
        )
    ),
    "evaluate frequency adcs": Table(("class", "n", "band_1", "band_2", "band_3", "band_4")),
    "evaluate frequency bands": Table(("class", "band", "n", "accuracy", "accuracy_without", "accuracy_alone")),
    "evaluate frequency test": Table(
        ("class", "share", "n", "kept_share", "tpr", "control_tpr", "fpr", "control_fpr", "tpr_unfiltered", "chosen_on")
    ),
    "evaluate frequency compare": Table(
        ("run", "class", "share", "tpr", "control_tpr", "fpr", "control_fpr", "half_iou", "half_rank_correlation")
    ),
    "evaluate relevance": Table(
        (
            *("observer", "picture", "class", "explained", "logit", "positive_share", "positive_lift"),
            *("negative_share", "negative_lift", "positive_mass_on_edges"),
        )
    ),
    "train classifier": Table(("set", "epoch", "keep", "n", "top1", "top5", "loss"), _last_epochs),
    "train adain": Table(("epoch", "step", "content", "style", "pixels")),
}

HIDDEN = (FINGERPRINT, "records", "trained", "map")
"""Entries that a table of all single values leaves out, besides those that are hashes."""
FEW = 4
"""Lists of more values are not shown in a table."""


def section_of(job: str) -> Section:
    """The section that a job belongs to."""
    return next((section for section in SECTIONS if job in section.jobs), OTHERS)


def shown(job: str, rows: Sequence[Row]) -> tuple[list[str], list[Row]]:
    """The columns and rows of a job's table. Columns that are empty in all rows are left out."""
    table = TABLES.get(job, Table())
    chosen = list(table.rows(rows))
    names = table.columns or [
        name for name in dict.fromkeys(key for row in chosen for key in row) if name not in HIDDEN
    ]
    columns = [name for name in names if not name.endswith("_ci95") and any(_is_shown(row.get(name)) for row in chosen)]
    return columns, chosen


def _is_shown(value: object) -> bool:
    if isinstance(value, list):
        return 0 < len(value) <= FEW and all(isinstance(item, int | float | str) for item in value)
    is_hash = isinstance(value, str) and re.fullmatch(r"[0-9a-f]{40,64}", value)
    return value is not None and not is_hash and not isinstance(value, Mapping)
