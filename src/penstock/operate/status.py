"""The status of a project as the store tells it: the same whether a run is under way or not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from psycopg.rows import dict_row

from penstock.project.model import Project
from penstock.store.connect import Connection, Store, errors_explained
from penstock.store.writer import who_writes

_SOURCES = """
SELECT name, type, state, read, accepted, quarantined, duplicates, cursor::text AS cursor,
       CASE WHEN last_success IS NOT NULL THEN round(extract(epoch FROM now() - last_success), 3)::float END
         AS lag_seconds,
       error, error_since, waiting, unmapped, stream, round, first_round, last_success, last_found
FROM source ORDER BY name
"""
_PIPELINES = """
SELECT p.name, p.state, p.position, p.late_set_aside, p.watermark, p.as_of, p.error, p.error_since, p.removed_at,
       p.table_schema, p.table_name, p.builds, p.plan ->> 'stream' AS stream
FROM pipeline p ORDER BY p.name
"""
_RECEIPTS = """
SELECT item, state, size, hash, modified_at, rows_read, accepted, quarantined, duplicates, first_seen, updated_at
FROM receipt WHERE source = %s ORDER BY first_seen, item LIMIT %s
"""
RECEIPTS = 1000
"""Receipts of one source that a status document holds at the most; all of them are in the store."""

Document = dict[str, Any]


def status(store: Store, project: Project | None = None) -> Document:
    """Returns the status document. With `project`, sources and pipelines that were never run are among them."""
    with store.connect("penstock status") as connection, errors_explained(store):
        connection.row_factory = dict_row  # type: ignore[assignment]
        writer = who_writes_row(store)
        sources = [_source(connection, row, writer is not None) for row in _rows(connection, _SOURCES)]
        pipelines = [_pipeline(connection, row, writer is not None) for row in _rows(connection, _PIPELINES)]
    document: Document = {
        "project": store.project_name,
        "writer": writer,
        "sources": _with_new(sources, project.sources if project else {}, _new_source),
        "pipelines": _with_new(pipelines, project.pipelines if project else {}, _new_pipeline),
    }
    if project:
        _mark_removed(document, project)
    return document


def who_writes_row(store: Store) -> Document | None:
    with store.connect("penstock status") as connection:
        found = who_writes(connection)
    return {**found, "since": rfc3339(found["since"])} if found else None  # type: ignore[arg-type]


def rfc3339(moment: datetime | None) -> str | None:
    """Returns a UTC instant as RFC 3339 writes it."""
    return moment.isoformat().replace("+00:00", "Z") if moment else None


def _rows(connection: Connection, sql: str, values: tuple[Any, ...] = ()) -> list[Document]:
    return connection.execute(sql, values or None).fetchall()  # type: ignore[return-value]


def _state(found: str, running: bool, error: object) -> str:
    """What a state says that was written by a run which is gone."""
    return found if running or found in ("done", "paused") else "stopped"


def _source(connection: Connection, row: Document, running: bool) -> Document:
    files = _rows(connection, _RECEIPTS, (row["name"], RECEIPTS)) if row["type"] == "files" else []
    times = ("error_since", "last_success", "last_found")
    return {
        **row,
        "state": _state(row["state"], running, row["error"]),
        "error": _error(row["error"]),
        "waiting": row["waiting"] if running else "",
        **{k: rfc3339(row[k]) for k in times},
        **({"files": [_receipt(f) for f in files]} if row["type"] == "files" else {}),
    }


def _receipt(row: Document) -> Document:
    times = ("modified_at", "first_seen", "updated_at")
    return {**row, **{k: rfc3339(row[k]) for k in times}}


def _pipeline(connection: Connection, row: Document, running: bool) -> Document:
    behind = _rows(
        connection,
        "SELECT count(*) AS n FROM batch WHERE position > %s AND stream = %s",
        (row["position"], row["stream"]),
    )[0]["n"]
    there = f'"{row["table_schema"]}"."{row["table_name"]}"'
    known = _rows(connection, "SELECT to_regclass(%s) AS t", (there,))[0]["t"]
    rows = _rows(connection, f"SELECT count(*) AS n FROM {there}")[0]["n"] if known else 0
    times = ("watermark", "as_of", "error_since", "removed_at")
    return {
        **{k: row[k] for k in ("name", "stream", "builds")},
        "state": _state(row["state"], running, row["error"]),
        "position": str(row["position"]),
        "behind": behind,
        "rows": rows,
        "late_set_aside": row["late_set_aside"],
        "error": _error(row["error"]),
        **{k: rfc3339(row[k]) for k in times},
    }


def _error(document: Mapping[str, Any] | None) -> str | None:
    """One line of the error that stopped something."""
    if not document:
        return None
    hint = f" (hint: {document['hint']})" if document.get("hint") else ""
    return f"{document['code']} {document['title']}: {document['found']}{hint}"


def _with_new(found: list[Document], files: Mapping[str, Any], made: Any) -> list[Document]:
    names = {row["name"] for row in found}
    return found + [made(file) for name, file in files.items() if name not in names]


def _new_source(file: Any) -> Document:
    zeros = dict.fromkeys(("read", "accepted", "quarantined", "duplicates"), 0)
    return {
        "name": file.name, "type": file.type, "state": "stopped", **zeros, "cursor": "{}", "lag_seconds": None,
        "error": None, "waiting": "", "stream": file.stream, "unmapped": [],
    }  # fmt: skip


def _new_pipeline(file: Any) -> Document:
    return {
        "name": file.name, "state": "stopped", "position": "0", "behind": 0, "rows": 0, "late_set_aside": 0,
        "watermark": None, "as_of": None, "error": None,
    }  # fmt: skip


def _mark_removed(document: Document, project: Project) -> None:
    """Names what the store has and the folder has no longer."""
    for kind, files in (("sources", project.sources), ("pipelines", project.pipelines)):
        for row in document[kind]:
            row["removed"] = row["name"] not in files and not row.get("builds")
