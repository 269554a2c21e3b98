"""The job behind `evaluate.py accuracy`: top-1 and top-5 of a network at several sparsities."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparseshape_jax import output
from sparseshape_jax.classification.config import Classification
from sparseshape_jax.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Int

    from sparseshape_jax.classification.classifier import Classifier
    from sparseshape_jax.weights.load import Loaded


@dataclass(frozen=True)
class Accuracy(Classification):
    """Measure top-1 and top-5 accuracy on a folder of images, at several sparsities."""

    data: str = "imagenet/val"
    """Folder with one folder per class, named by WordNet id (n01440764) or starting with the ImageNet class index (0,
    0000_tench); images directly in it carry the same in their own names. For the weights of a training run: folders
    named like the classes that it was trained on; some of them may be absent."""
    skip_bad: bool = False
    """Leave out images that cannot be decoded, and say so in the summary, instead of stopping."""
    out: str = "results/accuracy"
    """Folder for summary.json, summary.csv and config.yaml."""


def run(config: Accuracy) -> list[dict[str, Any]]:
    """Measure, write `summary.json`, `summary.csv` and `config.yaml` to `config.out`, and print the table.

    Returns one row per sparsity: model, fraction, keep, n, top1, top5 (both fractions of n; top5 is None up to five
    classes), per_class (top-1 of each class that has images), and where there are any, absent (classes that the weights
    name, without images) and skipped (images that cannot be decoded).

    Raises:
        InputError: bad data, model, weights or output folder. No file is written then.
    """
    from tqdm import tqdm

    from sparseshape_jax.classification.classifier import build_classifiers
    from sparseshape_jax.data.loader import Loader

    classifiers = build_classifiers(config)
    paths, labels, names = find_labels(Path(config.data), classifiers[0])
    loader = Loader(paths, classifiers[0].preprocessing, config.batch_size, skip_bad=config.skip_bad)
    folder = output.prepare_folder(config.out)  # rather now than after an hour
    tallies = [Tally(names) for _ in classifiers]
    with tqdm(total=len(paths), unit="image") as progress:
        for batch in loader:
            for classifier, tally in zip(classifiers, tallies, strict=True):
                tally.add(classifier.logits(batch.images)[: len(batch.indices)], labels[batch.indices])
            progress.update(len(batch.indices))
    skipped = [str(paths[index]) for index in loader.bad]
    if len(skipped) == len(paths):
        raise InputError(f"none of the {len(paths)} images in {config.data} can be decoded")
    # Nobody expects a sample of images to show all of ImageNet's classes.
    absent = sorted(set(names) - set(tallies[0].row()["per_class"])) if classifiers[0].classes else []
    rows = [
        {
            "model": classifier.model + classifier.suffix,
            "fraction": classifier.spec.fraction,
            "keep": classifier.spec.keep,
            **tally.row(),
            **({"absent": absent} if absent else {}),
            **({"skipped": skipped} if skipped else {}),
        }
        for classifier, tally in zip(classifiers, tallies, strict=True)
    ]
    output.write_config(folder / "config.yaml", config)
    output.write_json(folder / "summary.json", rows)
    output.write_csv(folder / "summary.csv", ("model", "fraction", "keep", "n", "top1", "top5"), rows)
    print(f"\n{'model':<24}  keep           top-1   top-5  images")
    for classifier, row in zip(classifiers, rows, strict=True):
        keep = f"{row['fraction']:.4g}" + (" rest" if row["keep"] == "rest" else "")
        keep += " trained" if classifier.trained else ""
        top5 = "-" if row["top5"] is None else f"{row['top5']:.3f}"
        print(f"{row['model']:<24}  {keep:<12}  {row['top1']:6.3f}  {top5:>6}  {row['n']:6}")
    if absent:
        print(f"{len(absent)} of the {len(names)} classes have no image in {config.data}: {', '.join(absent)}")
    if skipped:
        print(f"{len(skipped)} images could not be decoded and were left out: {', '.join(skipped)}")
    return rows


def find_labels(
    folder: Path, model: "Classifier | Loaded"
) -> "tuple[list[Path], Int[np.ndarray, ' n'], tuple[str, ...]]":
    """The images in `folder`, the position of each one's class among the logits of `model`, and all classes' names.

    The classes are those that the weights name, else ImageNet's.

    Raises:
        InputError: a missing or empty folder, folders of other classes, or weights that have other than 1000 classes
            and do not name them.
    """
    import numpy as np

    from sparseshape_jax.data.folders import class_labels, imagenet_labels, wordnet_ids

    names = model.classes or wordnet_ids()
    if len(names) != model.num_classes:
        raise InputError(
            f"these weights have {model.num_classes} classes, without their names, so no labels can be read from"
            f" {folder}; give a training run's file, which has them, or a network for ImageNet's {len(names)}"
        )
    # ImageNet's folders may also be called by their number.
    paths, labels = imagenet_labels(folder) if names == wordnet_ids() else class_labels(folder, names)
    return paths, np.asarray(labels), names


class Tally:
    """Counts how often logits are right, class by class."""

    def __init__(self, classes: Sequence[str]) -> None:
        import numpy as np

        self.classes = classes
        self.counts = np.zeros((3, len(classes)), int)
        """Images, those whose class comes first, and those whose class is among the first five."""

    def add(self, logits: "Float[np.ndarray, 'n classes']", labels: "Int[np.ndarray, ' n']") -> None:
        """Count some images; among equal logits the lower index goes first."""
        import numpy as np

        hits = np.argsort(-logits, axis=1, kind="stable")[:, :5] == labels[:, None]
        for counts, weights in zip(self.counts, (np.ones(len(labels)), hits[:, 0], hits.any(axis=1)), strict=True):
            np.add.at(counts, labels, weights.astype(int))

    def row(self) -> dict[str, Any]:
        """The entries in summary.json: n, top1, top5, per_class."""
        n, first, among_five = self.counts.sum(axis=1).tolist()
        return {
            "n": n,
            "top1": first / n,
            "top5": among_five / n if len(self.classes) > 5 else None,
            "per_class": {
                name: right / count
                for name, count, right in zip(self.classes, *self.counts[:2].tolist(), strict=True)
                if count
            },
        }
