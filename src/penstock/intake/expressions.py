"""What the expressions of a source file mention, told without data.

DuckDB's own parser is asked (`json_serialize_sql`), so that what is said here and what is run later cannot differ.
A mapping is *bare* when it is nothing but one column's name: then the source may decode that column right into the
contract's type (`type_hints`), as long as nothing else looks at it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import duckdb
import pyarrow as pa

from penstock.errors import Place
from penstock.intake.errors import BadExpression
from penstock.project.model import Column, SourceFile, Stream


@dataclass(frozen=True)
class Mentions:
    """The columns an expression names, each as often as it does; `all_columns` when it has a star."""

    columns: tuple[str, ...]
    all_columns: bool
    bare: str | None
    """The column, when the expression is nothing else."""


def quote(name: str) -> str:
    """Returns `name` as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Returns `text` as a SQL string."""
    return "'" + text.replace("'", "''") + "'"


def mentions(expression: str, place: Place | None = None) -> Mentions:
    """Returns what `expression` mentions. Raises BadExpression when it is not exactly one SQL expression."""
    try:
        return _mentions(expression)
    except ValueError as error:
        raise BadExpression(
            str(error), hint="write one DuckDB expression over the row's columns", place=place
        ) from error


@cache
def _mentions(expression: str) -> Mentions:
    with duckdb.connect(config={"threads": 1}) as con:
        rows = con.sql("SELECT json_serialize_sql($q)", params={"q": f"SELECT ({expression}\n)"}).fetchall()
    tree = json.loads(rows[0][0])
    if tree["error"]:
        msg = f"{expression!r}: {tree['error_message']}"
        raise ValueError(msg)
    node = tree["statements"][0]["node"] if len(tree["statements"]) == 1 else {}
    if len(node.get("select_list", ())) != 1 or node.get("from_table", {}).get("type") != "EMPTY":
        msg = f"{expression!r} is more than one expression"
        raise ValueError(msg)
    root = node["select_list"][0]
    nodes = list(_nodes(root))
    if any(n["class"] == "SUBQUERY" for n in nodes):
        msg = f"{expression!r} holds a subquery; an expression sees one row of the source"
        raise ValueError(msg)
    columns = tuple(n["column_names"][0] for n in nodes if n["class"] == "COLUMN_REF")
    bare = columns[0] if root["class"] == "COLUMN_REF" and len(root["column_names"]) == 1 else None
    return Mentions(columns, any(n["class"] == "STAR" for n in nodes), bare)


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        if "class" in tree:
            yield tree
        for value in tree.values():
            yield from _nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _nodes(value)


def _all_mentions(stream: Stream, file: SourceFile) -> Iterator[Mentions]:
    for column in stream.columns:
        yield _of_column(column, file)
    for name, expression in (("where", file.where), ("operation", file.operation)):
        if expression is not None:
            yield mentions(expression, at(file, name))


def _of_column(column: Column, file: SourceFile) -> Mentions:
    expression = file.fields.get(column.name)
    if expression is None:
        return Mentions((column.name,), False, column.name)
    return mentions(expression, at(file, f"fields.{column.name}"))


def at(file: SourceFile, path: str) -> Place:
    """Returns the place of a configuration path in the source file."""
    return Place(file.place.file, file.place.line, file.place.column, path)


def problems(stream: Stream, file: SourceFile) -> list[BadExpression]:
    """Returns one error per expression of `file` that is not a DuckDB expression. Needs no connection to the source."""
    wanted = [(f"fields.{name}", expression) for name, expression in file.fields.items()]
    wanted += [(name, e) for name, e in (("where", file.where), ("operation", file.operation)) if e is not None]
    found = []
    for path, expression in wanted:
        try:
            mentions(expression, at(file, path))
        except BadExpression as error:
            found.append(error)
    return found


def columns_used(stream: Stream, file: SourceFile) -> frozenset[str] | None:
    """Returns the source columns that `file` needs, None when an expression has a star. Raises BadExpression."""
    used = tuple(_all_mentions(stream, file))
    if any(m.all_columns for m in used):
        return None
    return frozenset(name for m in used for name in m.columns)


def type_hints(stream: Stream, file: SourceFile) -> Mapping[str, pa.DataType]:
    """Returns source column -> Arrow type, for columns that become one property as they are and nothing else.

    Times are left out where the source's times may be without zone and its timezone is not UTC, as is whatever has a
    date format: only intake reads these right. Raises BadExpression.
    """
    used = tuple(_all_mentions(stream, file))
    if any(m.all_columns for m in used):
        return {}
    times = Counter(name.lower() for m in used for name in m.columns)
    hints = {}
    for column, m in zip(stream.columns, used, strict=False):
        if m.bare is not None and times[m.bare.lower()] == 1 and _decodable(column, file):
            hints[m.bare] = column.type.arrow
    return hints


def _decodable(column: Column, file: SourceFile) -> bool:
    if column.date_format is not None:
        return False
    return column.type.kind != "timestamp" or file.timezone.upper() in ("UTC", "ETC/UTC")
