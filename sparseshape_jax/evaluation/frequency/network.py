"""From settings to a network that is shown filtered images, and the folder that its results belong to."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from sparseshape_jax import output
from sparseshape_jax.errors import InputError
from sparseshape_jax.evaluation.classifiers import Classifier, build_classifier, open_for
from sparseshape_jax.evaluation.frequency.config import FilteredConfig
from sparseshape_jax.evaluation.frequency.images import ClassImages, read_images
from sparseshape_jax.frequency import Groups
from sparseshape_jax.frequency.filtered import Filtered
from sparseshape_jax.frequency.losses import show
from sparseshape_jax.preprocessing import Preprocessing
from sparseshape_jax.results import COMPUTING, Results, software
from sparseshape_jax.top_k.placement import place

PROVENANCE = "provenance.json"


@dataclass(frozen=True)
class Measured:
    """A network and the images that it is shown."""

    classifier: Classifier
    images: ClassImages
    config: FilteredConfig

    @property
    def facts(self) -> dict[str, Any] | None:
        """What decides the results, by what a user would call it; None for a user's own model."""
        provenance = self.classifier.provenance(self.config.compute_dtype)
        if provenance is None:
            return None
        versions = {name: found for name, found in software().items() if name in COMPUTING}
        return {"network": provenance, "images": self.images.fingerprint(), "software": versions}

    def show(
        self,
        filters: Groups | np.ndarray,
        lists: list[np.ndarray],
        result: Literal["loss", "prediction"],
        saved: Path | None,
    ) -> list[np.ndarray]:
        """`frequency.losses.show`, with a progress bar; `saved` is not used for a user's own model."""
        classifier, images = self.classifier, self.images
        if classifier.loaded is None:
            assert classifier.own is not None
            filtered = Filtered(classifier.own, filters, batch_size=self.config.batch_size, on_host=True)
        else:
            at = place(classifier.top_k, classifier.loaded.network)
            filtered = Filtered(classifier.loaded.network, filters, at=at, batch_size=self.config.batch_size)
        with tqdm(total=sum(map(len, lists)), unit="image", unit_scale=True, smoothing=0.05) as progress:
            return show(
                filtered,
                images.inputs,
                images.labels,
                lists,
                result=result,
                saved=saved if self.facts is not None else None,
                progress=progress.update,
                describe=lambda index: images.names[index],
            )

    def entries(self) -> dict[str, Any]:
        """What every row says of the network and the images."""
        own = self.classifier.entries()
        return {"data": self.images.source, **own, "images": self.images.fingerprint()}


def measured(config: FilteredConfig) -> Measured:
    """The network and the images of `config`.

    A user's own model takes images in [0, 1], so that is where they are filtered.

    Raises:
        InputError: bad model, weights, data or images.
    """
    classifier = build_classifier(config, config.fraction)
    preprocessing = classifier.preprocessing
    if classifier.loaded is None:
        preprocessing = Preprocessing((0.0,) * 3, (1.0,) * 3, resize=preprocessing.resize, crop=preprocessing.crop)
        print(f"{classifier.name} takes images in [0, 1]; they are filtered there, not as it normalizes them")
    images = read_images(open_for(classifier, config.data), config, preprocessing, batch_size=32)
    return Measured(classifier, images, config)


@contextlib.contextmanager
def claimed(results: Results, facts: Mapping[str, Any] | None) -> Iterator[None]:
    """Measure inside the block: the folder then holds results of one network, one set of images, one way to measure.

    Raises:
        InputError: it holds others; the message says in what they differ.
    """
    path = results.folder / PROVENANCE
    earlier = output.read_json(path) if path.is_file() else None
    mine: dict[str, Any] = {"job": results.job, "facts": None if facts is None else dict(facts)}
    if earlier is not None and earlier != json.loads(json.dumps(mine)):
        before, now = earlier.get("facts") or {}, mine["facts"] or {}
        differ = [name for name in now | before if now.get(name) != before.get(name)]
        what = "of another job" if earlier.get("job") != results.job else f"with another {', '.join(differ)}"
        raise InputError(f"{results.folder} holds results {what}; give another folder with --out, or delete this one")
    output.write_json(path, mine)
    try:
        yield
    except InputError:
        if earlier is None:
            path.unlink(missing_ok=True)
        raise
