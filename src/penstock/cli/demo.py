"""`penstock demo`: the sales project, live, with a sample shop database and file drops made here."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import psycopg
import typer

from penstock.cli.common import (
    Common,
    EnvOption,
    JsonOption,
    ProjectOption,
    QuietOption,
    common,
    say,
    seconds_of,
)
from penstock.cli.run import checked, keep_running, log_lines, report
from penstock.cli.view import Board
from penstock.operate.folder import CheckedFolder
from penstock.operate.run import RunOptions
from penstock.operate.templates import write_template
from penstock.operate.world_live import LiveWorld
from penstock.serve.errors import CannotListen
from penstock.serve.server import listen
from penstock.store.connect import Store
from penstock.store.private import private_server

WITHOUT_TERMINAL = 20.0
"""Seconds a demo runs where nobody watches."""
_CITIES = """SELECT city, total_sales, transaction_count FROM top_sales_by_city
WHERE date = (SELECT max(date) FROM top_sales_by_city) ORDER BY total_sales DESC, city LIMIT 8"""
_SALESMEN = """SELECT salesman_name, total_sales, deals_closed FROM top_salesmen
WHERE date = (SELECT max(date) FROM top_salesmen) ORDER BY rank, salesman_id LIMIT 8"""


def demo(
    directory: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Keep the project here; default: a temporary folder.")
    ] = None,
    duration: Annotated[str | None, typer.Option("--for", metavar="TIME", help="End after so long, e.g. 20s.")] = None,
    project: ProjectOption = None,
    env: EnvOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run the sales project live: a sample shop database and file drops are made here and written to."""
    options = common(project, env, as_json, quiet)
    seconds = seconds_of(duration)
    if seconds is None and not sys.stdout.isatty():
        seconds = WITHOUT_TERMINAL
    with _folder(directory) as root:
        say(options, f"the sales project is in {root}: making its shop and its files ...")
        if not (root / "penstock.yaml").exists():
            write_template("sales", root)
        with private_server(root / ".penstock" / "default") as server:
            world = LiveWorld(root, server.createdb("shop"))
            world.prepare()
            _run(root, world, options, seconds)
    raise typer.Exit(0)


@contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    """Yields the demo's folder; a temporary one is removed afterwards."""
    if given is not None:
        yield given.absolute()
        return
    root = Path(tempfile.mkdtemp(prefix="penstock-demo-"))
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _run(root: Path, world: LiveWorld, options: Common, seconds: float | None) -> None:
    here = Common(root, options.env, options.json, options.quiet)
    folder = _with_free_port(checked(here))
    with log_lines(folder.project, options):
        world.start()
        try:
            outcome, document = keep_running(folder, RunOptions(), options, seconds, boards)
        finally:
            world.stop()
    report(options, outcome, document)
    if outcome.errors:
        raise typer.Exit(1)


def _with_free_port(folder: CheckedFolder) -> CheckedFolder:
    """A demo takes another port rather than fail when its own is in use."""
    serve = folder.project.settings.serve
    try:
        listen(serve.host, serve.port).close()
    except CannotListen:
        settings = replace(folder.project.settings, serve=replace(serve, port=0))
        return replace(folder, project=replace(folder.project, settings=settings))
    return folder


def boards(store: Store) -> Sequence[Board]:
    """The answers as they are now: the best cities and salesmen of the newest day."""
    with store.connect("penstock demo", results=True, read_only=True) as connection:
        try:
            cities = connection.execute(_CITIES).fetchall()
            salesmen = connection.execute(_SALESMEN).fetchall()
        except psycopg.errors.UndefinedTable:
            return ()
    return (
        Board("top cities today", ("city", "sales", "deals"), cities),
        Board("top salesmen today", ("salesman", "sales", "deals"), salesmen),
    )
