"""Contracts compared with those under which the log's rows were accepted.

Rows in the log stand for ever under the rules of their day. A new optional property is NULL in them; anything else that
Penstock acts on may not change under them: `run` stops before it reads a row.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from psycopg.types.json import Jsonb

from penstock.errors import PenstockErrors
from penstock.operate.errors import ContractChanged
from penstock.project.model import Column, Project, Stream
from penstock.store.connect import Connection, errors_explained

Definition = Mapping[str, Any]
_TOLD_ONLY = ("description", "classification", "place", "contract_id", "contract_version", "not_acted_on", "columns")
"""What may change freely: nothing acts on it."""


def definition_of(stream: Stream) -> dict[str, Any]:
    """Returns what Penstock acts on of a stream's contract, as JSON."""
    whole = {k: v for k, v in asdict(stream).items() if k not in _TOLD_ONLY}
    whole["columns"] = {c.name: _column(c) for c in stream.columns}
    plain: dict[str, Any] = json.loads(json.dumps(whole, default=_plain))
    return plain


def _column(column: Column) -> dict[str, Any]:
    rules = {
        k: v for k, v in asdict(column).items() if k not in (*_TOLD_ONLY, "name", "type") and v not in (None, False)
    }
    return {"type": str(column.type), **rules}


def _plain(value: object) -> object:
    return value.total_seconds() if isinstance(value, timedelta) else str(value)


def changes(old: Definition, new: Definition) -> Iterator[str]:
    """Yields each difference that rows in the log do not allow, one sentence each."""
    for name in sorted((old.keys() | new.keys()) - {"columns"}):
        if old.get(name) != new.get(name):
            yield f"{name} was {_shown(old.get(name))} and is {_shown(new.get(name))}"
    before, after = old["columns"], new["columns"]
    for name, column in before.items():
        if name not in after:
            yield f"property {name} is gone"
            continue
        for rule in sorted(column.keys() | after[name].keys()):
            if column.get(rule) != after[name].get(rule):
                yield f"{rule} of {name} was {_shown(column.get(rule))} and is {_shown(after[name].get(rule))}"
    for name, column in after.items():
        if name not in before and (column.get("required") or column.get("unique")):
            yield f"the new property {name} is {'required' if column.get('required') else 'unique'}"


def _shown(value: object) -> str:
    return "not set" if value is None else f"{value}"


def adopt_contracts(connection: Connection, project: Project) -> None:
    """Keeps the contracts of new streams and new optional properties. Raises PenstockErrors of ContractChanged."""
    with errors_explained():
        rows = connection.execute("SELECT stream, definition FROM contract").fetchall()
    known: dict[str, Definition] = dict(rows)
    wrong = []
    for stream in project.streams.values():
        new = definition_of(stream)
        found = list(changes(known[stream.name], new)) if stream.name in known else []
        if found and _has_rows(connection, stream.name):
            hint = "put it back; or, for rows of another shape, begin a stream of another name"
            wrong.append(ContractChanged(f"stream {stream.name}: {'; '.join(found)}", hint=hint, place=stream.place))
            continue
        with errors_explained():
            connection.execute(
                "INSERT INTO contract (stream, definition) VALUES (%s, %s) ON CONFLICT (stream) DO UPDATE SET"
                " definition = excluded.definition, updated_at = now()"
                " WHERE contract.definition IS DISTINCT FROM excluded.definition",
                [stream.name, Jsonb(new)],
            )
    if wrong:
        raise PenstockErrors(wrong)


def _has_rows(connection: Connection, stream: str) -> bool:
    with errors_explained():
        return connection.execute("SELECT FROM batch WHERE stream = %s LIMIT 1", [stream]).fetchone() is not None
