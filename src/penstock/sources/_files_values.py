"""Values of CSV that are not written the usual way: decimal and thousands marks, date formats, declared types.

A mark is only taken off where a column is a number: by the contract, when a property is that column; by `types`; or
when everything that mentions it casts it to one. A text that merely looks like a number stays as it is. What does not
follow the declared form is refused: `1.50` is no number where the comma is the decimal mark.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from penstock.project.model import SourceFile, Stream
from penstock.sources._files_config import CsvConfig, type_of
from penstock.sources._files_decoded import Decoded
from penstock.sources.base import Refusal
from penstock.sqltypes import SqlType, from_duckdb

_EXACT = {"bigint", "integer", "smallint", "hugeint", "decimal"}
_NUMBERS = {*_EXACT, "double"}
_CONNECTION: dict[str, str | bool | int | float | list[str]] = {
    "threads": 1, "memory_limit": "512MB", "autoinstall_known_extensions": False, "autoload_known_extensions": False,
}  # fmt: skip
_LIMIT = 80
"""Characters of a value that a reason shows."""


@dataclass(frozen=True)
class _Rule:
    """How one column is read: SQL over its name, and what it says of a value that does not fit."""

    column: str
    value: str
    wants: str
    rule: str


class Values:
    """Reads the columns of one source's CSV files as they are declared."""

    def __init__(self, csv: CsvConfig, stream: Stream, file: SourceFile) -> None:
        self._csv, self._timezone = csv, file.timezone
        self._declared = {name: type_of(word) for name, word in csv.types.items()}
        self._con: duckdb.DuckDBPyConnection | None = None
        self._kinds: dict[str, SqlType | None] = dict(self._declared)
        if self._needed():
            self._kinds = {**_uses(self._connection(), stream, file), **self._declared}

    def _connection(self) -> duckdb.DuckDBPyConnection:
        if self._con is None:
            self._con = duckdb.connect(config=_CONNECTION)
            self._con.execute(f"SET TimeZone = {_literal(self._timezone)}").fetchall()
        return self._con

    def _needed(self) -> bool:
        c = self._csv
        return bool(c.types or c.decimal != "." or c.thousands or c.date_format or c.timestamp_format)

    def close(self) -> None:
        """Lets go of the connection; the next use makes another."""
        if self._con is not None:
            self._con.close()
            self._con = None

    def takes(self, column: str) -> bool:
        """Whether `read` does anything to the column."""
        return self._rule(column) is not None

    def read(self, found: Decoded) -> Decoded:
        """Returns the rows with such columns in their usual form or type; those that do not follow it are refused."""
        rules = [r for name in found.table.column_names if (r := self._rule(name)) is not None]
        if not rules:
            return found
        con = self._connection()
        con.register("t", found.table)
        values = ", ".join(f"{r.value} AS v{i}" for i, r in enumerate(rules))
        cases = " ".join(
            f"WHEN {_quote(r.column)} IS NOT NULL AND v{i} IS NULL THEN {i + 1}" for i, r in enumerate(rules)
        )
        columns = ", ".join(f"v{i}" for i in range(len(rules)))
        sql = f"SELECT {columns}, CAST(CASE {cases} ELSE 0 END AS INTEGER) AS bad FROM (SELECT *, {values} FROM t)"
        read: pa.Table = con.sql(sql).to_arrow_table()
        con.unregister("t")
        table = found.table
        for i, rule in enumerate(rules):
            table = table.set_column(table.column_names.index(rule.column), rule.column, read.column(f"v{i}"))
        return _without(found, table, read["bad"].to_numpy(), rules)

    def _rule(self, column: str) -> _Rule | None:
        if not self._kinds:
            return None
        kind = self._kinds.get(column) or next((k for n, k in self._kinds.items() if n.lower() == column.lower()), None)
        if kind is None:
            return None
        name, declared = _quote(column), column in self._declared
        if kind.kind in _NUMBERS:
            return self._number(column, name, kind, declared)
        if kind.kind in ("date", "timestamp", "local_timestamp"):
            return self._time(column, name, kind, declared)
        value = f"TRY_CAST({name} AS {kind.duckdb})"
        return _Rule(column, value, f"{kind} is wanted", "type") if declared and kind.kind != "text" else None

    def _number(self, column: str, name: str, kind: SqlType, declared: bool) -> _Rule | None:
        c, text, wants = self._csv, name, ""
        if c.decimal != "." or c.thousands:
            thousands = re.escape(c.thousands)
            whole = rf"(\d{{1,3}}({thousands}\d{{3}})+|\d+)" if c.thousands else r"\d+"
            decimal = re.escape(c.decimal)
            pattern = rf"\s*[+-]?({whole}({decimal}\d*)?|{decimal}\d+)([eE][+-]?\d+)?\s*"
            plain = f"replace({name}, {_literal(c.thousands)}, '')" if c.thousands else name
            plain = f"trim(replace({plain}, {_literal(c.decimal)}, '.'))"
            text = f"(CASE WHEN regexp_full_match({name}, {_literal(pattern)}) THEN {plain} END)"
            marks = f"{c.decimal!r} is the decimal mark" + (
                f", {c.thousands!r} the thousands mark" if c.thousands else ""
            )
            wants = f"a number is wanted, where {marks}"
        if not declared:
            return _Rule(column, text, wants, "number") if wants else None
        return _Rule(column, _typed(text, kind), wants or f"{kind} is wanted", "type")

    def _time(self, column: str, name: str, kind: SqlType, declared: bool) -> _Rule | None:
        form = self._csv.date_format if kind.kind == "date" else self._csv.timestamp_format
        value, wants = (_by_format(name, form, kind), f"it is not written as {form}") if form else (name, "")
        if not form and kind.kind != "date" and self._csv.date_format:
            midnight = _by_format(name, self._csv.date_format, SqlType("date"))
            value, wants = f"coalesce({midnight}, {name})", f"{kind} is wanted"
        if declared:
            return _Rule(column, f"TRY_CAST({value} AS {kind.duckdb})", wants or f"{kind} is wanted", "type")
        return _Rule(column, value, wants, "date") if wants else None


def _typed(text: str, kind: SqlType) -> str:
    """SQL of an exact value of `kind`, NULL for what is none: excess decimals are not rounded away."""
    if kind.kind == "double":
        return f"TRY_CAST({text} AS DOUBLE)"
    pattern = r"\s*[+-]?\d+(\.0*)?\s*"
    if kind.kind == "decimal" and kind.scale:
        pattern = rf"\s*[+-]?(\d+(\.\d{{0,{kind.scale}}}0*)?|\.\d{{1,{kind.scale}}}0*)\s*"
    return f"CASE WHEN regexp_full_match({text}, {_literal(pattern)}) THEN TRY_CAST({text} AS {kind.duckdb}) END"


def _by_format(name: str, form: str, kind: SqlType) -> str:
    """SQL of the ISO text of what is written in `form`; without a zone unless the format has one."""
    parsed = f"try_strptime({name}, {_literal(form)})"
    if kind.kind == "date":
        return f"strftime(CAST({parsed} AS DATE), '%Y-%m-%d')"
    if "%z" in form or "%Z" in form:
        return f"strftime(timezone('UTC', {parsed}), '%Y-%m-%dT%H:%M:%S.%fZ')"
    return f"strftime({parsed}, '%Y-%m-%dT%H:%M:%S.%f')"


def _without(found: Decoded, table: pa.Table, bad: Any, rules: Sequence[_Rule]) -> Decoded:
    """The rows that fit, and refusals of the others in their place."""
    refused = np.flatnonzero(bad)
    if not len(refused):
        return Decoded(table, found.lines, found.refusals, found.original)
    originals = found.original(refused.tolist()) if found.original else [b""] * len(refused)
    refusals = list(found.refusals)
    for row, original in zip(refused.tolist(), originals, strict=True):
        rule = rules[int(bad[row]) - 1]
        value = str(found.table[rule.column][row].as_py())
        shown = value if len(value) <= _LIMIT else value[:_LIMIT] + "..."
        reason = f"{rule.column} = {shown!r}: {rule.wants}"
        refusals.append(Refusal(str(found.lines[row].as_py()), rule.rule, reason, original))
    refusals.sort(key=lambda r: int(r.position))
    kept = np.flatnonzero(bad == 0)
    give = found.original
    thinned = None if give is None else lambda rows: give(kept[list(rows)].tolist())
    return Decoded(table.take(kept), found.lines.take(pa.array(kept)), tuple(refusals), thinned)


def _uses(con: duckdb.DuckDBPyConnection, stream: Stream, file: SourceFile) -> dict[str, SqlType | None]:
    """Column -> the type everything that mentions it takes it for; None where they differ or take it as it is."""
    kinds: dict[str, SqlType | None] = {}
    for column, kind in _mentions(con, stream, file):
        known = kinds.setdefault(column, kind)
        if known is not None and (kind is None or _family(kind) != _family(known)):
            kinds[column] = None
    return kinds


def _family(kind: SqlType) -> str:
    return "number" if kind.kind in _NUMBERS else kind.kind


def _mentions(con: duckdb.DuckDBPyConnection, stream: Stream, file: SourceFile) -> Iterator[tuple[str, SqlType | None]]:
    for column in stream.columns:
        expression = file.fields.get(column.name)
        if expression is None:
            yield column.name, column.type
        else:
            yield from _in_tree(_tree(con, expression), column.type)
    for expression in (file.where, file.operation):
        if expression is not None:
            yield from _in_tree(_tree(con, expression), None)


def _tree(con: duckdb.DuckDBPyConnection, expression: str) -> Any:
    rows = con.execute("SELECT json_serialize_sql(?::VARCHAR)", [f"SELECT (\n{expression}\n)"]).fetchall()
    tree = json.loads(rows[0][0])
    statements = tree.get("statements") or [{}]
    return statements[0].get("node", {}).get("select_list", [])


def _in_tree(tree: Any, kind: SqlType | None) -> Iterator[tuple[str, SqlType | None]]:
    """The columns of an expression and what each is taken for: `kind` if it is nothing else, or the cast above it."""
    if isinstance(tree, list):
        for part in tree:
            yield from _in_tree(part, kind)
    elif isinstance(tree, dict):
        if tree.get("class") == "COLUMN_REF":
            yield tree["column_names"][0], kind
            return
        below = _cast_type(tree) if tree.get("class") == "CAST" else None
        for name, part in tree.items():
            yield from _in_tree(part, below if name == "child" else None)


def _cast_type(tree: Mapping[str, Any]) -> SqlType | None:
    name = str(tree.get("type_expr", {}).get("type_name", "")).upper()
    words = {"DECIMAL": SqlType("decimal", 38, 10), "NUMERIC": SqlType("decimal", 38, 10), "INT": SqlType("integer")}
    more = {"FLOAT": SqlType("double"), "REAL": SqlType("double"), "TIMESTAMP_TZ": SqlType("timestamp")}
    return words.get(name) or more.get(name) or from_duckdb(name)


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
