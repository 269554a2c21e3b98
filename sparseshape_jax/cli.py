"""The scripts' command line: jobs as subcommands, settings as flags or YAML, and bad input answered in one line.

Every job is a frozen dataclass of settings and a function that takes it. The function's module is imported only when
the job runs, so that `--help` answers at once.
"""

import contextlib
import difflib
import json
import os
import re
import sys
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentParser, DefaultHelpFormatter, set_parsing_settings

from sparseshape_jax import presets
from sparseshape_jax.cache import keep_programs
from sparseshape_jax.errors import Incomplete, InputError
from sparseshape_jax.memory import keep_freed_memory

set_parsing_settings(docstring_parse_attribute_docstrings=True)


@dataclass(frozen=True)
class Job:
    """One subcommand."""

    settings: type
    """A frozen dataclass; its docstring and those of its fields are the help text.

    A field is a flag. Without a default it is a positional argument, unless it is keyword-only: then it is a flag that
    must be given.
    """
    function: str
    """module:function, called with the settings."""
    examples: str = ""
    """Arguments that teach, one command a line; the help shows them after the name of the job."""


Jobs = Mapping[str, "Job | Jobs"]
"""Jobs by the names of their subcommands. A mapping in place of a job is a group: `evaluate.py frequency adcs`."""


def main(description: str, jobs: Jobs, arguments: Sequence[str] | None = None, *, program: str | None = None) -> int:
    """Parse the command line, run the job, and return the exit status.

    Args:
        description: shown by `--help`.
        jobs: the subcommands.
        arguments: in place of the command line.
        program: what the user types, if it is not the name of the script.

    Returns:
        0; 1 if some of the inputs failed; 2 for bad input, after one line on stderr; 130 for Ctrl-C.
    """
    program = program or Path(sys.argv[0]).name
    parser = _Parser(prog=program, description=description, epilog=_examples(jobs, program))
    _add_jobs(parser, jobs, program)
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
        try:
            job, settings, profile = _read(parser, jobs, list(sys.argv[1:] if arguments is None else arguments))
            keep_programs()
            keep_freed_memory()
            module, _, function = job.function.partition(":")
            with _profiled(profile):
                getattr(import_module(module), function)(settings)
            sys.stdout.flush()
        except InputError as error:
            _fail(str(error))
            return 2
        except Incomplete as found:
            print(found, file=sys.stderr)
            return 1
        except BrokenPipeError:
            if not _reader_is_gone():
                raise
        except KeyboardInterrupt:
            print("stopped; run the same command again to resume", file=sys.stderr)
            return 130
    return 0


class _Help(DefaultHelpFormatter):
    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Fill each paragraph, but leave commands as they are."""
        filled = (
            part if part.startswith("example") else super(_Help, self)._fill_text(part, width, indent)
            for part in text.split("\n\n")
        )
        return "\n\n".join(filled)


class _Parser(ArgumentParser):
    chosen: tuple[str, ...] = ()
    """Of the outermost parser: the subcommands that the command line names."""
    positionals: Collection[str] = ()
    """Of the outermost parser: the positional arguments of that subcommand."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=_Help, **options)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Say what is wrong in one line instead of repeating the usage, and exit with status 2."""
        message = _plain(message)
        if self.chosen:  # the outermost parser calls --seed of paint paint.seed
            message = re.sub(rf"\b{re.escape('.'.join(self.chosen))}\.(\w+)", self._as_typed, message)
        command = " ".join((self.prog.replace("[options] ", ""), *self.chosen))
        _fail(_bad_input(ex) or f"{message}{self._suggestion(message)}; see {command} --help")
        raise SystemExit(2)

    def _suggestion(self, message: str) -> str:
        unknown = re.match(r"unrecognized arguments: (--[\w.]+)", message)
        if unknown is None:
            return ""
        options = [option for action in self._actions for option in action.option_strings]
        close = difflib.get_close_matches(unknown[1], options, n=1, cutoff=0.7)
        return f" (did you mean {close[0]}?)" if close else ""

    def _as_typed(self, found: re.Match[str]) -> str:
        return found[1] if found[1] in ("job", *self.positionals) else f"--{found[1]}"


def _add_jobs(parser: _Parser, jobs: Jobs, words: str) -> None:
    """Add the subcommands; `words` are those that the user typed before them."""
    commands = parser.add_subcommands(dest="job", metavar="JOB")
    for name, job in jobs.items():
        if not isinstance(job, Job):
            group = _Parser(epilog=_examples(job, f"{words} {name}"))
            commands.add_subcommand(name, group, help=f"one of {', '.join(job)}")
            _add_jobs(group, job, f"{words} {name}")
            continue
        command = _Parser(description=job.settings.__doc__, epilog=_examples(job, f"{words} {name}"))
        command.add_argument("--config", action="config", help="YAML file with settings; flags after it override it")
        command.add_class_arguments(job.settings, as_positional=True)
        trace = "folder for a trace of the run, which Perfetto and TensorBoard open"
        command.add_argument("--profile", metavar="DIR", help=trace)
        for action in command._actions:
            if _several(_positionals(job.settings).get(action.dest)):
                action.metavar = f"{action.dest} ..."
        commands.add_subcommand(name, command, help=(job.settings.__doc__ or "").partition("\n")[0])


def _examples(job: "Job | Jobs", words: str) -> str:
    commands = _commands(job, words)
    if len(commands) > 1:
        return "\n  ".join(("examples:", *commands))
    return f"example: {commands[0]}" if commands else ""


def _commands(job: "Job | Jobs", words: str) -> list[str]:
    if isinstance(job, Job):
        return [f"{words} {arguments}" for arguments in job.examples.splitlines()]
    return [command for name, each in job.items() for command in _commands(each, f"{words} {name}")]


@contextlib.contextmanager
def _profiled(folder: str | None) -> Iterator[None]:
    """Write a trace of what runs inside to `folder`, if there is one."""
    if folder is None:
        yield
        return
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--profile {folder}: {error.strerror}; give a folder that can be written") from None
    import jax

    with jax.profiler.trace(folder, create_perfetto_trace=True):
        yield
    print(f"the trace is in {folder}: perfetto_trace.json.gz for Perfetto, the folder itself for TensorBoard")


def _read(parser: _Parser, jobs: Jobs, arguments: list[str]) -> tuple[Job, Any, str | None]:
    """The job that the command line names, its settings, and the folder of its trace."""
    job: Job | Jobs = jobs
    depth = 0
    while not isinstance(job, Job) and depth < len(arguments) and arguments[depth] in job:
        job = job[arguments[depth]]
        depth += 1
    parser.chosen = tuple(arguments[:depth])
    if not isinstance(job, Job):
        parser.parse_args(arguments)  # prints the help or says which jobs there are, and exits
        raise AssertionError("the parser found a job that is not in the mapping")
    parser.positionals = _positionals(job.settings)
    try:
        values = parser.instantiate(parser.parse_args([*parser.chosen, *_spelled_out(arguments[depth:], job.settings)]))
        for name in parser.chosen:
            values = values[name]
        settings = job.settings(**{field.name: values[field.name] for field in fields(job.settings)})
        return job, settings, values["profile"]
    except UnicodeDecodeError:
        raise InputError("the settings given with --config are not text; give a YAML file") from None
    except ValueError as error:  # jsonargparse wraps the errors that settings raise when they are made
        lines = [line.strip() for line in str(error).splitlines()]
        # For a union it lists an error for each member; those of a wrong type say nothing.
        causes = [line[2:] for line in lines if line.startswith("- ") and "Expected a" not in line]
        raise InputError(_bad_input(error) or "; ".join(causes) or str(error)) from None


def _spelled_out(arguments: Sequence[str], settings: type) -> list[str]:
    """A job's arguments as jsonargparse reads them.

    Where a setting takes several values, `--records A B` stands for `--records [A,B]`; so do positional arguments.
    `--dry_run` stands for `--dry_run true`, and `--config` finds the presets that come with the package.
    """
    groups: list[tuple[str, list[str]]] = [("", [])]
    for argument in arguments:
        if argument.startswith("--") or argument == "-h":
            groups.append((argument, []))
        else:
            groups[-1][1].append(argument)

    (_, loose), *flags = groups
    hints = dict(_flags(settings))
    spelled: list[str] = []
    for flag, values in flags:
        hint = hints.get(flag)
        if _several(hint):
            spelled += [flag, *_joined(values, hint)]
        elif hint is bool and not values:
            spelled += [flag, "true"]
        elif flag == "--config" and values:
            spelled += [flag, presets.find(values[0])]
            loose += values[1:]
        elif flag.startswith("--config="):
            spelled.append(f"--config={presets.find(flag.removeprefix('--config='))}")
            loose += values
        else:
            own = 0 if "=" in flag else 1
            spelled += [flag, *values[:own]]
            loose += values[own:]

    for index, hint in enumerate(_positionals(settings).values()):
        if _several(hint):
            loose[index:] = _joined(loose[index:], hint)
    return [*loose, *spelled]


def _flags(settings: type, prefix: str = "--") -> Iterator[tuple[str, Any]]:
    """Every flag of a job, with the type of its setting."""
    for name, hint in get_type_hints(settings).items():
        if is_dataclass(hint):
            yield from _flags(hint if isinstance(hint, type) else type(hint), f"{prefix}{name}.")
        yield prefix + name, hint


def _positionals(settings: type) -> dict[str, Any]:
    """The positional arguments of a job, with the types of their settings."""
    hints = get_type_hints(settings)
    required = [field for field in fields(settings) if field.default is field.default_factory is MISSING]
    return {field.name: hints[field.name] for field in required if not field.kw_only}


def _several(hint: Any) -> Any:
    """The type of each value, of a setting that takes several; else None."""
    tuples = (option for option in (hint, *get_args(hint)) if get_origin(option) is tuple)
    return next((get_args(option)[0] for option in tuples), None)


def _joined(values: Sequence[str], hint: Any) -> list[str]:
    """Several values as one, in YAML; a list that is given as such stays as it is."""
    if not values or values[0].startswith("["):
        return list(values)
    # YAML would read text such as 2024 or a: b as something else.
    written = [json.dumps(value, ensure_ascii=False) for value in values] if _several(hint) is str else values
    return [f"[{', '.join(written)}]"]


def _plain(message: str) -> str:
    """Replace jsonargparse's Python words by a user's; an unfamiliar message stays as it is."""
    message = re.sub(r"<class '(?:[\w.]*\.)?(\w+)'>", r"\1", message)
    # Of a setting that may hold several values or none, what is wrong with the value that is.
    message = re.sub(
        r"Does not validate [^\n]*\n\s+Subtypes: \[tuple\[[^\n]*\n\s+Errors:\s+- (Does not .*?Given value: [^\n]*)\n.*",
        r"\1",
        message,
        flags=re.DOTALL,
    )
    message = re.sub(
        r"Does not validate against any of the Union subtypes\s+Subtypes: \[(.*?)\]\s+Errors:.*Given value: (.*)",
        lambda found: f"Expected a {_alternatives(found[1])}. Got value: {found[2]}",
        message,
        flags=re.DOTALL,
    )
    message = re.sub(r"Expected a typing\.Literal\[(.*)\]", r"Expected one of \1", message)
    message = re.sub(r"typing\.Literal\[([^]]*)\]", r"\1", message)
    return re.sub(r'Parser key "([\w.]+)":', r"--\1:", message)


def _alternatives(types: str) -> str:
    """The members of a union, but for null: who does not want to give a setting leaves its flag out."""
    return " or ".join(kind for kind in re.split(r", (?![^[]*])", types) if kind != "NoneType")


def _bad_input(error: BaseException | None) -> str | None:
    """The message of the `InputError` that `error` came from, if it did."""
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__ or error.__context__
    return str(error) if error else None


def _fail(message: str) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)


def _reader_is_gone() -> bool:
    """Whether the pipe that broke is our output, because its reader (`| head`) has seen enough; else it is a defect."""
    try:
        print(flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more when it ends
        return True
    return False
