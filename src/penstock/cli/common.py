"""What every verb shares: its common options, reading the folder, printing results and errors.

Results go to stdout, everything else to stderr; progress only to a terminal. Exit codes: 0 done, 1 failed or differs,
2 wrong usage.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer
from rich.console import Console
from rich.table import Table

from penstock.errors import PenstockError, PenstockErrors, nearest
from penstock.project.model import Project, Settings
from penstock.project.read import read_project, required
from penstock.sources.registry import sources

ProjectOption = Annotated[
    Path | None,
    typer.Option("--project", metavar="DIR", help="The project folder; default: here or the nearest parent with one."),
]
EnvOption = Annotated[str | None, typer.Option("--env", metavar="NAME", help="The environment of penstock.yaml.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print results and errors only.")]


class NoProject(PenstockError):
    """No penstock.yaml was found. Go into a project folder, name one with `--project DIR`, or make one with
    `penstock init DIR`."""

    code = "PEN901"
    title = "no project here"


class WrongUsage(PenstockError):
    """A verb was called with arguments that do not go together. The message says which; `penstock VERB --help` shows
    all of them. Exit code 2."""

    code = "PEN902"
    title = "wrong usage"


class SystemRefused(PenstockError):
    """The operating system refused a verb a file or a folder: it is not there, may not be used, or the disk is full.
    The message names it. Mend that and call the verb again."""

    code = "PEN904"
    title = "the system refused"


class InternalError(PenstockError):
    """Something happened that Penstock did not expect: a defect of Penstock. Nothing was committed that should not
    be; the run can be started again. The details are in the file that the message names."""

    code = "PEN999"
    title = "unexpected failure"


@dataclass
class Globals:
    """Options given before the verb; a verb's own win. One command line, one process, hence one value."""

    project: Path | None = None
    env: str | None = None
    json: bool = False
    quiet: bool = False

    current: ClassVar[Globals]


Globals.current = Globals()


@dataclass(frozen=True)
class Common:
    """The common options of one verb, resolved."""

    project: Path | None
    env: str | None
    json: bool
    quiet: bool

    @property
    def root(self) -> Path:
        """The project folder. Raises NoProject."""
        return find_root(self.project)


def common(project: Path | None = None, env: str | None = None, as_json: bool = False, quiet: bool = False) -> Common:
    """Returns a verb's common options, those given before the verb filled in."""
    g = Globals.current
    merged = Common(project or g.project, env or g.env, as_json or g.json, quiet or g.quiet)
    Globals.current = Globals(merged.project, merged.env, merged.json, merged.quiet)
    return merged


def find_root(given: Path | None) -> Path:
    """Returns the given project folder, or the nearest one at or above the working folder. Raises NoProject."""
    if given is not None:
        if (given / "penstock.yaml").is_file():
            return given.absolute()
        found = f"{given} has no penstock.yaml" if given.is_dir() else f"{given} is not a folder"
        raise NoProject(found, hint="name a folder that holds a penstock.yaml, or make one: penstock init DIR")
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "penstock.yaml").is_file():
            return folder
    found = f"no penstock.yaml in {here} or above it"
    raise NoProject(found, hint="go into a project folder, give --project DIR, or make one: penstock init DIR")


STORE_PARTS = ("store", "state", "log")
"""What a verb that only opens the store needs: variables that are not set elsewhere do not matter to it."""


def load(options: Common, parts: Sequence[str] = STORE_PARTS) -> Project:
    """Reads the project for a verb that uses these `parts` of it (as `missing_values` takes them; empty = all). Raises
    PenstockErrors with everything found wrong."""
    connectors = {word: cls.Config for word, cls in sources().items()}
    project = required(read_project(options.root, options.env, connectors, os.environ), *parts)
    if project.problems:
        raise PenstockErrors(project.problems)
    return project


def load_settings(options: Common) -> Settings:
    """Reads the settings alone: who looks at results must not be kept from it by a mistake in a contract."""
    connectors = {word: cls.Config for word, cls in sources().items()}
    project = required(read_project(options.root, options.env, connectors, os.environ), *STORE_PARTS)
    wrong = [e for e in project.problems if e.place is None or e.place.file == "penstock.yaml"]
    if wrong:
        raise PenstockErrors(wrong)
    return project.settings


def system_refused(error: OSError) -> SystemRefused:
    """Returns the error for what the operating system said."""
    text = error.strerror or str(error)
    found = f"{error.filename}: {text}" if error.filename else text
    return SystemRefused(found, hint="see that the path is right, that you may use it, and that the disk has room")


def out_console() -> Console:
    """stdout for people; wide enough to not fold tables when it is no terminal. Values are printed as they are."""
    wide = None if sys.stdout.isatty() else 200
    return Console(highlight=False, soft_wrap=True, markup=False, emoji=False, width=wide)


def err_console() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)


def print_json(document: object) -> None:
    """Prints one JSON document to stdout."""
    typer.echo(json.dumps(document, indent=2, default=str, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[str] = ()) -> None:
    """Prints a plain table to stdout; `right` names the columns of numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*("" if v is None else str(v) for v in row))
    out_console().print(table, markup=False)


def print_errors(errors: Iterable[PenstockError], *, as_json: bool) -> None:
    """Prints errors to stderr; with --json as one document to stdout, since that is what a program reads."""
    found = list(errors)
    if as_json:
        print_json({"errors": [e.as_json() for e in found]})
        return
    console = err_console()
    for error in found:
        console.print(str(error), markup=False, style=None if console.no_color else "red")


def say(options: Common, message: str) -> None:
    """Tells a person something on the way; nothing with --quiet or --json."""
    if not options.quiet and not options.json:
        err_console().print(message, markup=False)


def choose(word: str, what: str, known: Mapping[str, Any] | Iterable[str]) -> str:
    """Returns `word` when it is one of `known`. Raises WrongUsage with the nearest."""
    names = list(known)
    if word in names:
        return word
    found = f"there is no {what} '{word}'"
    raise WrongUsage(found, hint=nearest(word, names))


def seconds_of(duration: str | None) -> float | None:
    """Returns the seconds of a duration such as `20s`; None stays None. Raises WrongUsage."""
    if duration is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", duration.strip())
    if not match:
        found = f"'{duration}' is not a duration"
        raise WrongUsage(found, hint="write a number and ms, s, m, h or d, such as 20s")
    return float(match[1]) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
