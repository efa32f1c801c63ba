"""The command line: the verbs in the order a user meets them, and the one place where failures become exit codes."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Annotated

import psycopg
import typer
from typer.exceptions import TyperException

from penstock import __version__
from penstock.cli import common
from penstock.cli.demo import demo
from penstock.cli.explain import explain
from penstock.cli.export import export
from penstock.cli.generate import generate
from penstock.cli.init import init
from penstock.cli.query import query
from penstock.cli.run import run
from penstock.cli.serve import serve
from penstock.cli.status import status
from penstock.cli.stop import stop
from penstock.cli.store import app as store
from penstock.cli.validate import validate
from penstock.errors import PenstockError, PenstockErrors
from penstock.store import connect

app = typer.Typer(
    name="penstock",
    help="Keeps SQL answers up to date: events in, checked by contract, plain SELECTs kept current, served over HTTP.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"penstock {__version__}")
        raise typer.Exit


@app.callback()
def _global_options(
    project: common.ProjectOption = None,
    env: common.EnvOption = None,
    as_json: common.JsonOption = False,
    quiet: common.QuietOption = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    common.Globals.current = common.Globals(project, env, as_json, quiet)


for verb in (init, demo, validate, run, serve, status, query, explain, generate, export, stop):
    app.command()(verb)
app.add_typer(store, name="store")


def main() -> None:
    """Runs the command line and exits: 0 done, 1 failed or differs, 2 wrong usage. No traceback reaches the user."""
    sys.exit(_run())


def _run() -> int:
    try:
        result = app(standalone_mode=False)
        return int(result) if isinstance(result, int) else 0
    except typer.Exit as done:
        return done.exit_code
    except TyperException as wrong:
        return _wrong_usage(wrong)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except PenstockErrors as several:
        common.print_errors(several.errors, as_json=common.Globals.current.json)
        return 1
    except PenstockError as error:
        common.print_errors([error], as_json=common.Globals.current.json)
        return 2 if isinstance(error, common.WrongUsage) else 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as refused:
        common.print_errors([common.system_refused(refused)], as_json=common.Globals.current.json)
        return 1
    except psycopg.Error as said:
        common.print_errors([connect.explain(said, "the store")], as_json=common.Globals.current.json)
        return 1
    except Exception as unexpected:  # noqa: BLE001 (the last line of defence: shown as an error with a code)
        common.print_errors([internal_error(unexpected)], as_json=common.Globals.current.json)
        return 1


def _wrong_usage(wrong: TyperException) -> int:
    """Prints what the parser of the command line found; the help where a group was called without a verb."""
    path = getattr(getattr(wrong, "ctx", None), "command_path", "penstock")
    text = wrong.format_message()
    if text.startswith("Usage:"):
        typer.echo(text, err=True)
    else:
        error = common.WrongUsage(text.rstrip("."), hint=f"`{path} --help` shows what it takes")
        common.print_errors([error], as_json=common.Globals.current.json)
    return 2


def internal_error(unexpected: BaseException) -> common.InternalError:
    """Returns the error for a defect of ours, with the traceback kept in a file that the message names."""
    handle, path = tempfile.mkstemp(prefix="penstock-failure-", suffix=".txt")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write("".join(traceback.format_exception(unexpected)))
    found = f"{type(unexpected).__name__}: {unexpected}"
    return common.InternalError(found, hint=f"please report it with the file {Path(path)}; then start again")
