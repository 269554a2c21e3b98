"""The scripts' shared front: jobs as subcommands, settings as flags or YAML, and bad input answered in one line.

Every job is a frozen dataclass of settings and a function that takes it. The function's module is imported only when
the job runs, so that `--help` answers at once.
"""

import json
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from importlib import import_module
from itertools import pairwise
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentParser, set_parsing_settings

from sparseshape_jax.errors import InputError

set_parsing_settings(docstring_parse_attribute_docstrings=True)


@dataclass(frozen=True)
class Job:
    """One subcommand."""

    settings: type
    """A frozen dataclass; its docstring and those of its fields are the help text."""
    function: str
    """module:function, called with the settings."""
    examples: str = ""
    """Commands that teach, shown below the help."""


class _Parser(ArgumentParser):
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Say what is wrong in one line instead of repeating the usage, and exit with status 2."""
        _fail(_bad_input(ex) or f"{_plain(message)}; see {self.prog.replace('[options] ', '')} --help")
        raise SystemExit(2)


def main(description: str, jobs: Mapping[str, Job], arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, run the job, and return the exit status: 0, or 2 for bad input."""
    parser = _Parser(allow_abbrev=False, description=description)
    commands = parser.add_subcommands(dest="job", metavar="JOB")
    for name, job in jobs.items():
        examples = job.examples and f"example: {job.examples}"
        command = _Parser(allow_abbrev=False, description=job.settings.__doc__, epilog=examples)
        command.add_argument("--config", action="config", help="YAML file with settings; flags after it override it")
        command.add_class_arguments(job.settings)
        commands.add_subcommand(name, command, help=(job.settings.__doc__ or "").partition("\n")[0])
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
        try:
            chosen, settings = _settings(parser, jobs, arguments)
            module, _, function = jobs[chosen].function.partition(":")
            getattr(import_module(module), function)(settings)
        except InputError as error:
            _fail(str(error))
            return 2
        except KeyboardInterrupt:
            print("stopped; run the same command again to go on", file=sys.stderr)
            return 130
    return 0


def _settings(parser: _Parser, jobs: Mapping[str, Job], arguments: Sequence[str] | None) -> tuple[str, Any]:
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    hints = dict(item for job in jobs.values() for item in _flags(job.settings))
    try:
        parsed = parser.parse_args(_spelt_out(arguments, hints))
        job = jobs[parsed.job]
        values = parser.instantiate(parsed)[parsed.job]
        return parsed.job, job.settings(**{field.name: values[field.name] for field in fields(job.settings)})
    except UnicodeDecodeError:
        raise InputError("the settings given with --config are not text; give a YAML file") from None
    except ValueError as error:  # what jsonargparse makes of the errors that settings raise when they are made
        lines = [line.strip() for line in str(error).splitlines()]
        causes = [
            line[2:] for line in lines if line.startswith("- ") and "Expected a" not in line
        ]  # of a union's members
        raise InputError(_bad_input(error) or "; ".join(causes) or str(error)) from None


def _flags(settings: type, prefix: str = "--") -> Iterator[tuple[str, Any]]:
    """Every flag of a job, with the type of its setting."""
    for name, hint in get_type_hints(settings).items():
        if is_dataclass(hint):
            yield from _flags(hint if isinstance(hint, type) else type(hint), f"{prefix}{name}.")
        yield prefix + name, hint


def _spelt_out(arguments: Sequence[str], hints: Mapping[str, Any]) -> list[str]:
    """Let `--records A B` stand for `--records [A,B]` where a setting takes several values, and `--dry_run` for
    `--dry_run true`."""
    spelt: list[str] = []
    values: list[str] | None = None
    write: Callable[[str], str] = str
    for argument, following in pairwise((*arguments, "--", "--")):
        if values is not None and (argument.startswith("--") or argument.startswith("[")):
            spelt += [f"[{', '.join(values)}]"] if values else []
            values = None
        if values is not None:
            values.append(write(argument))
            continue
        spelt.append(argument)
        hint = hints.get(argument)
        if hint is bool and following.startswith("--"):
            spelt.append("true")
        for option in (hint, *get_args(hint)):
            if get_origin(option) is tuple:
                values, write = [], _quoted if get_args(option)[0] is str else str
    return spelt[:-1]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _plain(message: str) -> str:
    """Say in the user's words what jsonargparse says in Python's; an unfamiliar message stays as it is."""
    message = re.sub(r"<class '(?:[\w.]*\.)?(\w+)'>", r"\1", message).replace("NoneType", "null")
    message = re.sub(
        r"Does not validate against any of the Union subtypes\s+Subtypes: \[(.*?)\]\s+Errors:.*Given value: (.*)",
        lambda found: f"Expected a {' or '.join(re.split(r', (?![^[]*])', found[1]))}. Got value: {found[2]}",
        message,
        flags=re.DOTALL,
    )
    message = re.sub(r"Expected a typing\.Literal\[(.*)\]", r"Expected one of \1", message)
    message = re.sub(r"typing\.Literal\[([^]]*)\]", r"\1", message)
    return re.sub(r'Parser key "([\w.]+)":', r"--\1:", message)


def _bad_input(error: BaseException | None) -> str | None:
    """The message of the `InputError` that `error` came from, if it did."""
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__ or error.__context__
    return str(error) if error else None


def _fail(message: str) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
