"""`penstock store url`: the connection string for psql and BI tools."""

from __future__ import annotations

import typer

from penstock.cli.common import EnvOption, JsonOption, ProjectOption, QuietOption, common, load_settings, print_json
from penstock.store.connect import Store

app = typer.Typer(no_args_is_help=True, help="The store: where results are kept.", rich_markup_mode=None)


@app.callback()
def _store() -> None:
    """The store: where results are kept."""


@app.command("url")
def store_url(
    project: ProjectOption = None, env: EnvOption = None, as_json: JsonOption = False, quiet: QuietOption = False
) -> None:
    """Print the connection string of the store, password included. An embedded store answers while something runs."""
    options = common(project, env, as_json, quiet)
    with Store.open(load_settings(options), create=False) as store:
        if options.json:
            print_json({"url": store.url, "schema": store.schema})
        else:
            typer.echo(store.url)
