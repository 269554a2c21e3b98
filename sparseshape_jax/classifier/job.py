"""The job behind `train.py classifier`: train, evaluate after every epoch, save; resume where a run stopped.

Source: Li et al. (2023), section 4.3.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sparseshape_jax import output
from sparseshape_jax.classifier.config import MAY_CHANGE, TrainClassifierConfig
from sparseshape_jax.classifier.dry_run import describe
from sparseshape_jax.classifier.task import ClassifierTask
from sparseshape_jax.figures import learning_curves
from sparseshape_jax.results import Results, fingerprint
from sparseshape_jax.top_k.placement import merge_placement
from sparseshape_jax.training import loop
from sparseshape_jax.training.log import Row


def run(config: TrainClassifierConfig) -> list[Row]:
    """Train as `config` says, in `config.out`; returns the rows of metrics.jsonl (none in processes other than 0).

    Rows of training hold `kind` "train", `epoch`, `step`, `loss`, `accuracy`, `learning_rate`, `keep` (the keep
    fraction of each Top-K; [1] while there is none), `images_per_second`. Rows of evaluation hold `kind` "eval",
    `epoch`, `step`, `set`, `n`, `loss`, `top1`, `top5` (None up to five classes), and by class `per_class` (top-1) and
    `f1`. In the middle of an epoch, `epoch` is not a whole number.

    Raises:
        InputError: bad settings, data, weights or output folder; a loss that is not finite.
        KeyboardInterrupt: stopped by a signal, after the state was saved.
    """
    with loop.processes(config.distributed):
        task = ClassifierTask(config)
        if config.dry_run:
            describe(task)
            return []
        rows = loop.run(
            task,
            config,
            out=config.out,
            epochs=config.epochs,
            steps_per_epoch=task.steps_per_epoch,
            batch_size=config.batch_size,
            shown={"loss": "loss", "accuracy": "top-1"},
            save_every=config.checkpoint_every,
            measure=task.measure,
            measure_every=config.eval_steps,
            tensorboard=config.tensorboard,
            may_change=MAY_CHANGE,
        )
        if rows:
            write_results(task, rows)
            print(f"\n{table(rows)}")
            if bad := task.data.bad | task.bad:
                print(f"{len(bad)} images could not be decoded and were left out: {', '.join(bad)}")
            print(f"\nweights (last and best on val), metrics, results and curves are in {config.out}")
        return rows


def write_results(task: ClassifierTask, rows: Sequence[Row]) -> None:
    """Write results.json, summary.csv and the learning curves, from the rows of metrics.jsonl.

    A row is one evaluation: `set`, `epoch`, `n`, `loss`, `top1`, `top5`, `keep` (the fractions at that time) and
    `top_k`.
    """
    config = task.config
    provenance: dict[str, Any] = {
        "settings": loop.remove_settings(output.plain(config), MAY_CHANGE),
        "classes": task.classes,
        "images": {"train": task.data.data.signature()}
        | {name: images.signature() for name, images in task.sets.items()},
        "init_from": task.init_sha256,
    }
    results = Results(config.out, "train classifier", config, identity=("set", "epoch"), one_run=True)
    for row in rows:
        if row["kind"] == "eval":
            top_k = merge_placement(task.placement(task.progress(row["step"] - 1)))
            results.add(
                {name: row[name] for name in ("set", "epoch", "n", "loss", "top1", "top5")}
                | {"keep": [spec.fraction for spec in top_k] or [1], "top_k": [spec.to_config() for spec in top_k]},
                fingerprint(provenance | {"set": row["set"], "epoch": row["epoch"]}),
            )
    figures = learning_curves.draw(results.figures / "curves", rows)
    results.finish(figures, skipped=task.data.bad | task.bad, flat=_flat)


def _flat(row: Row) -> Mapping[str, Any]:
    """A row as a line of summary.csv: the keep fractions in one cell, without the Top-K's other settings."""
    line = {name: value for name, value in row.items() if name != "top_k"}
    return line | {"keep": " ".join(f"{fraction:g}" for fraction in row["keep"])}


def table(rows: Sequence[Row]) -> str:
    """The final table: for every evaluation set the last and the best top-1 after an epoch, with that epoch."""
    lines = [f"{'evaluated on':<20} {'images':>7} {'top-1':>7} {'top-5':>7}   best top-1 (epoch)"]
    for name in dict.fromkeys(row["set"] for row in rows if row["kind"] == "eval"):
        own = [row for row in rows if row.get("set") == name and row["epoch"] % 1 == 0]
        last, best = own[-1], max(own, key=lambda row: row["top1"])
        top5 = "-" if last["top5"] is None else f"{last['top5']:.3f}"
        lines.append(f"{name:<20} {last['n']:7} {last['top1']:7.3f} {top5:>7}   {best['top1']:.3f} ({best['epoch']:g})")
    return "\n".join(lines)
