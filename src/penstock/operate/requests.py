"""Requests to the running writer: a verb puts one into the store, the writer carries it out and answers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from penstock.errors import PenstockError
from penstock.operate.errors import NotRunning
from penstock.store.connect import Connection, Store, errors_explained
from penstock.store.writer import who_writes

Answer = Mapping[str, Any]
Handlers = Mapping[str, Callable[[Mapping[str, Any]], Answer]]
"""Verb -> what carries it out; raises PenstockError when it cannot."""


def ask(store: Store, verb: str, args: Mapping[str, Any], seconds: float = 60.0) -> Answer:
    """Asks the running writer and waits for its answer. Raises NotRunning when none runs or it ends meanwhile."""
    with store.connect("penstock request") as connection, errors_explained(store):
        if who_writes(connection) is None:
            found = f"no penstock runs on project '{store.project_name}'"
            raise NotRunning(found, hint="nothing to do; `penstock run` starts one")
        row = connection.execute(
            "INSERT INTO request (verb, args) VALUES (%s, %s) RETURNING id", [verb, json.dumps(args)]
        ).fetchone()
        assert row
        connection.execute("SELECT pg_notify(current_schema(), 'request')")
        return _wait(connection, store, row[0], seconds)


def _wait(connection: Connection, store: Store, request: int, seconds: float) -> Answer:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        row = connection.execute("SELECT state, answer FROM request WHERE id = %s", [request]).fetchone()
        if row and row[0] == "done":
            return dict(row[1] or {})
        if row and row[0] == "failed":
            found = f"the writer of project '{store.project_name}' did not do it: {_told(row[1])}"
            raise NotRunning(found, hint="ask again once `penstock status` says that it runs")
        if who_writes(connection) is None:
            return {"ended": True}
        time.sleep(0.1)
    found = f"the writer of project '{store.project_name}' has not answered for {seconds:.0f} s"
    raise NotRunning(found, hint="look at its log; it may be busy with a long step")


def _told(answer: Mapping[str, Any] | None) -> str:
    told = answer or {}
    return str(told.get("error") or told.get("found") or "it does not say why")


def ask_to_end(store: Store, seconds: float = 60.0) -> Answer:
    """Asks the running writer to end and waits until it has. Raises NotRunning when none runs, or this one goes on."""
    until = time.monotonic() + seconds
    with store.connect("penstock request") as connection:
        writer = who_writes(connection)
        answer = ask(store, "stop", {}, seconds)
        while writer is not None and who_writes(connection) == writer:
            if time.monotonic() > until:
                found = f"the writer of project '{store.project_name}' has not ended for {seconds:.0f} s"
                raise NotRunning(found, hint="look at its log; it may be busy with a long step")
            time.sleep(0.1)
    return answer


def serve_requests(connection: Connection, handlers: Handlers) -> None:
    """Carries out what waits, in order. Requests of an earlier writer that were taken and not answered fail."""
    with errors_explained():
        rows = connection.execute(
            "UPDATE request SET state = 'taken', changed_at = now() WHERE state = 'waiting' RETURNING id, verb, args"
        ).fetchall()
        for number, verb, args in sorted(rows):
            state, answer = _carry_out(handlers, verb, args)
            connection.execute(
                "UPDATE request SET state = %s, answer = %s, changed_at = now() WHERE id = %s",
                [state, json.dumps(answer, default=str), number],
            )


def forget_old_requests(connection: Connection) -> None:
    """What was asked of a writer that is gone is not carried out by the next one."""
    with errors_explained():
        connection.execute(
            "UPDATE request SET state = 'failed', answer = '{\"error\": \"the writer ended\"}', changed_at = now()"
            " WHERE state IN ('waiting', 'taken')"
        )


def _carry_out(handlers: Handlers, verb: str, args: Mapping[str, Any]) -> tuple[str, Answer]:
    handler = handlers.get(verb)
    if handler is None:
        return "failed", {"error": f"this version of penstock does not know the request '{verb}'"}
    try:
        return "done", handler(args)
    except PenstockError as error:
        return "failed", error.as_json()
