"""The job behind `evaluate.py reproduce`: run the sections one after the other, and show all on one page.

Each section is a process of its own. Its memory and compiled programs are given back when it ends; one that crashes, or
is killed for want of memory, takes no other with it; and what runs is the very command that the page shows. This
process computes nothing, so that it holds no accelerator.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sparseshape_jax import output
from sparseshape_jax.errors import Incomplete, InputError
from sparseshape_jax.jobs.reproduce.config import ReproduceConfig
from sparseshape_jax.jobs.reproduce.plan import Planned, plan
from sparseshape_jax.jobs.reproduce.process import run_process
from sparseshape_jax.report import job as report
from sparseshape_jax.report.config import ReportConfig
from sparseshape_jax.report.outcomes import Outcome, read_outcomes, read_preset, write_outcomes
from sparseshape_jax.results import RESULTS, fingerprint

TITLES = {
    "cpu": "Shape bias and activation sparsity, on a small scale",
    "accelerator": "Shape bias and activation sparsity",
}


def run(config: ReproduceConfig) -> None:
    """Run the sections, print a line for each, and write `report/report.html` in `config.out`.

    A section that is done is not started again, unless its command or the software changed, or a section whose results
    it needs was started. One that was interrupted or failed is started again, and its job resumes.

    Raises:
        InputError: no section can run, unknown sections, or an output folder that cannot be written to or has the
            sections of another preset.
        Incomplete: some sections failed; the page says why.
    """
    config.check_folders()
    if (preset := read_preset(Path(config.out))) not in (None, config.preset):
        raise InputError(f"{config.out} has sections of preset {preset}; give another folder with --out")
    every = plan(config)
    planned = [one for one in every if one.asked]
    if all(one.lacks for one in planned):
        raise InputError(f"no section can run; {planned[0].section.name} {planned[0].lacks}")
    if config.dry_run:
        for one in planned:
            print(f"{one.section.name}: {one.lacks or f'about {_time(one.section.minutes)}'}")
            if one.command:
                print(f"    {one.command}")
        print(_estimate(config, planned, left := [one for one in planned if not one.lacks], len(left)))
        return
    folder = output.prepare_folder(config.out)
    output.write_config(folder / "config.yaml", config)
    progress = _Progress(folder, config.preset, every)
    left = [one for one in planned if not (one.lacks or progress.is_done(one))]
    print(_estimate(config, planned, left, sum(not one.lacks for one in planned)))
    for number, one in enumerate(planned, start=1):
        print(f"[{number:{len(str(len(planned)))}d}/{len(planned)}] {one.section.name}: ", end="", flush=True)
        print(progress.settle(one), flush=True)
    report.run(ReportConfig(runs=(config.out,), title=TITLES[config.preset], out=str(folder / "report")))
    bad = [one.section.name for one in planned if progress.of(one).status in ("failed", "incomplete")]
    if bad:
        raise Incomplete(f"{len(bad)} of {len(planned)} sections failed: {', '.join(bad)}; the page says why")


class _Progress:
    """What became of each section, written down as sections start and end."""

    def __init__(self, folder: Path, preset: str, planned: Sequence[Planned]) -> None:
        self.folder, self.preset = folder, preset
        self._started: set[str] = set()
        earlier = read_outcomes(folder)
        self._outcomes: dict[str, Outcome] = {}
        for one in planned:
            name, section = one.section.name, one.section
            new = Outcome(name, section.title, section.source, section.job, one.command, fingerprint=_print_of(one))
            before = earlier.pop(name, new)
            # Of a section whose data are not given this time, what is there stays.
            keep = before.fingerprint == new.fingerprint or (one.lacks and before.status == "done")
            self._outcomes[name] = _now_called(before, new) if keep or not one.asked else new
        self._outcomes |= earlier

    def of(self, one: Planned) -> Outcome:
        """What became of a section so far."""
        return self._outcomes[one.section.name]

    def is_done(self, one: Planned) -> bool:
        """Whether a section need not be started again."""
        again = self._started.intersection(one.section.sections)
        return self.of(one).status == "done" and self._has_results(one.section.name) and not again

    def settle(self, one: Planned) -> str:
        """Run a section, or find out why not; the rest of its line."""
        if self.is_done(one):
            return "done before"
        needed = next((name for name in one.section.sections if not self._has_results(name)), None)
        if one.lacks or needed:
            why = one.lacks or f"needs the results of {needed}"
            self._enter(replace(self.of(one), status="skipped", why=why))
            return f"skipped, {why}"
        self._started.add(one.section.name)
        self._enter(replace(self.of(one), status="not started", why="it was interrupted", log="", seconds=0.0))
        print(f"{one.section.title}, about {_time(one.section.minutes)} … ", end="", flush=True)
        log = self.folder / "logs" / f"{one.section.name.replace('/', '.')}.log"
        status, why, lines, seconds = run_process(one.arguments, one.command, log)
        self._enter(replace(self.of(one), status=status, why=why, log=lines, seconds=round(seconds, 1)))
        return f"{status} in {_time(seconds / 60)}" + (f": {why}; see {log}" if why else "")

    def _has_results(self, name: str) -> bool:
        found = self._outcomes.get(name)
        done = found is not None and found.status in ("done", "incomplete")
        return done and (self.folder / name / RESULTS).is_file()

    def _enter(self, outcome: Outcome) -> None:
        self._outcomes[outcome.name] = outcome
        write_outcomes(self.folder, self.preset, self._outcomes.values())


def _now_called(before: Outcome, new: Outcome) -> Outcome:
    """What became of a section earlier, under its present title."""
    command = new.command or before.command
    return replace(before, title=new.title, source=new.source, job=new.job, command=command)


def _print_of(one: Planned) -> str:
    return fingerprint(list(one.arguments))


def _estimate(config: ReproduceConfig, planned: Sequence[Planned], left: Sequence[Planned], runnable: int) -> str:
    minutes = sum(one.section.minutes for one in left)
    done = f", {runnable - len(left)} are done" if runnable > len(left) else ""
    skipped = f", {len(planned) - runnable} lack data or a package" if runnable < len(planned) else ""
    machine = "two idle cores" if config.preset == "cpu" else "one GPU, which is a guess"
    return f"{len(planned)} sections{done}{skipped}; about {_time(minutes)} on {machine}"


def _time(minutes: float) -> str:
    if minutes < 1:
        return f"{round(60 * minutes)} s"
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.0f} h"
