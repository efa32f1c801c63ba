"""`penstock export`: the rows of a stream's log that count, as Parquet, CSV or JSON lines."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from penstock.cli.common import (
    EnvOption,
    JsonOption,
    ProjectOption,
    QuietOption,
    WrongUsage,
    choose,
    common,
    load,
    print_json,
    say,
)
from penstock.operate.export import FORMATS, export_stream
from penstock.store.connect import Store


def export(
    stream: Annotated[str, typer.Argument(help="The stream: the contract's schema name.")],
    form: Annotated[str, typer.Option("--format", help="parquet, csv or jsonl.")] = "parquet",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The file to write; default: stdout.")] = None,
    stamps: Annotated[bool, typer.Option("--stamps", help="With each row's stamps: _batch, _source, ...")] = False,
    project: ProjectOption = None,
    env: EnvOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write the rows of the log that count: accepted, and neither corrected nor taken back since."""
    options = common(project, env, as_json, quiet)
    form = choose(form, "format", FORMATS)
    if out is None and form == "parquet" and sys.stdout.isatty():
        found = "Parquet is not for terminals"
        raise WrongUsage(found, hint="give --out FILE, or --format csv")
    read = load(options)
    chosen = read.streams[choose(stream, "stream", read.streams)]
    with Store.open(read.settings, create=False) as store:
        rows = export_stream(read, store, chosen, form, out or sys.stdout.buffer, stamps=stamps)
    if options.json and out is not None:
        print_json({"stream": stream, "rows": rows, "file": str(out)})
    say(options, f"{rows:,} rows of {stream}")
