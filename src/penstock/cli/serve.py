"""`penstock serve`: the API alone; needs the store and nothing else."""

from __future__ import annotations

from typing import Annotated

import typer

from penstock.cli.common import STORE_PARTS, EnvOption, JsonOption, ProjectOption, QuietOption, common, load, say
from penstock.cli.run import log_lines
from penstock.serve.server import ServeOptions, run_server
from penstock.store.connect import Store


def serve(
    host: Annotated[str | None, typer.Option(help="Over `serve.host` of penstock.yaml.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Over `serve.port`; 0 takes a free one.")] = None,
    project: ProjectOption = None,
    env: EnvOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Serve the endpoints from the store, without reading sources. Several may serve at once."""
    options = common(project, env, as_json, quiet)
    read = load(options, (*STORE_PARTS, "serve", "logging", "timezone", "pipelines", "endpoints"))
    with Store.open(read.settings) as store, log_lines(read, options):
        run_server(
            read,
            store.url,
            ServeOptions(host=host, port=port, revive=store.server.ensure if store.server else None),
            on_ready=lambda h, p: say(options, f"serving on http://{h}:{p} (documentation at /docs)"),
        )
