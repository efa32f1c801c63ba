"""`penstock status`: sources and pipelines, what they have counted, and what is wrong with them."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer
from rich.live import Live

from penstock.cli.common import (
    EnvOption,
    JsonOption,
    ProjectOption,
    QuietOption,
    common,
    load,
    out_console,
    print_json,
)
from penstock.cli.view import Rates, draw
from penstock.operate.status import status as read_status
from penstock.store.connect import Store


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Stay, and show it anew every second.")] = False,
    project: ProjectOption = None,
    env: EnvOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show sources (state, rows, lag, error) and pipelines (position, behind, rows, late, watermark)."""
    options = common(project, env, as_json, quiet)
    read = load(options)
    with Store.open(read.settings) as store:
        if options.json:
            print_json(read_status(store, read))
            return
        rates = Rates()
        console = out_console()
        if not watch:
            document = read_status(store, read)
            console.print(draw(document, rates, time.monotonic(), (), _notes(document)))
            return
        with Live(console=console, auto_refresh=False, screen=False) as live:
            while True:
                live.update(draw(read_status(store, read), rates, time.monotonic(), (), ()), refresh=True)
                time.sleep(1)


def _notes(document: dict[str, Any]) -> list[str]:
    """What else a person should know: who runs, columns nothing maps, tables whose file is gone."""
    writer = document["writer"]
    notes = [f"running: pid {writer['pid']} on {writer['host']} since {writer['since']}" if writer else "not running"]
    for source in document["sources"]:
        if source.get("waiting"):
            notes.append(f"{source['name']} waits: {source['waiting']}")
        if source.get("unmapped"):
            notes.append(f"{source['name']}: nothing maps {', '.join(source['unmapped'])}")
    for pipeline in document["pipelines"]:
        if pipeline.get("removed"):
            notes.append(f"{pipeline['name']}: its file is gone, its table stays; `penstock run --drop` removes it")
    return notes
