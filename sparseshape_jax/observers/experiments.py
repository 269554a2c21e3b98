"""The 17 published sets: how they are laid out, their conditions, and which conditions the benchmark leaves out.

The sets are those of model-vs-human (Geirhos et al., "Partial success in closing the gap between human and machine
vision", 2021), https://github.com/bethgelab/model-vs-human. Twelve are parametric: one distortion at several strengths
(Geirhos et al., "Generalisation in humans and deep neural networks", 2018). Their names keep the published spelling.

Layout A is `<set>/<category>/<name>.png`. Layout B is
`<set>/dnn/session-1/<trial>_<code>_dnn_<condition>_<category>_<number>_<image>.png`; each image occurs in one condition
only. All images have 224×224 pixels.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class PublishedSet:
    """What is known of one set; conditions are spelled as in the file names of the published archives."""

    name: str
    layout: Literal["A", "B"]
    images: int
    humans: int
    code: str | None = None
    """The second field of file names in layout B."""
    conditions: tuple[str, ...] = ("0",)
    """In order of strength, the undistorted one first; "0" where the set has no conditions."""
    excluded: tuple[str, ...] = ()
    """Conditions that the benchmark leaves out: without a distortion, or with humans below 20 % correct."""
    labels: tuple[str, ...] = ("all images",)
    """What figures call each condition."""
    axis: str = ""
    """What figures call the axis of conditions; matplotlib's mathtext."""
    parametric: bool = False

    @property
    def kept(self) -> tuple[str, ...]:
        """The conditions that enter the benchmark, in order."""
        return tuple(condition for condition in self.conditions if condition not in self.excluded)


def normalize_condition(condition: str | None) -> str | None:
    """Spell a condition in one way: 0.60 and 0.6, 3 and 3.0, True and true are the same."""
    if condition is None:
        return None
    try:
        return f"{float(condition):g}"
    except ValueError:
        return condition.lower()


def excluded_conditions(dataset: str) -> frozenset[str | None]:
    """The conditions of `dataset` that the benchmark leaves out, as `normalize_condition` spells them.

    Empty for sets that are not among the 17.
    """
    published = PUBLISHED_SETS.get(dataset)
    return frozenset(map(normalize_condition, published.excluded)) if published else frozenset()


def _eidolon(number: str, coherence: int, kept: int) -> PublishedSet:
    """An eidolon set; the benchmark leaves out reach 1 and all from `2 ** (kept + 1)`."""
    conditions = tuple(f"{2**step}-{coherence}-10" for step in range(8))
    return PublishedSet(
        f"eidolon{number}",
        layout="B",
        code="eid",
        images=1280,
        humans=4,
        conditions=conditions,
        excluded=(conditions[0], *conditions[kept + 1 :]),
        labels=tuple(str(step) for step in range(8)),
        axis="log$_2$ of the reach",
        parametric=True,
    )


_SETS = (
    PublishedSet(
        "colour",
        layout="B",
        code="cl",
        images=1280,
        humans=4,
        conditions=("cr", "bw"),
        excluded=("cr",),
        labels=("color", "grayscale"),
        axis="Color",
        parametric=True,
    ),
    PublishedSet(
        "contrast",
        layout="B",
        code="cop",
        images=1280,
        humans=4,
        conditions=("c100", "c50", "c30", "c15", "c10", "c05", "c03", "c01"),
        excluded=("c100", "c03", "c01"),
        labels=("100", "50", "30", "15", "10", "5", "3", "1"),
        axis="Contrast in percent",
        parametric=True,
    ),
    PublishedSet(
        "high-pass",
        layout="B",
        code="hp",
        images=1280,
        humans=4,
        conditions=("inf", "3", "1.5", "1", "0.7", "0.55", "0.45", "0.4"),
        excluded=("inf", "0.55", "0.45", "0.4"),
        labels=("inf", "3", "1.5", "1", ".7", ".55", ".45", ".4"),
        axis="Standard deviation of the filter",
        parametric=True,
    ),
    PublishedSet(
        "low-pass",
        layout="B",
        code="lp",
        images=1280,
        humans=4,
        conditions=("0", "1", "3", "5", "7", "10", "15", "40"),
        excluded=("0", "15", "40"),
        labels=("0", "1", "3", "5", "7", "10", "15", "40"),
        axis="Standard deviation of the filter",
        parametric=True,
    ),
    PublishedSet(
        "phase-scrambling",
        layout="B",
        code="ps",
        images=1120,
        humans=4,
        conditions=("0", "30", "60", "90", "120", "150", "180"),
        excluded=("0", "150", "180"),
        labels=("0", "30", "60", "90", "120", "150", "180"),
        axis="Width of the phase noise (°)",
        parametric=True,
    ),
    PublishedSet(
        "power-equalisation",
        layout="B",
        code="pow",
        images=1120,
        humans=4,
        conditions=("0", "pow"),
        excluded=("0",),
        labels=("original", "equalized"),
        axis="Power spectrum",
        parametric=True,
    ),
    PublishedSet(
        "false-colour",
        layout="B",
        code="fc",
        images=1120,
        humans=4,
        conditions=("true", "false"),
        excluded=("true",),
        labels=("true", "opponent"),
        axis="Color",
        parametric=True,
    ),
    PublishedSet(
        "rotation",
        layout="B",
        code="rot",
        images=1280,
        humans=4,
        conditions=("0", "90", "180", "270"),
        excluded=("0",),
        labels=("0", "90", "180", "270"),
        axis="Angle of the rotation (°)",
        parametric=True,
    ),
    _eidolon("I", coherence=10, kept=5),
    _eidolon("II", coherence=3, kept=4),
    _eidolon("III", coherence=0, kept=3),
    PublishedSet(
        "uniform-noise",
        layout="B",
        code="nse",
        images=1280,
        humans=4,
        conditions=("0.00", "0.03", "0.05", "0.10", "0.20", "0.35", "0.60", "0.90"),
        excluded=("0.00", "0.60", "0.90"),
        labels=("0", ".03", ".05", ".1", ".2", ".35", ".6", ".9"),
        axis="Width of the uniform noise",
        parametric=True,
    ),
    PublishedSet("sketch", layout="B", code="ske", images=800, humans=7),
    PublishedSet("stylized", layout="B", code="sty", images=800, humans=5),
    PublishedSet("edge", layout="A", images=160, humans=10),
    PublishedSet("silhouette", layout="A", images=160, humans=10),
    PublishedSet("cue-conflict", layout="A", images=1280, humans=10),
)

PUBLISHED_SETS: dict[str, PublishedSet] = {each.name: each for each in _SETS}
"""All 17 sets, by name."""

PARAMETRIC: tuple[str, ...] = tuple(each.name for each in _SETS if each.parametric)
"""The twelve sets with one distortion at several strengths."""

NONPARAMETRIC: tuple[str, ...] = ("sketch", "stylized", "edge", "silhouette")
"""The four sets without conditions whose accuracy is reported; cue-conflict measures shape bias instead."""
