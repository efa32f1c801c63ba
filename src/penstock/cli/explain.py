"""`penstock explain`: what Penstock understood of a pipeline, and how it keeps it."""

from __future__ import annotations

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
)
from penstock.cli.run import checked
from penstock.plan.explain import explain as plan_as_json
from penstock.plan.explain import text as plan_as_text


def explain(
    pipeline: Annotated[str, typer.Argument(help="The pipeline: its file's name.")],
    project: ProjectOption = None,
    env: EnvOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show the typed SELECT, its partial, merge, recompute and finish, its window, and the columns' lineage."""
    options = common(project, env, as_json, quiet)
    plans = checked(options).plans
    plan = plans[choose(pipeline, "pipeline", plans)]
    if options.json:
        print_json(plan_as_json(plan))
    else:
        typer.echo(plan_as_text(plan))
