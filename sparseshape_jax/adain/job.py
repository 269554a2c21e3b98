"""The job behind `train.py adain`: train a decoder, restyle a sheet after every epoch, save; resume where it stopped.

Source: Huang & Belongie (2017), section 6, and the repository pytorch-AdaIN. Departures: the decoder starts as an
auto-encoder; features are divided by one scale for each layer; crops may be drawn once, and what the encoder makes of
them kept; every choice depends on the seed and the step, so that a run that was stopped ends with the same bits.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparseshape_jax import output
from sparseshape_jax.adain.config import MAY_CHANGE, TrainAdaINConfig
from sparseshape_jax.adain.task import AdaINTask
from sparseshape_jax.figures import decoder_curves
from sparseshape_jax.results import Results, fingerprint
from sparseshape_jax.stylize.decoder_files import DECODER
from sparseshape_jax.training import loop
from sparseshape_jax.training.log import Row


def run(config: TrainAdaINConfig) -> list[Row]:
    """Train as `config` says, in `config.out`; returns the rows of metrics.jsonl.

    Rows of training hold `kind` "train", `epoch`, `step`, `phase` ("pixels" or "styles"), `loss`, the means of its
    terms over the epoch (`pixels`, `content`, `style`), `learning_rate`, `images_per_second`. Rows of the sheet hold
    `kind` "eval", `set` "sheet", and the same terms at α 1.

    Raises:
        InputError: bad settings, pictures, weights or output folder; a loss that is not finite.
        KeyboardInterrupt: stopped by a signal, after the state was saved.
    """
    loop.check_settings(Path(config.out), config, MAY_CHANGE)
    task = AdaINTask(config)
    rows = loop.run(
        task,
        config,
        out=config.out,
        epochs=config.epochs,
        steps_per_epoch=config.epoch,
        batch_size=config.batch_size,
        shown={"loss": "loss"},
        save_every=config.checkpoint_every,
        tensorboard=config.tensorboard,
        may_change=MAY_CHANGE,
    )
    write_results(task, rows)
    print(f"{Path(config.out) / DECODER}: use it with  synthesize.py stylize … --weights {config.out}")
    print(f"sheets, metrics, results and curves are in {config.out}")
    return rows


def write_results(task: AdaINTask, rows: Sequence[Row]) -> None:
    """Write results.json, summary.csv and the curves, from the rows of metrics.jsonl; a row is an epoch's sheet.

    The last sheet is one of the figures.
    """
    config = task.config
    provenance: dict[str, Any] = {
        "settings": loop.remove_settings(output.plain(config), MAY_CHANGE),
        "content": task.contents.images.signature(),
        "style": task.styles.images.signature(),
        "encoder": task.loaded.sha256,
    }
    results = Results(config.out, "train adain", config, identity=("step",), one_run=True)
    for row in rows:
        if row["kind"] == "eval":
            kept = {name: row[name] for name in ("set", "epoch", "step", "content", "style", "pixels")}
            results.add(kept, fingerprint(provenance | {"step": row["step"]}))
    sheets = sorted((results.folder / "sheets").glob("step-*.png"))
    results.finish([*decoder_curves.draw(results.figures / "curves", rows), *sheets[-1:]])
