"""From tasks to images: what is left to do, in batches that one program can serve.

What a task's result depends on is hashed into its fingerprint. A rerun skips results that have the same one and goes
on with an unfinished batch from its last saved state. Results of other runs in the same folder stay, with their rows.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sparseshape_jax import output
from sparseshape_jax.errors import InputError
from sparseshape_jax.synthesis import pictures
from sparseshape_jax.synthesis.job import Synthesis
from sparseshape_jax.synthesis.workshop import Task, Workshop


def synthesise(tasks: Sequence[Task], config: Synthesis, out: Path) -> list[dict[str, Any]]:
    """Make every task's image in `out` and return their rows of its `summary.json`.

    Each row: image, objective, fraction, keep, seed, file, `losses` (one per evaluation, in the reference's units),
    evaluations, iterations, seconds, status and fingerprint.

    Raises:
        InputError: bad settings, weights or output folder. Nothing is written then.
    """
    if any(task.steps < 1 for task in tasks):
        raise InputError(f"steps is {min(task.steps for task in tasks)}; it must be at least 1")
    workshop = Workshop(config)
    workshop.check(tasks)
    folder = output.prepare_folder(out)
    output.write_config(folder / "config.yaml", config)

    prints = {task.file: _fingerprint(task, workshop.facts) for task in tasks}
    rows = _earlier_rows(folder)
    remaining = [task for task in tasks if rows.get(task.file, {}).get("fingerprint") != prints[task.file]]
    with tqdm(total=sum(task.steps * task.octaves for task in tasks), unit="evaluation", smoothing=0.05) as progress:
        progress.update(sum(task.steps * task.octaves for task in tasks if task not in remaining))
        for batch in _batches(remaining, config.batch_size):
            progress.set_description(f"{batch[0].kind} of {', '.join(dict.fromkeys(task.name for task in batch))}")
            state_file = folder / f".state-{_hash([prints[task.file] for task in batch])[:16]}.npz"
            for task, row in zip(batch, workshop.make(batch, folder, state_file, progress), strict=True):
                rows[task.file] = row | {"fingerprint": prints[task.file]}
            output.write_json(folder / "summary.json", list(rows.values()))
            state_file.unlink(missing_ok=True)
    done = {task.file: rows[task.file] for task in tasks}
    output.write_json(folder / "summary.json", list((done | rows).values()))
    for leftover in folder.glob(".*state-*.npz"):  # of runs that were killed and that nobody went on with
        leftover.unlink(missing_ok=True)
    pictures.draw_losses(folder, list(done.values()))
    for row in done.values():
        if row["status"] not in ("budget", "converged"):
            print(f"{row['file']}: {row['status']} after {row['evaluations']} evaluations; the best point was kept")
    print(f"{len(done)} images, their losses and the settings are in {folder}")
    return list(done.values())


def _earlier_rows(folder: Path) -> dict[str, dict[str, Any]]:
    """The rows of the summary in `folder`, by file, as far as the files are there."""
    rows = output.read_json(folder / "summary.json") or []
    rows = [row for row in rows if isinstance(row, dict) and "file" in row]
    return {row["file"]: row for row in rows if (folder / row["file"]).is_file()}


def _batches(tasks: Sequence[Task], size: int) -> Iterator[list[Task]]:
    """Group tasks that one program can serve (what they keep may differ), in their order."""
    groups: dict[Any, list[Task]] = {}
    for task in tasks:
        spec, length = task.top_k, (task.steps, task.octaves)
        key = (task.target.shape, task.kind, spec.fraction, spec.scope, spec.method, length)
        groups.setdefault(key, []).append(task)
    for group in groups.values():
        for first in range(0, len(group), size):
            yield group[first : first + size]


def _fingerprint(task: Task, facts: dict[str, Any]) -> str:
    target = hashlib.sha256(task.target.tobytes()).hexdigest()
    versions = [version("sparseshape-jax"), version("jax")]
    spec, length = task.top_k.to_config(), (task.steps, task.octaves)
    return _hash([facts, target, task.target.shape, task.kind, spec, task.seed, length, versions])


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
