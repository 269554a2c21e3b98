"""What a result folder holds, for every job, and what a rerun need not do again.

    config.yaml    the settings; `--config` reads them back
    results.json   {"job", "software", "hardware", "settings", "rows", "figures", "skipped"}
    summary.csv    the rows as a table
    figures/       PNG and PDF

A row is one measurement or one image. Each has the fingerprint of its provenance: of all facts that decide it. A rerun
in the same folder skips rows that it would make again, and keeps the rows of other runs. Every row with a Top-K carries
it whole, as `top_k`, a list with one entry for each setting (none if the network is dense).
"""

import hashlib
import json
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sparseshape_jax import output
from sparseshape_jax.parallel import hardware

Row = dict[str, Any]

RESULTS = "results.json"
FIGURES = "figures"
FINGERPRINT = "fingerprint"

COMPUTING = ("sparseshape-jax", "jax", "flax")
"""The packages whose code computes activations."""
PACKAGES = ("sparseshape-jax", "jax", "jaxlib", "flax", "optax", "numpy")


def software() -> dict[str, str]:
    """The versions that results are recorded with: Python's and those of `PACKAGES`."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a source tree that was never installed
            found[package] = "unknown"
    return found


def fingerprint(provenance: Any, *, versions_of: Sequence[str] = COMPUTING) -> str:
    """The SHA-256, in hex, of plain nested values: the facts that decide a row.

    The versions of the packages whose code computes the row belong to them, and are added here.
    """
    versions = {name: found for name, found in software().items() if name in versions_of}
    return hashlib.sha256(json.dumps([provenance, versions], sort_keys=True).encode()).hexdigest()


class Results:
    """The result folder of one job. Nothing is written before the first row but an empty folder.

    Args:
        out: the folder.
        job: what the job is called on the command line, such as "evaluate shape-bias".
        config: its settings.
        identity: names of entries; a new row replaces an earlier one with the same values there.
        one_run: the folder holds one run, so rows of an earlier one do not stay.

    Raises:
        InputError: the folder cannot be written to.
    """

    def __init__(
        self, out: str | Path, job: str, config: Any, *, identity: Sequence[str], one_run: bool = False
    ) -> None:
        self.folder = output.prepare_folder(out)
        self.job, self.config, self.identity = job, config, tuple(identity)
        if one_run:
            (self.folder / RESULTS).unlink(missing_ok=True)
        earlier = read_results(self.folder)
        self._rows = {self._key(row): row for row in earlier["rows"]}
        self._figures: list[str] = earlier["figures"]
        self._skipped: list[str] = []
        self._asked: dict[tuple[str, ...], None] = {}

    @property
    def figures(self) -> Path:
        """Where figures go."""
        return self.folder / FIGURES

    def done(self, found: str | None) -> Row | None:
        """The row with this fingerprint, if there is one; it counts as one of this run's."""
        for key, row in self._rows.items():
            if found is not None and row.get(FINGERPRINT) == found:
                self._ask(key)
                return row
        return None

    @property
    def rows(self) -> list[Row]:
        """All rows in the folder, those of earlier runs too."""
        return list(self._rows.values())

    @property
    def asked(self) -> list[Row]:
        """This run's rows so far, in the order in which they were last found done or added."""
        return [self._rows[key] for key in self._asked]

    def add(self, row: Mapping[str, Any], found: str | None) -> Row:
        """Enter a row with its fingerprint (None if nothing can be said of what decides it), and save all rows."""
        return self.add_all([(row, found)])[0]

    def add_all(self, rows: Iterable[tuple[Mapping[str, Any], str | None]]) -> list[Row]:
        """Enter rows that were made together, each with its fingerprint: a killed run has saved all of them or none."""
        complete = [{**row, FINGERPRINT: found} for row, found in rows]
        for row in complete:
            self._rows[self._key(row)] = row
            self._ask(self._key(row))
        self._write()
        return complete

    def forget(self, row: Mapping[str, Any]) -> None:
        """Leave out a row from now on, for example because its image was deleted."""
        self._rows.pop(self._key(row), None)
        self._asked.pop(self._key(row), None)

    def state_file(self, *found: str | None) -> Path:
        """Where a run saves how far it is with the rows of these fingerprints; whoever completes them deletes it."""
        return self.folder / f".state-{fingerprint(found)[:16]}.npz"

    def finish(
        self,
        figures: Iterable[Path] = (),
        *,
        skipped: Iterable[str] = (),
        flat: Callable[[Row], Mapping[str, Any]] | None = None,
    ) -> list[Row]:
        """Close the run: this run's rows first, in the order in which they were asked for, then those of others.

        Args:
            figures: files in the folder; those that earlier runs drew and this one did not are deleted.
            skipped: what was left out, and why.
            flat: from a row to a line of summary.csv; by default its entries that are single values.

        Returns this run's rows.
        """
        drawn = [path.relative_to(self.folder).as_posix() for path in figures]
        for stale in set(self._figures) - set(drawn):
            # The list is read from a file that may come from anywhere.
            if (self.folder / stale).resolve().is_relative_to(self.folder.resolve()):
                (self.folder / stale).unlink(missing_ok=True)
        self._figures, self._skipped = drawn, list(skipped)
        others = {key: row for key, row in self._rows.items() if key not in self._asked}
        self._rows = {key: self._rows[key] for key in self._asked} | others
        self._write()
        lines = [(flat or single_values)(row) for row in self._rows.values()]
        columns = dict.fromkeys(name for line in lines for name in line if name != FINGERPRINT)
        output.write_csv(self.folder / "summary.csv", list(columns), lines)
        return self.asked

    def _ask(self, key: tuple[str, ...]) -> None:
        self._asked.pop(key, None)  # asked for again, it is the last one
        self._asked[key] = None

    def _key(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(json.dumps(row.get(name), sort_keys=True) for name in self.identity)

    def _write(self) -> None:
        output.write_config(self.folder / "config.yaml", self.config)
        output.write_json(
            self.folder / RESULTS,
            {
                "job": self.job,
                "software": software(),
                "hardware": hardware(),
                "settings": output.plain(self.config),
                "rows": list(self._rows.values()),
                "figures": self._figures,
                "skipped": self._skipped,
            },
        )


def read_results(folder: Path) -> dict[str, Any]:
    """The content of a folder's results.json, with empty entries where it is missing or damaged."""
    found = output.read_json(folder / RESULTS)
    found = found if isinstance(found, dict) else {}
    rows, figures = found.get("rows"), found.get("figures")
    return {
        **found,
        "rows": [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else [],
        "figures": [name for name in figures if isinstance(name, str)] if isinstance(figures, list) else [],
    }


def single_values(row: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a row that are numbers, words or nothing; NaN is nothing, as in results.json."""
    single = {name: value for name, value in row.items() if not isinstance(value, list | tuple | Mapping)}
    return {name: None if value != value else value for name, value in single.items()}
