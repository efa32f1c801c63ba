"""Checks of the small SQL that contracts and sources hold: expressions over a row, and regular expressions.

DuckDB runs both, so DuckDB's own parser and its RE2 judge them, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import duckdb


@dataclass
class ExpressionChecker:
    """Judges expressions; opens its DuckDB on first use."""

    _connection: duckdb.DuckDBPyConnection | None = field(default=None, repr=False)
    _aggregates: frozenset[str] = frozenset()

    def _duckdb(self) -> duckdb.DuckDBPyConnection:
        if self._connection is None:
            config: dict[str, str | bool | int | float | list[str]] = {
                "threads": 1, "memory_limit": "64MB", "autoinstall_known_extensions": False,
            }  # fmt: skip
            self._connection = duckdb.connect(config=config)
            names = self._connection.execute(
                "SELECT function_name FROM duckdb_functions() GROUP BY 1 HAVING bool_and(function_type = 'aggregate')"
            ).fetchall()
            self._aggregates = frozenset(row[0] for row in names)
        return self._connection

    def expression(self, text: str) -> str:
        """Returns why `text` is not one expression over one row, '' when it is."""
        if not text.strip():
            return "is empty"
        try:
            row = self._duckdb().execute("SELECT json_serialize_sql(?::VARCHAR)", [f"SELECT (\n{text}\n)"]).fetchone()
        except duckdb.Error as e:
            return str(e).splitlines()[0]
        tree = json.loads(row[0]) if row else {"error": True, "error_message": "cannot be parsed"}
        if tree.get("error"):
            return str(tree.get("error_message", "cannot be parsed"))
        return self._only_an_expression(tree)

    def _only_an_expression(self, tree: dict[str, Any]) -> str:
        node = tree["statements"][0]["node"]
        chosen = node.get("select_list") or []
        if len(tree["statements"]) != 1 or len(chosen) != 1 or node["from_table"]["type"] != "EMPTY":
            return "is not one expression"
        for part in _parts(chosen[0]):
            kind = part.get("class")
            if kind == "SUBQUERY":
                return "holds a subquery; an expression sees one row"
            if kind == "WINDOW" or (kind == "FUNCTION" and part.get("function_name") in self._aggregates):
                return f"holds {part['function_name']}(...) over many rows; an expression sees one row"
            if kind == "STAR":
                return "holds *; name one column"
        top = chosen[0]
        return "is several expressions" if top.get("function_name") == "row" and not _says_row(top) else ""

    def pattern(self, text: str) -> str:
        """Returns why a regular expression cannot be run, '' when it can."""
        try:
            self._duckdb().execute("SELECT regexp_matches('', ?)", [text]).fetchone()
        except duckdb.Error as e:
            return str(e).splitlines()[0].partition("Error: ")[2] or str(e)
        return ""


def _says_row(node: dict[str, Any]) -> bool:
    """Whether `row(...)` was written: else it stands for a list in parentheses, whose place is one to the left."""
    return bool(node.get("query_location", 0) > len("SELECT ("))


def _parts(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
    for below in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _parts(below)
