"""`penstock init`: a new project that runs at once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from penstock.cli.common import (
    EnvOption,
    JsonOption,
    ProjectOption,
    QuietOption,
    choose,
    common,
    print_json,
    say,
)
from penstock.operate.templates import templates, write_template


def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The new project's folder.")],
    template: Annotated[
        str, typer.Option(help="minimal (a CSV file, one answer) or sales (the reference project).")
    ] = "minimal",
    project: ProjectOption = None,
    env: EnvOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make a new project that runs at once: source, contract, pipeline, endpoint, test."""
    options = common(project, env, as_json, quiet)
    choose(template, "template", templates())
    name = re.sub(r"[^a-z0-9_]+", "_", directory.absolute().name.lower()).strip("_") or template
    files = write_template(template, directory, name)
    if options.json:
        print_json({"project": name, "directory": str(directory), "files": [str(f) for f in files]})
    say(options, f"project '{name}' is in {directory}: " + ", ".join(str(f) for f in files))
    say(options, f"next: cd {directory} && penstock run --until-caught-up && penstock status")
