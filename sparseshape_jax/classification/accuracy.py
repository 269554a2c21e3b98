"""The job behind `evaluate.py accuracy`: ImageNet top-1 and top-5 of a network at several sparsities."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparseshape_jax import output
from sparseshape_jax.classification.config import Classification
from sparseshape_jax.errors import InputError


@dataclass(frozen=True)
class Accuracy(Classification):
    """Measure top-1 and top-5 accuracy on a folder of images, at several sparsities."""

    data: str = "imagenet/val"
    """Folder with one folder per class, named by WordNet id (n01440764) or starting with the ImageNet class index (0,
    0000_tench); images directly in it carry the same in their own names."""
    skip_bad: bool = False
    """Leave out images that cannot be decoded, and say so in the summary, instead of stopping."""
    out: str = "results/accuracy"
    """Folder for summary.json, summary.csv and config.yaml."""


def run(config: Accuracy) -> list[dict[str, Any]]:
    """Measure, write `summary.json`, `summary.csv` and `config.yaml` to `config.out`, and print the table.

    Returns one row per sparsity: model, fraction, keep, n, top1, top5 (both fractions of n).

    Raises:
        InputError: bad data, model, weights or output folder. No file is written then.
    """
    import numpy as np
    from tqdm import tqdm

    from sparseshape_jax.classification.classifier import build_classifiers
    from sparseshape_jax.data.folders import imagenet_labels
    from sparseshape_jax.data.loader import Loader

    paths, labels = imagenet_labels(Path(config.data))
    truth = np.asarray(labels)
    classifiers = build_classifiers(config)
    loader = Loader(paths, classifiers[0].preprocessing, config.batch_size, skip_bad=config.skip_bad)
    folder = output.prepare_folder(config.out)  # rather now than after an hour
    hits = np.zeros((len(classifiers), 2), int)
    with tqdm(total=len(paths), unit="image") as progress:
        for batch in loader:
            expected = truth[batch.indices, None]
            for index, classifier in enumerate(classifiers):
                logits = classifier.logits(batch.images)[: len(batch.indices)]
                best = np.argsort(-logits, axis=1, kind="stable")[:, :5]
                hits[index] += (best[:, :1] == expected).sum(), (best == expected).sum()
            progress.update(len(batch.indices))
    skipped = [str(paths[index]) for index in loader.bad]
    n = len(paths) - len(skipped)
    if not n:
        raise InputError(f"none of the {len(paths)} images in {config.data} can be decoded")
    rows = [
        {
            "model": classifier.model + classifier.suffix,
            "fraction": classifier.spec.fraction,
            "keep": classifier.spec.keep,
            "n": n,
            "top1": top1 / n,
            "top5": top5 / n,
            **({"skipped": skipped} if skipped else {}),
        }
        for classifier, (top1, top5) in zip(classifiers, hits.tolist(), strict=True)
    ]
    output.write_config(folder / "config.yaml", config)
    output.write_json(folder / "summary.json", rows)
    output.write_csv(folder / "summary.csv", ("model", "fraction", "keep", "n", "top1", "top5"), rows)
    print(f"\n{'model':<24}  keep        top-1   top-5  images")
    for row in rows:
        keep = f"{row['fraction']:.4g}" + (" rest" if row["keep"] == "rest" else "")
        print(f"{row['model']:<24}  {keep:<9}  {row['top1']:6.3f}  {row['top5']:6.3f}  {n:6}")
    if skipped:
        print(f"{len(skipped)} images could not be decoded and were left out: {', '.join(skipped)}")
    return rows
