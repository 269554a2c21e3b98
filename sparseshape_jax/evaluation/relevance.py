"""The job behind `evaluate.py relevance`: where the evidence lies, and whether it lies on edges.

Source: Büttner's thesis (2020), which compares a ResNet-50 with its twin for Stylized ImageNet. We depart from its
notebooks in that edges, boxes and relevance are all in the pixels that the network sees, that flat is used at the first
layer as it was meant to be, that normalizations are folded and lose nothing, and that overlap is compared with chance.
"""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from tqdm import tqdm

from sparseshape_jax import output
from sparseshape_jax.data.boxes import Annotation, Box, box_mask, read_boxes, to_crop
from sparseshape_jax.data.images import LabeledImages
from sparseshape_jax.data.sample import sample_classes
from sparseshape_jax.errors import InputError
from sparseshape_jax.evaluation.classifiers import Classifier, build_classifiers, open_for
from sparseshape_jax.evaluation.decoded import Decoded
from sparseshape_jax.evaluation.explained import Maps, explain_with
from sparseshape_jax.evaluation.local_global_config import RelevanceConfig
from sparseshape_jax.evaluation.observer_names import observer_name
from sparseshape_jax.evaluation.overlap import overlap, regions
from sparseshape_jax.evaluation.relevance_analysis import Observers, compare, ledger, print_table
from sparseshape_jax.figures import relevance as figures
from sparseshape_jax.results import Results, Row, fingerprint, read_results
from sparseshape_jax.stimuli.edges import edges_of, require_opencv, thresholds, to_gray

JOB = "evaluate relevance"


class Shown:
    """An image as the network sees it, and what is known of it."""

    def __init__(
        self,
        images: LabeledImages,
        index: int,
        pixels: UInt8[np.ndarray, "h w 3"],
        config: RelevanceConfig,
        annotation: Annotation | None,
        preprocessing: Any,
    ) -> None:
        self.name, self.label, self.pixels = images.key(index), int(images.labels[index]), pixels
        self.boxes: tuple[Box, ...] = ()
        if annotation is not None:
            self.boxes = tuple(
                to_crop(box, annotation.width, annotation.height, preprocessing) for box in annotation.boxes
            )
        self.area = box_mask(self.boxes, len(pixels)) if self.boxes else None
        self.config = config

    @cached_property
    def facts(self) -> list[Any]:
        """What decides its row, apart from the observer."""
        return [self.name, hashlib.sha256(self.pixels.tobytes()).hexdigest(), self.label, self.boxes]

    @cached_property
    def gray(self) -> UInt8[np.ndarray, "h w"]:
        """What edges are looked for in."""
        return to_gray(self.pixels, denoise=self.config.edges.denoise)

    @cached_property
    def edges(self) -> Bool[np.ndarray, "h w"] | None:
        """True on its edges; None if they are not asked for."""
        return edges_of(self.gray, self.config.edges.sigma) if self.config.with_edges else None

    def file(self, folder: Path, observer: str, ending: str) -> Path:
        """Where an observer's map is."""
        return folder / "maps" / observer / f"{self.name}{ending}"


def run(config: RelevanceConfig) -> list[Row]:
    """Explain, write maps, tables and figures to `config.out`, print the table, and return this run's rows.

    There is one row per observer and image: observer, picture, class (the true one), explained, logit, map, what
    `overlap` returns (with boxes also with `whole_` in front, without regard to the boxes), and accounts.

    Raises:
        InputError: bad data, model, weights, boxes, rules or output folder, edges without OpenCV, or another job's or
            other images' results under `beside`. Nothing is written then.
    """
    if config.with_edges:
        require_opencv()
    annotations = read_boxes(config.boxes) if config.boxes is not None else {}
    classifiers = build_classifiers(config)
    preprocessing = classifiers[0].preprocessing
    explainers = [explain_with(config, classifier) for classifier in classifiers]
    if config.explain.isdecimal() and int(config.explain) >= classifiers[0].num_classes:
        raise InputError(f"there is no class {config.explain}; {classifiers[0].name} has {classifiers[0].num_classes}")
    every = open_for(classifiers[0], config.data)
    images = sample_classes(every, config.per_class, config.seed, count=config.count)
    decoded = Decoded(images, preprocessing, config.batch_size, skip_bad=config.skip_bad)
    pixels = decoded.pixels
    shown = [
        Shown(images, index, one, config, annotations.get(PurePosixPath(images.key(index)).stem), preprocessing)
        for index, one in zip(decoded.shown, pixels, strict=True)
    ]
    if annotations and not any(one.boxes for one in shown):
        raise InputError(
            f"{config.boxes} has no box of any image in {config.data}; boxes are found by the image's name"
        )
    beside = [found for folder in config.beside for found in _read_beside(Path(folder), shown)]
    results = Results(config.out, JOB, config, identity=("observer", "picture"))
    names = [observer_name(classifier) for classifier in classifiers]
    with tqdm(total=len(shown) * len(classifiers), unit="image", smoothing=0.1) as progress:
        for name, classifier, explain in zip(names, classifiers, explainers, strict=True):
            prints = [_fingerprint(config, classifier, one) for one in shown]
            missing = [
                index
                for index, one in enumerate(shown)
                if results.done(prints[index]) is None or not one.file(results.folder, name, ".npy").is_file()
            ]
            progress.update(len(shown) - len(missing))
            for start in range(0, len(missing), config.batch_size):
                chosen = missing[start : start + config.batch_size]
                batch = [shown[index] for index in chosen]
                explained, logits, found = _explain(config, classifier, explain, batch)
                added = []
                for position, (one, index) in enumerate(zip(batch, chosen, strict=True)):
                    _write_map(results.folder, name, one, found.maps[position])
                    entries = {"observer": name, "picture": one.name, "class": one.label}
                    entries |= {"explained": int(explained[position]), "logit": float(logits[position])}
                    entries |= _entries(found, position, one, results.folder, name)
                    added.append(({**entries, **classifier.entries()}, prints[index]))
                results.add_all(added)
                progress.update(len(batch))
    observers: dict[str, tuple[Path, Sequence[Row]]] = {
        name: (results.folder, _in_order(results.rows, name, shown)) for name in names
    }
    observers |= {name: found for name, found in beside if name not in observers}
    drawn = _conclude(results, config, shown, observers)
    rows = results.finish(drawn, skipped=decoded.skipped)
    print_table(config, observers)
    return rows


def _fingerprint(config: RelevanceConfig, classifier: Classifier, one: Shown) -> str | None:
    provenance = classifier.provenance(config.compute_dtype)
    if provenance is None:
        return None
    settings = ("method", "composite", "explain", "steps", "baseline", "noise", "with_edges", "edges", "seed")
    facts = output.plain(config)
    return fingerprint({**provenance, "image": one.facts, **{name: facts[name] for name in settings}})


def _explain(
    config: RelevanceConfig, classifier: Classifier, explain: Any, batch: Sequence[Shown]
) -> tuple[np.ndarray, np.ndarray, Maps]:
    """The class that is explained of each image, its logit, and its relevance, in a batch filled up to full size."""
    pixels = np.zeros((config.batch_size, *batch[0].pixels.shape), np.uint8)
    for row, one in enumerate(batch):
        pixels[row] = one.pixels
    logits = classifier.logits(pixels)
    if not np.isfinite(logits[: len(batch)]).all():
        raise InputError(f"{classifier.name} returned logits that are not finite numbers")
    if config.explain == "predicted":
        classes = logits.argmax(axis=1)
    elif config.explain == "true":
        classes = np.array([one.label for one in batch] + [0] * (len(pixels) - len(batch)))
    else:
        classes = np.full(len(pixels), int(config.explain))
    found = explain(pixels, classes)
    return classes, logits[np.arange(len(logits)), classes], found


def _entries(found: Maps, row: int, one: Shown, folder: Path, observer: str) -> dict[str, Any]:
    relevance = found.maps[row]
    entries: dict[str, Any] = {
        "map": one.file(folder, observer, ".npy").relative_to(folder).as_posix(),
        "pixels": one.facts[1],
        "sum": float(relevance.sum(dtype=np.float64)),
        "gap": None if found.gap is None else float(found.gap[row]),
    }
    if one.edges is not None:
        entries |= overlap(relevance, one.edges, one.area)
        if one.area is not None:
            entries |= {f"whole_{name}": value for name, value in overlap(relevance, one.edges).items()}
    else:
        high, low = regions(relevance)
        entries |= {"positive": int(high.sum()), "negative": int(low.sum())}
    if found.accounts is not None:
        entries["accounts"] = {name: account[row].tolist() for name, account in found.accounts.items()}
    return entries


def _write_map(folder: Path, observer: str, one: Shown, relevance: Float[np.ndarray, "h w"]) -> None:
    with output.replacing(one.file(folder, observer, ".png")) as temporary:
        Image.fromarray(figures.colored(relevance, one.edges)).save(temporary)
    with output.replacing(one.file(folder, observer, ".npy")) as temporary:
        np.save(temporary, relevance.astype(np.float32))


def _in_order(rows: Sequence[Row], observer: str, shown: Sequence[Shown]) -> list[Row]:
    found = {row["picture"]: row for row in rows if row.get("observer") == observer}
    return [found[one.name] for one in shown]


def _read_beside(folder: Path, shown: Sequence[Shown]) -> list[tuple[str, tuple[Path, list[Row]]]]:
    """The observers of an earlier run, each with its folder and its rows."""
    stored = read_results(folder)
    if stored.get("job") != JOB:
        raise InputError(f"{folder} does not hold results of {JOB}; give another folder with --beside")
    found = []
    for observer in dict.fromkeys(row["observer"] for row in stored["rows"]):
        own = {row["picture"]: row.get("pixels") for row in stored["rows"] if row["observer"] == observer}
        if any(own.get(one.name) != one.facts[1] for one in shown):
            raise InputError(
                f"{observer} in {folder} has explained other images; give a run on the same ones with --beside"
            )
        found.append((observer, (folder, _in_order(stored["rows"], observer, shown))))
    return found


def _conclude(results: Results, config: RelevanceConfig, shown: Sequence[Shown], observers: Observers) -> list[Path]:
    """Write tables and figures; returns the figures."""
    packed: dict[str, Any] = {}
    means: dict[str, dict[str, np.ndarray]] = {}
    for name, (folder, rows) in observers.items():
        for one, row in zip(shown, rows, strict=True):
            high, low = regions(np.load(folder / row["map"]))
            packed[f"{name}/{one.name}/positive"], packed[f"{name}/{one.name}/negative"] = map(np.packbits, (high, low))
            kinds = {"positive": high, "negative": low}
            if one.edges is not None:
                kinds |= {"edges": one.edges, "positive on edges": high & one.edges}
            own = means.setdefault(name, {})
            for kind, mask in kinds.items():
                own[kind] = own.get(kind, 0) + mask / len(shown)
    with output.replacing(results.folder / "regions.npz") as temporary:
        np.savez_compressed(temporary, **packed)
    if config.with_edges:
        _write_edges(results.folder / "edges.csv", shown, config)
    tested = compare({name: rows for name, (_, rows) in observers.items()})
    output.write_csv(results.folder / "tests.csv", list(dict.fromkeys(key for row in tested for key in row)), tested)
    accounts = ledger(observers)
    if accounts:
        output.write_csv(results.folder / "ledger.csv", list(accounts[0]), accounts)
    sheet = [
        (
            one.name,
            one.pixels,
            one.edges,
            one.boxes,
            {name: np.load(folder / rows[index]["map"]) for name, (folder, rows) in observers.items()},
        )
        for index, one in enumerate(shown[: figures.DRAWN])
    ]
    return figures.draw(results.figures, sheet, {name: rows for name, (_, rows) in observers.items()}, means)


def _write_edges(path: Path, shown: Sequence[Shown], config: RelevanceConfig) -> None:
    lines = []
    for one in shown:
        assert one.edges is not None
        median, low, high = thresholds(one.gray, config.edges.sigma)
        line = {"picture": one.name, "edges": int(one.edges.sum()), "median": median, "low": low, "high": high}
        line["edges_in_box"] = "" if one.area is None else int((one.edges & one.area).sum())
        lines.append(line | {"boxes": json.dumps(one.boxes) if one.boxes else ""})
    output.write_csv(path, list(lines[0]), lines)
