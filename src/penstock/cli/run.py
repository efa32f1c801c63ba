"""`penstock run`: sources, pipelines and the API until stopped."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live

from penstock.cli.common import (
    Common,
    EnvOption,
    JsonOption,
    ProjectOption,
    QuietOption,
    common,
    print_errors,
    print_json,
    say,
    seconds_of,
)
from penstock.cli.view import Board, Rates, draw
from penstock.errors import PenstockErrors
from penstock.observe import subscribe, unsubscribe
from penstock.observe.logs import log_handler
from penstock.operate.folder import CheckedFolder, check_folder
from penstock.operate.run import Outcome, Run, RunOptions
from penstock.operate.status import Document
from penstock.operate.status import status as read_status
from penstock.project.model import Project
from penstock.project.read import missing_values
from penstock.sources.registry import sources
from penstock.store.connect import Store
from penstock.store.errors import StoreAway

TICK = 0.1
"""Seconds between looks at requests and the end."""
REDRAW = 0.5


def run(
    until_caught_up: Annotated[
        bool, typer.Option("--until-caught-up", help="One round of every source, then end once it is in the answers.")
    ] = False,
    no_serve: Annotated[bool, typer.Option("--no-serve", help="Without the API.")] = False,
    duration: Annotated[str | None, typer.Option("--for", metavar="TIME", help="End after so long, e.g. 20s.")] = None,
    fail_on_quarantine: Annotated[
        bool, typer.Option("--fail-on-quarantine", help="Exit 1 when rows were refused.")
    ] = False,
    drop: Annotated[bool, typer.Option("--drop", help="Drop the tables of pipelines whose file is gone.")] = False,
    project: ProjectOption = None,
    env: EnvOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run sources, pipelines and the API until stopped (Ctrl-C, SIGTERM, `penstock stop`)."""
    options = common(project, env, as_json, quiet)
    folder = checked(options)
    wanted = RunOptions(until_caught_up=until_caught_up, serve=not no_serve and not until_caught_up, drop=drop)
    with log_lines(folder.project, options):
        outcome, document = keep_running(folder, wanted, options, seconds_of(duration))
    report(options, outcome, document)
    failed = outcome.errors or not outcome.complete or (fail_on_quarantine and outcome.quarantined)
    raise typer.Exit(1 if failed else 0)


def checked(options: Common) -> CheckedFolder:
    """Reads and plans the folder. Raises PenstockErrors with everything that is wrong."""
    connectors = {word: cls.Config for word, cls in sources().items()}
    folder = check_folder(options.root, options.env, connectors, os.environ)
    errors = [*folder.errors, *missing_values(folder.project)]
    if errors:
        raise PenstockErrors(errors)
    return folder


@contextmanager
def log_lines(project: Project, options: Common) -> Iterator[None]:
    """Log lines to stderr, unless a terminal view is drawn there."""
    settings = project.settings.logging
    wanted = not (shows_view(options) or options.quiet)
    if not wanted:
        yield
        return
    handler = subscribe(log_handler(settings.level, settings.format))
    try:
        yield
    finally:
        unsubscribe(handler)


def shows_view(options: Common) -> bool:
    return sys.stderr.isatty() and sys.stdout.isatty() and not options.quiet and not options.json


@contextmanager
def signals(asked: Callable[[], None]) -> Iterator[None]:
    """SIGINT and SIGTERM ask for an orderly end; a second one ends at once, which is as safe as kill -9."""

    def handler(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        asked()

    before = {n: signal.signal(n, handler) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def keep_running(
    folder: CheckedFolder,
    wanted: RunOptions,
    options: Common,
    seconds: float | None,
    boards: Callable[[Store], Sequence[Board]] = lambda store: (),
) -> tuple[Outcome, Document]:
    """Runs until it is over: caught up, stopped, or `seconds` have passed."""
    asked = threading.Event()
    with signals(asked.set), Run(folder, wanted, asked) as running:
        for name in running.dropped:
            say(options, f"dropped the table of {name}")
        for address in running.addresses:
            say(options, f"serving on {address}")
        _until_over(running, options, seconds, boards)
        document = read_status(running.store, folder.project)
    return running.outcome(), document


def _until_over(
    running: Run, options: Common, seconds: float | None, boards: Callable[[Store], Sequence[Board]]
) -> None:
    began, rates, drawn = time.monotonic(), Rates(), 0.0
    view = Live(console=Console(stderr=True), auto_refresh=False) if shows_view(options) else None
    with view or nullcontext():
        while not running.tick():
            now = time.monotonic()
            if seconds is not None and now - began >= seconds:
                return
            if view and now - drawn >= REDRAW:
                drawn = now
                with suppress(StoreAway):  # the run waits for the store's return; so does its picture
                    document = read_status(running.store, running.folder.project)
                    view.update(draw(document, rates, now, boards(running.store), running.addresses), refresh=True)
            time.sleep(TICK)


def report(options: Common, outcome: Outcome, document: Document) -> None:
    """Says at the end what was read and kept, and what stopped."""
    if options.json:
        print_json({**document, "errors": [e.as_json() for e in outcome.errors]})
        return
    for s in document["sources"]:
        counts = ", ".join(f"{s[k]:,} {k}" for k in ("read", "accepted", "quarantined", "duplicates"))
        say(options, f"{s['name']}: {counts}{_unsettled(s)}")
        if s["waiting"]:
            say(options, f"{s['name']} holds rows back: {s['waiting']}")
    for p in document["pipelines"]:
        say(options, f"{p['name']}: {p['rows']:,} rows, {p['late_set_aside']:,} late set aside{_unsettled(p)}")
    print_errors(outcome.errors, as_json=False)


def _unsettled(entry: Mapping[str, Any]) -> str:
    """The state in parentheses where it is news: a run that is over says of nothing that it is running, and of nothing
    that it stopped unless it did so by an error."""
    settled = entry["state"] in ("running", "done", "stopped") and not entry["error"]
    return "" if settled else f" ({entry['state']})"
