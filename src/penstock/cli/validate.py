"""`penstock validate`: the folder alone, no connections: every error at once, refused SQL with reasons."""

from __future__ import annotations

import os

import typer

from penstock.cli.common import (
    Common,
    EnvOption,
    JsonOption,
    ProjectOption,
    QuietOption,
    common,
    err_console,
    print_errors,
    print_json,
    say,
)
from penstock.errors import PenstockError
from penstock.operate.folder import check_folder
from penstock.sources.registry import sources


def validate(
    project: ProjectOption = None, env: EnvOption = None, as_json: JsonOption = False, quiet: QuietOption = False
) -> None:
    """Check the project folder, without any connection: all errors at once, each with its place and what to do."""
    options = common(project, env, as_json, quiet)
    connectors = {word: cls.Config for word, cls in sources().items()}
    checked = check_folder(options.root, options.env, connectors, os.environ)
    if options.json:
        _print_document(checked.errors, checked.warnings)
    else:
        _print_text(options, checked.errors, checked.warnings, checked.summary)
    raise typer.Exit(1 if checked.errors else 0)


def _print_document(errors: list[PenstockError], warnings: list[PenstockError]) -> None:
    print_json({"errors": [e.as_json() for e in errors], "warnings": [w.as_json() for w in warnings]})


def _print_text(options: Common, errors: list[PenstockError], warnings: list[PenstockError], summary: str) -> None:
    console = err_console()
    for warning in warnings:
        console.print(f"warning: {warning}", markup=False, style=None if console.no_color else "yellow")
    print_errors(errors, as_json=False)
    if errors:
        say(options, f"{len(errors)} error{'s' if len(errors) > 1 else ''}")
    else:
        say(options, summary)
