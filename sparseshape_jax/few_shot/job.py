"""The job behind `train.py few-shot`: train, measure and draw at every evaluation, save; resume where a run stopped."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparseshape_jax import output
from sparseshape_jax.errors import InputError
from sparseshape_jax.few_shot import generator_files
from sparseshape_jax.few_shot.config import MAY_CHANGE, TrainFewShotConfig
from sparseshape_jax.few_shot.dry_run import describe
from sparseshape_jax.few_shot.task import FewShotTask
from sparseshape_jax.figures import few_shot_curves
from sparseshape_jax.results import Results, fingerprint
from sparseshape_jax.top_k.placement import merge_placement
from sparseshape_jax.training import loop
from sparseshape_jax.training.log import Row, read_rows


def run(config: TrainFewShotConfig) -> list[Row]:
    """Train as `config` says, in `config.out`; returns the rows of metrics.jsonl (none in processes other than 0).

    All rows hold `kind`, `epoch` (an epoch is the iterations between two evaluations) and `step`. Rows of training are
    means over `log_every` iterations: `hinge_real`, `hinge_fake`, `generator` (their losses), `lpips_big`,
    `lpips_small`, `lpips_part` (each with its weight), `logit_real`, `logit_fake`, `change`, `images_per_second`. Rows
    of kind "eval" hold the distances under their names, such as `fid` or `vgg16-fid@64`, and what decides them; the
    first is of the untrained generator. Rows of kind "rollback" hold `to_step`.

    Raises:
        InputError: bad settings, pictures, weights or output folder; a loss that is not finite.
        KeyboardInterrupt: stopped by a signal, after the state was saved.
    """
    with loop.processes(config.distributed):
        loop.check_settings(Path(config.out), config, MAY_CHANGE)
        task = FewShotTask(config)
        if config.dry_run:
            describe(task)
            return []
        check_distance(Path(config.out), task.evaluator.names[0])
        rows = loop.run(
            task,
            config,
            out=config.out,
            epochs=config.iterations // config.evaluation.every,
            steps_per_epoch=config.evaluation.every,
            batch_size=config.batch_size,
            shown={"hinge_real": "real", "hinge_fake": "fake", "generator": "G", "lpips_big": "LPIPS"},
            save_every=config.checkpoint_every,
            log_every=config.log_every,
            tensorboard=config.tensorboard,
            may_change=MAY_CHANGE,
        )
        if rows:
            write_results(task, rows)
            print(f"\n{table(rows, task.evaluator.names)}")
            if task.source.skipped:
                print(f"{len(task.source.skipped)} pictures were left out: {'; '.join(task.source.skipped)}")
            print(f"\ngenerators (last and best), samples, reconstructions, metrics and curves are in {config.out}")
        return rows


def check_distance(out: Path, name: str) -> None:
    """Raise `InputError` if the run in `out` was measured by another distance, with which the best cannot compare."""
    for row in read_rows(out / "metrics.jsonl"):
        if row["kind"] == "eval" and name not in row:
            before = next((key for key in row if "fid" in key), "another distance")
            raise InputError(
                f"{out} was measured by {before}, and now it would be {name}: the weights of Inception have come or"
                " gone; give --evaluation.features as it was, or another --out"
            )


def write_results(task: FewShotTask, rows: Sequence[Row]) -> None:
    """Write results.json, summary.csv, the curves and a page of samples of the best generator, from metrics.jsonl."""
    config = task.config
    top_k = [spec.to_config() for spec in merge_placement(task.at)]
    provenance: dict[str, Any] = {
        "settings": loop.remove_settings(output.plain(config), MAY_CHANGE),
        "pictures": task.source.facts(),
        "features": task.evaluator.network.sha256,
    }
    results = Results(config.out, "train few-shot", config, identity=("step",), one_run=True)
    for row in rows:
        if row["kind"] == "eval":
            kept = {name: value for name, value in row.items() if name != "kind"}
            results.add(kept | {"top_k": top_k}, fingerprint(provenance | {"step": row["step"]}))
    figures = few_shot_curves.draw(results.figures / "curves", rows, task.evaluator.names[0])
    best = generator_files.open_weights(config.out)
    samples = results.figures / "samples.png"
    output.write_image(samples, task.samples(best.weights()))
    results.finish([*figures, samples], skipped=task.source.skipped)


def table(rows: Sequence[Row], names: Sequence[str]) -> str:
    """The final table: each distance of the untrained, the last and the best generator."""
    measured = [row for row in rows if row["kind"] == "eval"]
    best = min(measured[1:], key=lambda row: row[names[0]])
    lines = [f"{'generator':<12} {'iteration':>9}" + "".join(f" {name:>15}" for name in names if name in best)]
    for title, row in (("untrained", measured[0]), ("last", measured[-1]), ("best", best)):
        values = "".join(f" {row[name]:15.4g}" for name in names if name in row)
        lines.append(f"{title:<12} {row['step']:9}{values}")
    returns = sum(row["kind"] == "rollback" for row in rows)
    lines.append(f"protocol {best['protocol']}, {best['n_fake']} generated and {best['n_real']} real pictures;")
    lines.append(f"went back to the best {returns} times")
    return "\n".join(lines)
